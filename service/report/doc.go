// Package report counts users, posts and money, and keeps what it has counted.
//
//	r, err := report.Make(ctx, d, report.Request{Kind: "month_end", Key: "2026-11"})
//
// A report is read by five statements, one a table. Nothing but the isolation of the transaction
// or its locks makes them see one state of the database. The package has each of the ways to
// achieve that, or not to, with the same figures, so that they can be compared; each is a
// function or an isolation level of its own, and stored with the report.
//
// # Which way to take
//
// REPEATABLE READ, which is what Make takes where nothing is said. The others are for those who
// know why:
//
//	way                       figures are of    others wait        it waits for        fails with
//	Make, READ UNCOMMITTED    a moment each     no                 nobody              nothing
//	Make, READ COMMITTED      a moment each     no                 nobody              nothing
//	Make, REPEATABLE READ     one moment        no                 nobody              40001, rarely
//	Make, SERIALIZABLE        one moment        no                 nobody              40001; so may writers
//	MakeDeferrable            one moment        no                 serializable ones   nothing
//	MakeFromSnapshot          one moment        no                 nobody              nothing
//	MakeUnderRowLocks         a moment each     to change rows     who changes rows    55P03, 40P01
//	MakeUnderTableLocks       one moment        to write           all who write       55P03
//
// Failures are repeated, as txn.Options says.
//
// READ UNCOMMITTED: PostgreSQL has no dirty reads. The level is accepted and is READ COMMITTED
// in every respect; it is neither quicker nor less safe.
//
// READ COMMITTED: each statement sees what was committed when it began. What is committed in
// between is in the later figures and not in the earlier ones. For a single statement that is
// all there is to want.
//
// REPEATABLE READ: all statements see what was committed when the first one began, whatever is
// changed, deleted or inserted meanwhile: in PostgreSQL no phantoms either. What a transaction
// writes at this level may fail with 40001, where somebody has changed the row, or stored a
// report of the same key, since the snapshot. Then all is read again.
//
// SERIALIZABLE: the same snapshot, and nobody waits for anybody: where transactions could not
// have run one after another, one fails with 40001. It may be this one, at its last statement
// or at COMMIT, or one that writes what was read here. What was read counts only when COMMIT
// has succeeded; the functions return nothing before. It pays where other transactions are
// serializable too, and the report must not show a state that no order of them has.
//
// DEFERRABLE waits at its beginning until such a state is certain, and then is a mere reader
// that nothing can touch. It cannot write: the report is stored by a second transaction right
// after. So is that of MakeFromSnapshot. If the program ends in between, nothing is stored; if
// two calls run at once, the first that stores is the one that both return.
//
// Row locks are no way to a consistent report. FOR SHARE keeps the rows that are there, not the
// table: others insert, and the later figures have what the earlier ones lack. It makes those
// wait who change what was read, costs a write for each row, and needs a transaction that may
// write: READ ONLY refuses it. For a decision about single rows it is right.
//
// Table locks are. The price is that all writing to five tables stands still, from when the
// report begins to wait for the last writer until it is stored. Take them where nothing must
// change before something else is done in the same transaction.
//
// # Requests that are sent twice
//
// A report of a kind and key is computed once. Who asks again, in the same way, gets the stored
// one, with Replayed set; asked in another way it is ErrKeyReused. After a
// *txn.CommitUnknownError, ask again.
//
// # What is refused
//
// Refusals are the errors of this package; see errors.go. Nothing is stored after one. If the
// function had joined a transaction, that one can only be rolled back: to go on in spite of a
// refusal, call it inside Tx.Savepoint.
package report
