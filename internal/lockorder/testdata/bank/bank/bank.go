// Package bank is the tables that the other two packages share.
package bank

import (
	"context"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

var Schema = txntest.SQL(`
	create table users (id int primary key)`, `
	create table accounts (id int primary key)`, `
	insert into users values (1)`, `
	insert into accounts values (1)`)

const (
	LockUser    = "select id from users where id = 1 for no key update"
	LockAccount = "select id from accounts where id = 1 for no key update"
)

// Queries is what generated code would say of them.
var Queries = []txn.QueryInfo{
	{Name: LockUser, Locks: []txn.QueryLock{{Table: "users", Strength: "FOR NO KEY UPDATE"}}},
	{Name: LockAccount, Locks: []txn.QueryLock{{Table: "accounts", Strength: "FOR NO KEY UPDATE"}}},
}

// Lock locks one row after the other.
func Lock(ctx context.Context, t txn.Transactor, first, second string) error {
	return txn.WithTx(ctx, t, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, first); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, second)
		return err
	})
}
