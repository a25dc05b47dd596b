// Package account lets users sign up, and moves money between their accounts.
//
//	user, err := account.SignUp(ctx, d, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
//	…
//	receipt, err := account.Transfer(ctx, d, account.TransferRequest{
//		From: user.AccountID, To: payee, Amount: 1250, Key: "invoice-7",
//	})
//
// Each function is one transaction of the handle it is given: on a *txn.DB it begins one, on
// a *txn.Tx it joins that one, and then it is done when the outer transaction commits.
//
// # Requests that are sent twice
//
// Whoever moves money chooses a key for the request, and sends the same key again when it
// does not know what became of the first (after a *txn.CommitUnknownError, a lost answer of
// its own, a double click). The money moves once; the second call returns the first one's
// receipt, with Replayed set, even if it would be refused by now. A key that comes back with
// another content is ErrKeyReused. Keys are unique among all requests, so begin them with a
// name of your own. SignUp and GrantWelcomeBonus have no key: an address gets one user, and a user
// one bonus, however often they are called.
//
// # What is refused
//
// Refusals are the errors of this package; see errors.go. Nothing has changed after one. If
// the function had joined a transaction, that one can only be rolled back: to go on in spite
// of a refusal, call it inside Tx.Savepoint.
//
// # Reading
//
// Balance and Statement each read what is committed when they run, so that money may move
// between two calls. To see a balance and the entries it is the sum of, or all pages of a
// statement, as of one moment, make the calls in one txn.WithReadTx at RepeatableRead.
//
// # Locks
//
// The accounts of customers are locked FOR NO KEY UPDATE, those of one call in the order of
// their ids, and by Certify FOR SHARE. Calls that are put together in one transaction lock in
// the order of the calls: they may deadlock with one another, and are then repeated as
// txn.Options says.
//
// Exclusively and InTurn are for work on an account that no row stands for. Their locks do not
// keep money from moving.
package account
