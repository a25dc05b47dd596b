package txn_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

const (
	lockSQL  = "select id, balance from accounts where id = any($1) order by id for no key update"
	entrySQL = "insert into lines (account, seat) values ($1, null), ($2, null)"
)

// enough reads the two balances and says whether there is enough in the first.
func enough(rows pgx.Rows, _ error) error {
	defer rows.Close()
	for rows.Next() {
		var id, balance int64
		if err := rows.Scan(&id, &balance); err != nil {
			return err
		}
		if id == 1 && balance < 1 {
			return errBusiness
		}
	}
	return rows.Err()
}

// BenchmarkTransfer moves money with the check in Go: a query locks both accounts, two updates
// and a ledger entry follow with COMMIT. Beside it is pgx, with a round trip for each.
func BenchmarkTransfer(b *testing.B) {
	database := txntest.NewDatabase(b, schema)
	pool := database.Pool(b, txn.ConfigurePool)
	d := txn.New(pool, txn.Config{})
	ids := []int64{1, 2}
	for name, transfer := range map[string]func(context.Context) error{
		"interlock": func(ctx context.Context) error {
			return txn.WithTx(ctx, d, txn.Options{Label: "transfer"}, func(ctx context.Context, tx *txn.Tx) error {
				if err := enough(tx.Query(ctx, lockSQL, ids)); err != nil {
					return err
				}
				tx.Queue(moveSQL, int64(1), int64(0))
				tx.Queue(moveSQL, int64(2), int64(0))
				tx.Queue(entrySQL, int64(1), int64(2))
				return nil
			})
		},
		"pgx": func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if err := enough(tx.Query(ctx, lockSQL, ids)); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, moveSQL, int64(1), int64(0)); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, moveSQL, int64(2), int64(0)); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, entrySQL, int64(1), int64(2))
				return err
			})
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := transfer(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
