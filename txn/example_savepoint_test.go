package txn_test

import (
	"context"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// Who came first has made the row: the insert fails alone, and the row is read instead.
func ExampleSavepointValue() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()
	exampleWallet(ctx, d, 100) // of ada@example.com

	create := func(ctx context.Context, tx *txn.Tx) (id int64, err error) {
		err = tx.QueryRow(ctx, "insert into users (email) values ('ada@example.com') returning id").Scan(&id)
		return id, err
	}
	id, err := txn.WithTxValue(ctx, d, txn.Options{Label: "create or find"}, func(ctx context.Context, tx *txn.Tx) (int64, error) {
		id, err := txn.SavepointValue(ctx, tx, create)
		if txn.ConstraintName(err) == "users_email_key" {
			err = tx.QueryRow(ctx, "select id from users where email = 'ada@example.com'").Scan(&id)
		}
		return id, err
	})
	fmt.Println(id, err)

	// Output:
	// 1 <nil>
}
