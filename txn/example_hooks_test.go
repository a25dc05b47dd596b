package txn_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// What the function did outside the database is taken back if the transaction is.
func ExampleTx_AfterRollback() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	uploads := map[string]bool{}
	err := txn.WithTx(ctx, d, txn.Options{Label: "avatar"}, func(ctx context.Context, tx *txn.Tx) error {
		uploads["ada.png"] = true
		tx.AfterRollback(func(_ context.Context, why error) {
			delete(uploads, "ada.png")
			fmt.Println("removed, because of", txn.SQLState(why))
		})
		_, err := tx.Exec(ctx, "insert into users (email) values (null)")
		return err
	})
	fmt.Println(err != nil, len(uploads))

	// Output:
	// removed, because of 23502
	// true 0
}

// A HookError says that the work is committed: answer the request, and do not repeat it.
func ExampleHookError() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	user, err := txn.WithTxValue(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) (id int64, err error) {
		tx.AfterCommit(func(context.Context) error { return errors.New("mail server is down") })
		err = tx.QueryRow(ctx, "insert into users (email) values ('ada@example.com') returning id").Scan(&id)
		return id, err
	})
	if failed, ok := errors.AsType[*txn.HookError](err); ok {
		fmt.Println("user", user, "exists, but:", failed.Err)
	}
	fmt.Println(txn.IsRetryable(err))

	// Output:
	// user 1 exists, but: mail server is down
	// false
}
