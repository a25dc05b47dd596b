// Package check finds in queries what will go wrong later: locks that deadlock, that are
// stronger than needed or taken on more rows than meant, and counts that nobody looks at.
//
// A check looks at what a statement says ([query.Shape]), at the keys of the tables, and for
// one of them at the server's plan. docs/checks.md explains each.
package check
