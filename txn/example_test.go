package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/interlock-go/interlock/txn"
)

// A user and an account created together: both rows exist afterwards, or neither, and the
// caller learns which.
func Example() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	signUp := func(ctx context.Context, email string, opening int64) (user int64, err error) {
		return txn.WithTxValue(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) (user int64, err error) {
			err = tx.QueryRow(ctx, "insert into users (email) values ($1) returning id", email).Scan(&user)
			if err != nil {
				return 0, fmt.Errorf("create user: %w", err)
			}
			_, err = tx.Exec(ctx, "insert into wallets (user_id, balance) values ($1, $2)", user, opening)
			if err != nil {
				return 0, fmt.Errorf("create wallet: %w", err)
			}
			return user, nil
		})
	}

	user, err := signUp(ctx, "ada@example.com", 100)
	fmt.Println(user > 0, err)

	_, err = signUp(ctx, "bob@example.com", -1) // the wallet is refused, so there is no user either
	fmt.Println(txn.SQLState(err), txn.ConstraintName(err))

	users, err := txn.WithReadTxValue(ctx, d, txn.Options{Label: "count"}, func(ctx context.Context, rx *txn.ReadTx) (n int, err error) {
		err = rx.QueryRow(ctx, "select count(*) from users").Scan(&n)
		return n, err
	})
	fmt.Println(users, err)

	// Output:
	// true <nil>
	// 23514 wallets_balance_check
	// 1 <nil>
}

// A function that takes a Transactor runs alone or as a part of a larger transaction.
func ExampleTransactor() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	create := func(ctx context.Context, t txn.Transactor, email string) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "create"}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "insert into users (email) values ($1)", email)
			fmt.Println(tx.Label())
			return err
		})
	}

	if err := create(ctx, d, "ada@example.com"); err != nil {
		log.Fatal(err)
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		return errors.Join(create(ctx, tx, "bob@example.com"), create(ctx, tx, "eve@example.com"))
	})
	fmt.Println(err)

	// Output:
	// create
	// import/create
	// import/create
	// <nil>
}

// What a savepoint contains can fail alone.
func ExampleTx_Savepoint() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		for _, email := range []string{"ada@example.com", "ada@example.com", "bob@example.com"} {
			err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "insert into users (email) values ($1)", email)
				return err
			})
			if txn.ConstraintName(err) == "users_email_key" {
				fmt.Println("skipped a duplicate")
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	fmt.Println(err)

	// Output:
	// skipped a duplicate
	// <nil>
}

// The first error counts, even if the function dropped it.
func ExampleWithTx_swallowed() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "careless"}, func(ctx context.Context, tx *txn.Tx) error {
		_, _ = tx.Exec(ctx, "insert into users (email) values (null)")
		return nil // PostgreSQL would answer COMMIT with ROLLBACK, and no error
	})
	fmt.Println(errors.Is(err, txn.ErrRollbackOnly), txn.SQLState(err))

	// Output:
	// true 23502
}
