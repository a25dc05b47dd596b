package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
)

// Where functions join, a log line says in what.
func ExampleTx_Label() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	welcome := func(ctx context.Context, t txn.Transactor) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "welcome"}, func(ctx context.Context, tx *txn.Tx) error {
			fmt.Println("in", tx.Label())
			return nil
		})
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		return welcome(ctx, tx)
	})
	fmt.Println(err)

	// Output:
	// in sign-up/welcome
	// <nil>
}

// A function that only reads takes a ReadTransactor: all three handles are such.
func ExampleReadTx_Label() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	count := func(ctx context.Context, t txn.ReadTransactor) error {
		return txn.WithReadTx(ctx, t, txn.Options{Label: "count"}, func(ctx context.Context, rx *txn.ReadTx) error {
			var n int
			err := rx.QueryRow(ctx, "select count(*) from users").Scan(&n)
			fmt.Println(rx.Label(), n)
			return err
		})
	}
	onDB := count(ctx, d)
	inTx := txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('ada@example.com')")
		return count(ctx, tx)
	})
	inReadTx := txn.WithReadTx(ctx, d, txn.Options{Label: "report"}, func(ctx context.Context, rx *txn.ReadTx) error {
		return count(ctx, rx)
	})
	fmt.Println(onDB, inTx, inReadTx)

	// Output:
	// count 0
	// sign-up/count 1
	// report/count 1
	// <nil> <nil> <nil>
}

// A library that takes a pgx.Tx takes part, but cannot end the transaction.
func ExampleTx_Pgx() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	enqueue := func(ctx context.Context, tx pgx.Tx, job string) error { // of a job queue
		_, err := tx.Exec(ctx, "insert into users (email) values ($1)", job)
		return err
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		fmt.Println(errors.Is(tx.Pgx().Commit(ctx), txn.ErrManaged))
		return enqueue(ctx, tx.Pgx(), "welcome mail")
	})
	fmt.Println(err)

	// Output:
	// true
	// <nil>
}

// legacy is code that begins and ends its transactions itself, and has moved what is within
// over to functions that take a Transactor.
func legacy(ctx context.Context, d *txn.DB, work func(context.Context, txn.Transactor) error) error {
	tx, err := d.Pool().Begin(ctx)
	if err != nil {
		return err
	}
	j := txn.Join(tx, txn.Options{Label: "legacy"})
	if err = work(ctx, j.Tx()); err == nil {
		err = j.Finish(ctx)
	}
	if err != nil {
		_ = tx.Rollback(ctx)
		j.RolledBack(ctx, err)
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		j.RolledBack(ctx, err)
		return err
	}
	return j.Committed(ctx)
}

// The handle serves functions that know nothing of who began the transaction.
func ExampleJoined_Tx() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := legacy(ctx, d, func(ctx context.Context, t txn.Transactor) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "create"}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com')")
			fmt.Println(tx.Label())
			return err
		})
	})
	fmt.Println(err)

	// Output:
	// legacy/create
	// <nil>
}

// Finish says whether the owner may commit: a failure that was dropped counts as well.
func ExampleJoined_Finish() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	tx, err := d.Pool().Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx)
	j := txn.Join(tx, txn.Options{Label: "legacy"})
	j.Tx().Queue("insert into users (email) values (null)") // sent by Finish
	fmt.Println(txn.SQLState(j.Finish(ctx)))

	// Output:
	// 23502
}

// Functions registered in the handle's functions wait for the owner's COMMIT.
func ExampleJoined_Committed() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := legacy(ctx, d, func(ctx context.Context, t txn.Transactor) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "create"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(context.Context) error {
				fmt.Println("welcome, ada")
				return nil
			})
			tx.Queue("insert into users (email) values ('ada@example.com')")
			return nil
		})
	})
	fmt.Println(err)

	// Output:
	// welcome, ada
	// <nil>
}

// They hear of its rollback as well.
func ExampleJoined_RolledBack() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := legacy(ctx, d, func(ctx context.Context, t txn.Transactor) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "create"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterRollback(func(_ context.Context, why error) { fmt.Println("sorry, ada:", why) })
			return errors.New("no more users today")
		})
	})
	fmt.Println(err)

	// Output:
	// sorry, ada: no more users today
	// no more users today
}
