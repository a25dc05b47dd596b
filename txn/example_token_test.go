package txn_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// Keys past the age at which nobody repeats a request only take room. An age of zero is for
// the example: after it, a repeated request does its work again.
func ExampleDB_DeleteCommitTokens() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	pay := func(key string) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "pay", IdempotencyKey: key}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("update wallets set balance = balance - 10")
			return nil
		})
	}
	fmt.Println(pay("invoice 7"))
	fmt.Println(errors.Is(pay("invoice 7"), txn.ErrAlreadyCommitted))
	fmt.Println(d.DeleteCommitTokens(ctx, 0)) // 30*24*time.Hour, say
	fmt.Println(pay("invoice 7"))

	// Output:
	// <nil>
	// true
	// 1 <nil>
	// <nil>
}
