package txn_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// One at a time, where there is no row to lock yet.
func ExampleTx_AdvisoryLock() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	opts := txn.Options{Label: "number an invoice", LockTimeout: 10 * time.Millisecond}
	number := func(ctx context.Context, then func(context.Context)) error {
		return txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
			if err := tx.AdvisoryLock(ctx, txn.NewKey("invoices of customer", 7)); err != nil {
				return err
			}
			then(ctx)
			return nil
		})
	}
	err := number(ctx, func(ctx context.Context) {
		err := number(txn.Detach(ctx), func(context.Context) {}) // somebody else, meanwhile
		fmt.Println(errors.Is(err, txn.ErrLockNotAvailable))
	})
	fmt.Println(err)

	// Output:
	// true
	// <nil>
}

// Parts are told apart by their text, and by where one ends.
func ExampleNewKey() {
	fmt.Println(txn.NewKey("seat", "12", 7))
	fmt.Println(txn.NewKey("seat", 7) == txn.NewKey("seat", "7"))
	fmt.Println(txn.NewKey("seat", "1", "27") == txn.NewKey("seat", "12", "7"))

	// Output:
	// seat/12/7
	// true
	// false
}

// Readers share the lock; who changes what it stands for wants it alone.
func ExampleKey_Shared() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	prices := txn.NewKey("price list")
	try := func(ctx context.Context, k txn.Key) (granted bool, err error) {
		return txn.WithTxValue(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) (bool, error) {
			return tx.TryAdvisoryLock(ctx, k)
		})
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "quote"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := tx.AdvisoryLock(ctx, prices.Shared()); err != nil {
			return err
		}
		fmt.Println(try(txn.Detach(ctx), prices.Shared()))
		fmt.Println(try(txn.Detach(ctx), prices))
		return nil
	})
	fmt.Println(err)

	// Output:
	// true <nil>
	// false <nil>
	// <nil>
}
