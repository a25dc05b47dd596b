// Package seam lets packages of this module reach what package txn does not export.
package seam

// Autocommit binds a *txn.DB for single statements. Package txn sets it.
var Autocommit func(db any, reads bool) any
