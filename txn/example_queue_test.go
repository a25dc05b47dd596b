package txn_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// Flush finds out now what COMMIT would find out: before something slow, for instance.
func ExampleTx_Flush() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('ada@example.com')")
		tx.Queue("insert into wallets (user_id, balance) select id, -1 from users")
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		fmt.Println("not reached")
		return nil
	})
	queued, ok := errors.AsType[*txn.QueuedError](err)
	fmt.Println(ok, txn.ConstraintName(err))
	fmt.Println(queued.Query)

	// Output:
	// true wallets_balance_check
	// insert into wallets (user_id, balance) select id, -1 from us…
}

// An error gets its meaning beside the statement that can cause it, although COMMIT carries
// the statement.
func ExamplePending_OnError() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	errFunds := errors.New("insufficient funds")
	withdraw := func(amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "withdraw"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("update wallets set balance = balance - $1", amount).OnError(func(err error) error {
				if txn.ConstraintName(err) == "wallets_balance_check" {
					return errFunds
				}
				return err
			})
			return nil
		})
	}
	fmt.Println(withdraw(30))
	fmt.Println(errors.Is(withdraw(300), errFunds))

	// Output:
	// <nil>
	// true
}

// A statement that travelled with COMMIT has its answer when the call has returned.
func ExamplePending_Value() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	interest, err := txn.WithTxValue(ctx, d, txn.Options{Label: "interest"}, func(ctx context.Context, tx *txn.Tx) (*txn.Pending[int64], error) {
		return txn.QueueValue(tx, func(q txn.Querier) (balance int64, err error) {
			err = q.QueryRow(ctx, "update wallets set balance = balance + 1 returning balance").Scan(&balance)
			return balance, err
		}), nil
	})
	fmt.Println(err)
	fmt.Println(interest.Value())

	// Output:
	// <nil>
	// 101 <nil>
}
