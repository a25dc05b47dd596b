package txn_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
)

// A write that hit nothing is not an error of the server's. The tag tells.
func ExampleTx_Exec() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "rename"}, func(ctx context.Context, tx *txn.Tx) error {
		tag, err := tx.Exec(ctx, "update users set email = $2 where email = $1", "nobody@example.com", "somebody@example.com")
		if err != nil {
			return err
		}
		fmt.Println(tag, tag.RowsAffected())
		return nil
	})
	fmt.Println(err)

	// Output:
	// UPDATE 0 0
	// <nil>
}

// What pgx has for rows works, such as CollectRows. It closes them: with rows open, the
// transaction takes no other statement.
func ExampleTx_Query() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		rows, err := tx.Query(ctx, "insert into users (email) select unnest($1::text[]) returning id", []string{"ada@example.com", "bob@example.com"})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "select 1")
		fmt.Println(errors.Is(err, txn.ErrRowsOpen))

		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		fmt.Println(ids)
		return err
	})
	fmt.Println(err)

	// Output:
	// true
	// [1 2]
	// <nil>
}

// No row is ErrNotFound, and leaves the transaction as it was.
func ExampleTx_QueryRow() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	id, err := txn.WithTxValue(ctx, d, txn.Options{Label: "find or create"}, func(ctx context.Context, tx *txn.Tx) (id int64, err error) {
		err = tx.QueryRow(ctx, "select id from users where email = $1", "ada@example.com").Scan(&id)
		if errors.Is(err, txn.ErrNotFound) {
			err = tx.QueryRow(ctx, "insert into users (email) values ($1) returning id", "ada@example.com").Scan(&id)
		}
		return id, err
	})
	fmt.Println(id, err)

	// Output:
	// 1 <nil>
}

// Statements of a batch of pgx travel together. See QueueValue for answers with types.
func ExampleTx_SendBatch() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		b := &pgx.Batch{}
		for _, email := range []string{"ada@example.com", "bob@example.com"} {
			b.Queue("insert into users (email) values ($1) returning id", email).QueryRow(func(row pgx.Row) error {
				var id int64
				err := row.Scan(&id)
				fmt.Println(id, email)
				return err
			})
		}
		return tx.SendBatch(ctx, b).Close()
	})
	fmt.Println(err)

	// Output:
	// 1 ada@example.com
	// 2 bob@example.com
	// <nil>
}

// COPY is the quickest way to write many rows, and a part of the transaction as any other.
func ExampleTx_CopyFrom() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	emails := []string{"ada@example.com", "bob@example.com", "eve@example.com"}
	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		n, err := tx.CopyFrom(ctx, pgx.Identifier{"users"}, []string{"email"}, pgx.CopyFromSlice(len(emails), func(i int) ([]any, error) {
			return []any{emails[i]}, nil
		}))
		fmt.Println(n)
		return err
	})
	fmt.Println(err)

	// Output:
	// 3
	// <nil>
}

// A helper that only reads takes Reads: it serves both handles.
func ExampleReadTx_Query() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	emails := func(ctx context.Context, r txn.Reads) ([]string, error) {
		rows, err := r.Query(ctx, "select email from users order by id")
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[string])
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('ada@example.com')")
		fmt.Println(emails(ctx, tx))
		return nil
	})
	fmt.Println(err)
	err = txn.WithReadTx(ctx, d, txn.Options{Label: "list"}, func(ctx context.Context, rx *txn.ReadTx) error {
		fmt.Println(emails(ctx, rx))
		return nil
	})
	fmt.Println(err)

	// Output:
	// [ada@example.com] <nil>
	// <nil>
	// [ada@example.com] <nil>
	// <nil>
}

// A text that writes after all is refused by the server.
func ExampleReadTx_QueryRow() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	_, err := txn.WithReadTxValue(ctx, d, txn.Options{Label: "report"}, func(ctx context.Context, rx *txn.ReadTx) (id int64, err error) {
		err = rx.QueryRow(ctx, "insert into users (email) values ('ada@example.com') returning id").Scan(&id)
		return id, err
	})
	fmt.Println(txn.SQLState(err)) // read_only_sql_transaction

	// Output:
	// 25006
}

// Queries that are known beforehand travel together.
func ExampleReadTx_SendBatch() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	opts := txn.Options{Label: "report", Isolation: txn.RepeatableRead} // both of one moment
	err := txn.WithReadTx(ctx, d, opts, func(ctx context.Context, rx *txn.ReadTx) error {
		b := &pgx.Batch{}
		for _, table := range []string{"users", "wallets"} {
			b.Queue("select count(*) from " + table).QueryRow(func(row pgx.Row) error {
				var n int
				err := row.Scan(&n)
				fmt.Println(table, n)
				return err
			})
		}
		return rx.SendBatch(ctx, b).Close()
	})
	fmt.Println(err)

	// Output:
	// users 0
	// wallets 0
	// <nil>
}
