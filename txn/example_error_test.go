package txn_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// The code says what happened, in any language that the server speaks.
func ExampleSQLState() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "insert into wallets (user_id, balance) values (7, 0)"); err != nil {
			return fmt.Errorf("create wallet: %w", err)
		}
		return nil
	})
	switch txn.SQLState(err) {
	case "23503":
		fmt.Println("no such user")
	default:
		fmt.Println(err)
	}

	// Output:
	// no such user
}

// A constraint has a name: by that a violated one becomes an error of the program's own.
func ExampleConstraintName() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100)

	errFunds := errors.New("insufficient funds")
	withdraw := func(amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "withdraw"}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "update wallets set balance = balance - $1", amount)
			if txn.ConstraintName(err) == "wallets_balance_check" {
				return errFunds
			}
			return err
		})
	}
	fmt.Println(withdraw(30))
	fmt.Println(withdraw(300))

	// Output:
	// <nil>
	// insufficient funds
}

// A write that must hit one row is undone if it did not.
func ExampleExpectRows() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "deposit"}, func(ctx context.Context, tx *txn.Tx) error {
		tag, err := tx.Exec(ctx, "update wallets set balance = balance + 5 where user_id = $1", 7)
		if err != nil {
			return err
		}
		return txn.ExpectRows(tag, 1)
	})
	fmt.Println(err)
	affected, ok := errors.AsType[*txn.AffectedError](err)
	fmt.Println(ok && affected.None)

	// Output:
	// txn: UPDATE 0 changed 0 rows, expected 1
	// true
}
