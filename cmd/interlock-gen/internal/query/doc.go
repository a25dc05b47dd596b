// Package query says what a SQL statement needs from the transaction it runs in: nothing
// but a snapshot, a transaction of its own, or one that goes on after it.
//
// The tree comes from the PostgreSQL parser that sqlc itself uses, and what functions,
// operators and views do from a database in which the schema has been applied. What is not
// known to be harmless needs a transaction.
package query
