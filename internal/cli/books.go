package cli

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/interlock-go/interlock/db/money"
)

// books is what the database holds, all of it seen at one moment. It is read in plain SQL as
// the superuser, by nothing of what is put to the test.
type books struct {
	balances   money.Minor    // of customers
	ledger     money.Minor    // entries of customers' accounts
	all        money.Minor    // entries of all accounts
	differing  int            // accounts whose balance is not the sum of their entries
	unbalanced int            // transfers whose entries do not sum to zero
	stored     map[string]int // how often each request's key is there
}

const sumsSQL = `
	select
		(select coalesce(sum(balance_minor), 0) from accounts where kind = 'customer')::bigint,
		(select coalesce(sum(e.amount_minor), 0) from ledger_entries e join accounts a on a.id = e.account_id
			where a.kind = 'customer')::bigint,
		(select coalesce(sum(amount_minor), 0) from ledger_entries)::bigint,
		(select count(*) from accounts a where a.kind = 'customer' and a.balance_minor <>
			(select coalesce(sum(amount_minor), 0) from ledger_entries e where e.account_id = a.id)),
		(select count(*) from transfers t where 0 <>
			(select coalesce(sum(amount_minor), 1) from ledger_entries e where e.transfer_id = t.id))`

func readBooks(ctx context.Context, admin *pgxpool.Pool) (books, error) {
	b := books{stored: map[string]int{}}
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, admin, opts, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, sumsSQL).Scan(&b.balances, &b.ledger, &b.all, &b.differing, &b.unbalanced)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "select idempotency_key from transfers where kind = 'transfer'")
		if err != nil {
			return err
		}
		var key string
		_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
			b.stored[key]++
			return nil
		})
		return err
	})
	return b, err
}
