// Package criticalrecord keeps data that must not be lost or altered unnoticed.
//
//	receipt, err := criticalrecord.Create(ctx, d, criticalrecord.CreateRequest{
//		Key: "contract-7", UserID: user, Data: signed,
//	})
//
// A record, the copy of each of its versions and an entry in the system log are written in one
// transaction, by one statement, in one round trip. The constraints of the tables demand all
// three of one another: there is no record without its copy, and no copy without its entry,
// whoever writes them.
//
// # What survives
//
// COMMIT alone does not say that data survives a crash: where the server, the database or the
// role has synchronous_commit off, what was acknowledged may be lost. So each request says what
// its COMMIT waits for, by its Durability, whatever the server's setting is; the zero value is
// the right one for most, and none lets an acknowledged record be lost by a crash of the
// server. With txn.SyncOff in its Options a transaction of other data saves that wait, and a
// crash may undo it: that is for what can be made again.
//
// No setting helps against the loss of the disk, or against fsync = off. That takes standbys,
// which Flushed waits for if the server's synchronous_standby_names says so, and backups.
//
// # What the copies are for
//
// The copies are in the same database as the records, and are lost with it: they are no backup.
// They are the history, which no UPDATE, DELETE or TRUNCATE changes, not even the owner's, and
// they prove what was written. The checksum of a version is computed before the data leaves the
// program, checked by the server when it arrives, and again by Get and History when it has
// come back. The seal of a version covers all versions before it. Verify computes all of them
// anew, and with a Receipt that was kept elsewhere it also finds out that somebody who can
// switch triggers off has rewritten the whole history.
//
// # Requests that are sent twice
//
// Whoever wants a record chooses a key for the request, and sends the same one again when it
// does not know what became of the first: the second call returns the first one's receipt, with
// Replayed set, and it too waits until the record is durable. A key that comes back with other
// data or another user is ErrKeyReused. For Change, the version that it replaces is the key.
//
// When the answer to COMMIT is lost, the functions look for the record themselves. If it is
// there they return its receipt. If not, it may still come, and the error is
// *txn.CommitUnknownError.
//
// # What is refused
//
// Refusals are the errors of this package; see errors.go. Nothing has changed after one. If the
// function had joined a transaction, that one can only be rolled back: to go on in spite of a
// refusal, call it inside Tx.Savepoint.
package criticalrecord
