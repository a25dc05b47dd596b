// Package txn runs functions in PostgreSQL transactions, on pgx.
//
//	err := txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
//		var user int64
//		err := tx.QueryRow(ctx, "insert into users (name) values ($1) returning id", name).Scan(&user)
//		if err != nil {
//			return err
//		}
//		_, err = tx.Exec(ctx, "insert into accounts (user_id) values ($1)", user)
//		return err
//	})
//
// If the function returns nil, WithTx commits, and nil from WithTx means committed. If it
// returns an error, panics or exits, everything is rolled back.
//
// # Handles
//
// A [DB] is a pool and its configuration; it begins transactions and runs no statements. A
// [Tx] is a function's handle on a read-write transaction, a [ReadTx] on one that is only
// read in. Handles have neither Commit nor Rollback. A [Tx] is what sqlc's New takes.
//
// A function that takes a [Transactor] can be called on its own, with a *DB, or as a part of
// a larger transaction, with a *Tx; one that only reads takes a [ReadTransactor]:
//
//	func (s *Service) Deposit(ctx context.Context, t txn.Transactor, account, amount int64) error {
//		return txn.WithTx(ctx, t, txn.Options{Label: "deposit"}, …)
//	}
//
// # Options
//
// [Options] are given before the function: a label that names the transaction in errors and
// logs, its isolation level, limits of time, how durable COMMIT is. The zero value is right for
// most calls; what a program wants everywhere is in [Config].Options.
//
// At [ReadCommitted], the default, each statement sees what was committed when it began. What
// is decided by reading has to be locked, or checked by a constraint. At [RepeatableRead] and
// [Serializable] the whole transaction sees one moment, and fails with SQLSTATE 40001 where
// somebody else was quicker: then it is run again. With [WithSharedSnapshot] several
// transactions that only read see one moment, on connections of their own.
//
// # The function may run more than once
//
// WithTx on a *DB repeats an attempt that was rolled back because of a serialization
// failure, a deadlock, or a lost connection: three attempts in all, unless Options.MaxAttempts
// says otherwise, with random pauses between them, and none that would end past the context's
// deadline. Options.RetryAlso names further SQLSTATEs. The function's own errors are not
// retried. Whatever the function leaves outside the transaction stays from the failed run: let
// [WithTxValue] carry results, and call nobody else's service from inside.
//
// # Joining, and parts that may fail
//
// A nested WithTx joins: its failure is the whole transaction's, also when the outer
// function ignores the error. A part that may fail alone is a [Tx.Savepoint]. Only the
// outermost call retries. Options of a joined call that the transaction cannot be given any
// more, such as a stronger isolation level, are [ErrOptionsConflict]. [Join] gives a handle on
// a transaction that other code began.
//
// # Statements that need no answer
//
// [Tx.Queue] keeps a statement back and sends it with the next one that needs an answer, or
// with COMMIT; its answer is a [Pending]. Queue the last writes of a transaction, and they
// cost nothing. If everything is queued, the whole transaction is one round trip.
//
// # Before and after COMMIT
//
// [Tx.BeforeCommit] may still say no. What the outside world must not see before the work is
// committed belongs into [Tx.AfterCommit]. Its failure is a *[HookError], which says that the
// transaction is committed. If the process ends in between, the function is not called: what
// must happen belongs into the transaction, as a job for instance. [Tx.AfterRollback] hears of
// an attempt, or a savepoint, that was undone.
//
// # Settings, and row-level security
//
// Options.Settings, and Config.SettingsFrom for what comes from the context of the call, set
// PostgreSQL's settings or an application's own, such as app.tenant, for one transaction:
// nothing of them is left on the pooled connection.
//
// # Locks
//
// Rows are locked by SQL, with the clauses that it has. A [Key] names an advisory lock, where
// there is no row: [Tx.AdvisoryLock] takes it now, Options.Locks before the transaction reads
// anything, which is what counts from RepeatableRead up. Both end with the transaction.
//
// # SQL by hand, and other libraries
//
// Statements may be any text but transaction control, which is refused ([ErrManaged]); what
// ends the transaction all the same, hidden in a text, is found out behind it
// (*[EndedError]). Text that sets something for the session costs the connection its place in
// the pool. For writes by hand, [ExpectRows] and [ExpectVersion] make an error of what hit
// nothing. [Tx.Pgx] is the transaction for libraries that take a pgx.Tx.
//
// # Misuse
//
// A handle used after its function has returned, by two goroutines at once, while rows are
// open or while a savepoint on it is: each is refused with an error of its own ([ErrTxDone],
// [ErrConcurrentUse], [ErrRowsOpen], [ErrSuspended]). A *DB used under the context of a
// transaction on the same pool is [ErrNestedDB], because under load all would wait for each
// other's second connection; [Detach] is for work that is independent on purpose.
//
// # Errors
//
// The function's own errors come back unchanged. Conditions have sentinels ([ErrNotFound],
// [ErrStale], [ErrLockNotAvailable], [ErrRollbackOnly] and others), details have types; all
// answer errors.Is and errors.As and wrap the *pgconn.PgError, whose code [SQLState] finds.
// The first error that made a transaction fail is the one reported, also when the function
// dropped it.
//
// # A COMMIT whose answer is lost
//
// If the connection breaks between COMMIT and its answer, the transaction may be committed
// or not. The server is asked, on another connection: by the transaction's id, which came
// beside its first write, or by Options.IdempotencyKey. So the call returns nil if it was
// committed, and is repeated if it was not. What cannot be found out is a
// *[CommitUnknownError], and such a call is never repeated. By its id a transaction is found
// only if its first write was sent before COMMIT, and only on the server it ran on, as long
// as that was not restarted; a key's answer has no such limits.
//
// # Cancellation
//
// A cancelled context cancels the running statement on the server and rolls back. On pools
// made by [Open] or prepared by [ConfigurePool] the connection survives. A COMMIT already
// sent is not cancelled but waited for, and if its answer does not come, asked about on
// another connection, for Config.ResolveTimeout at most.
//
// # Costs
//
// A function that sends nothing costs no round trip and no connection. BEGIN with all its
// settings and locks, savepoints, and queued statements travel with the next statement that
// needs an answer: n such statements cost n+1 round trips, the last being COMMIT. Undoing a
// savepoint costs one, and so does a rollback. A statement that is new to its connection
// costs one more, once, as with pgx.
//
// Three consequences show. Errors of BEGIN come from the first statement. The transaction's
// time (now()) is that of its first statement. And until then the server shows the session
// as idle, not as idle in a transaction.
package txn
