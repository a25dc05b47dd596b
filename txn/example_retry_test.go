package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/interlock-go/interlock/txn"
)

// The function runs again when somebody was quicker: what it has read is no longer true then.
func ExampleTx_Attempt() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	opts := txn.Options{Label: "double", Isolation: txn.RepeatableRead}
	err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		var balance int64
		if err := tx.QueryRow(ctx, "select balance from wallets").Scan(&balance); err != nil {
			return err
		}
		fmt.Println("attempt", tx.Attempt(), "finds", balance)
		if tx.Attempt() == 1 {
			deposit(txn.Detach(ctx), d, 5) // somebody else, between our read and our write
		}
		_, err := tx.Exec(ctx, "update wallets set balance = $1", 2*balance)
		return err
	})
	fmt.Println(err)

	// Output:
	// attempt 1 finds 100
	// attempt 2 finds 105
	// <nil>
}

// A connection that breaks does not fail a call that can be run again.
func ExampleReadTx_Attempt() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithReadTx(ctx, d, txn.Options{Label: "report"}, func(ctx context.Context, rx *txn.ReadTx) error {
		fmt.Println("attempt", rx.Attempt())
		sql := "select true"
		if rx.Attempt() == 1 {
			sql = "select pg_terminate_backend(pg_backend_pid())"
		}
		return rx.QueryRow(ctx, sql).Scan(new(bool))
	})
	fmt.Println(err)

	// Output:
	// attempt 1
	// attempt 2
	// <nil>
}

// For a loop of one's own around calls that do not retry, or of several calls.
func ExampleIsRetryable() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	opts := txn.Options{Label: "double", Isolation: txn.RepeatableRead, MaxAttempts: 1}
	err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		if err := tx.QueryRow(ctx, "select balance from wallets").Scan(new(int64)); err != nil {
			return err
		}
		deposit(txn.Detach(ctx), d, 5)
		_, err := tx.Exec(ctx, "update wallets set balance = 2 * balance")
		return err
	})
	fmt.Println(txn.SQLState(err), txn.IsRetryable(err))

	err = txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "update wallets set balance = -1")
		return err
	})
	fmt.Println(txn.SQLState(err), txn.IsRetryable(err))

	// Output:
	// 40001 true
	// 23514 false
}

// Observed from outside: why an attempt failed, and when none follows.
func ExampleOptions_onRetry() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	opts := txn.Options{
		Label:       "double",
		Isolation:   txn.RepeatableRead,
		MaxAttempts: 2,
		OnRetry: func(_ context.Context, r txn.Retry) {
			fmt.Println(r.Label, "failed in attempt", r.Attempt, "with", txn.SQLState(r.Err))
		},
	}
	err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		if err := tx.QueryRow(ctx, "select balance from wallets").Scan(new(int64)); err != nil {
			return err
		}
		deposit(txn.Detach(ctx), d, 5) // every time
		_, err := tx.Exec(ctx, "update wallets set balance = 2 * balance")
		return err
	})
	exhausted, ok := errors.AsType[*txn.RetriesExhaustedError](err)
	fmt.Println(ok && exhausted.Attempts == 2, txn.SQLState(err))

	// Output:
	// double failed in attempt 1 with 40001
	// true 40001
}

// exampleWallet makes the only wallet.
func exampleWallet(ctx context.Context, d *txn.DB, balance int64) {
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('ada@example.com')")
		tx.Queue("insert into wallets (user_id, balance) select id, $1 from users", balance)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}

func deposit(ctx context.Context, d *txn.DB, amount int64) {
	err := txn.WithTx(ctx, d, txn.Options{Label: "deposit"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("update wallets set balance = balance + $1", amount)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}
