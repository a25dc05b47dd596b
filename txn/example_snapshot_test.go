package txn_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/interlock-go/interlock/txn"
)

// Two parts of a report are read at the same time and agree with each other, whatever is
// committed meanwhile.
func ExampleWithSharedSnapshot() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	var counts [2]int64
	parts := [2]string{"select count(*) from users", "select count(*) from wallets"}
	err := txn.WithSharedSnapshot(ctx, d, txn.Options{Label: "report"}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		var errs [2]error
		var all sync.WaitGroup
		for i, sql := range parts {
			all.Go(func() {
				errs[i] = txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
					return rx.QueryRow(ctx, sql).Scan(&counts[i])
				})
			})
		}
		all.Wait()
		return errors.Join(errs[:]...)
	})
	fmt.Println(counts, err)

	// Output:
	// [0 0] <nil>
}

// The snapshot does not see what is committed after it was taken.
func ExampleWithSharedSnapshotValue() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	users, err := txn.WithSharedSnapshotValue(ctx, d, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) (int64, error) {
		err := txn.WithTx(txn.Detach(ctx), d, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
			tx.Queue("insert into users (email) values ('late@example.com')")
			return nil
		})
		if err != nil {
			return 0, err
		}
		return txn.WithReadTxValue(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) (n int64, err error) {
			err = rx.QueryRow(ctx, "select count(*) from users").Scan(&n)
			return n, err
		})
	})
	fmt.Println(users, err)

	// Output:
	// 0 <nil>
}
