// Package seam lets packages of this module reach what package txn does not export. Package
// txn sets the variables; what they take and return as any are types of that package, which
// this one cannot import.
package seam

import "context"

// Autocommit binds a *txn.DB for single statements, as an sqlcbind.DBTX.
var Autocommit func(db any, reads bool) any

// Contain begins a transaction of a *txn.DB for a test, with txn.Options. It returns a
// *txn.Tx whose joined calls run in savepoints.
var Contain func(ctx context.Context, db any, options any) (tx any, c Contained, err error)

// A Contained is a test's transaction.
type Contained interface {
	RollBack()
	AfterCommit(context.Context) error // calls the hooks that wait for COMMIT, and forgets them
}

// Explain has fn replace the server's error of a *txn.Pending's statement, before the
// Pending's own OnError gets it.
var Explain func(pending any, fn func(error) error)
