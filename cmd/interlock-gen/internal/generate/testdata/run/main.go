// This program uses the generated package on PostgreSQL. It prints ok, or what went wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"example.com/app/db"
	"github.com/interlock-go/interlock/txn"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func run(ctx context.Context) error {
	d, err := txn.Open(ctx, os.Getenv("DATABASE_URL"), txn.Config{Observers: []txn.Observer{trips}})
	if err != nil {
		return err
	}
	defer d.Close()

	id, err := db.Autocommit(d).CreateAccount(ctx, 100)
	if err != nil {
		return err
	}
	err = txn.WithTx(ctx, d, txn.Options{Label: "every class"}, func(ctx context.Context, tx *txn.Tx) error {
		q := db.New(tx)
		account, err := q.LockAccount(ctx, id)
		if err != nil {
			return err
		}
		if account.Status != db.AccountStatusOpen || account.BalanceMinor != 100 {
			return fmt.Errorf("locked %+v", account)
		}
		if _, err := q.AddBalance(ctx, db.AddBalanceParams{Amount: 5, ID: id}); err != nil {
			return err
		}
		if err := appendAudits(ctx, q, id); err != nil {
			return err
		}
		note := "copied"
		n, err := q.CopyAudit(ctx, []db.CopyAuditParams{{AccountID: id, Note: &note}, {AccountID: id}})
		if err != nil || n != 2 {
			return fmt.Errorf("copied %d rows: %w", n, err)
		}
		if err := q.LockAccounts(ctx); err != nil {
			return err
		}
		_, err = q.AuditAll(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := queued(ctx, d, id); err != nil {
		return fmt.Errorf("queued: %w", err)
	}
	if err := check(ctx, db.Autocommit(d), id); err != nil {
		return fmt.Errorf("autocommit: %w", err)
	}
	err = txn.WithReadTx(ctx, d, txn.Options{Label: "read"}, func(ctx context.Context, rx *txn.ReadTx) error {
		return check(ctx, db.NewRead(rx), id)
	})
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	// What only reads runs in a read-write transaction too.
	return txn.WithTx(ctx, d, txn.Options{Label: "read in a write"}, func(ctx context.Context, tx *txn.Tx) error {
		return errors.Join(check(ctx, db.New(tx), id), check(ctx, db.NewRead(tx), id))
	})
}

func appendAudits(ctx context.Context, q db.LockQuerier, id int64) (err error) {
	q.AppendAudits(ctx, []db.AppendAuditsParams{{AccountID: id}, {AccountID: id}}).Exec(func(_ int, e error) {
		err = errors.Join(err, e)
	})
	return err
}

// check reads what run wrote.
func check(ctx context.Context, q db.ReadQuerier, id int64) error {
	account, err := q.GetAccount(ctx, id)
	if err != nil || account.BalanceMinor != 105 {
		return fmt.Errorf("account %+v: %w", account, err)
	}
	if _, err := q.GetAccount(ctx, -1); !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("an account that is not there: %w", err)
	}
	list, err := q.ListAccounts(ctx, db.ListAccountsParams{Status: db.AccountStatusOpen, Ids: []int64{id}})
	if err != nil || len(list) != 1 {
		return fmt.Errorf("list %+v: %w", list, err)
	}
	tick, err := q.QuotedColumn(ctx)
	if err != nil || tick != "a`b" {
		return fmt.Errorf("tick %q: %w", tick, err)
	}
	audits := 0
	q.GetAudits(ctx, []int64{id}).Query(func(_ int, rows []db.GetAuditsRow, e error) {
		audits += len(rows)
		err = errors.Join(err, e)
	})
	if err != nil || audits != 5 {
		return fmt.Errorf("%d audits: %w", audits, err)
	}
	return nil
}
