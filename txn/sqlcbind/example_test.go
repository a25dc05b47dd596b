package sqlcbind_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// queries are such as sqlc writes. The package around them, which is generated too, decides
// who gets which.
type queries struct{ db sqlcbind.DBTX }

func (q queries) increment(ctx context.Context) error {
	_, err := q.db.Exec(ctx, "update counters set n = n + 1")
	return err
}

func (q queries) count(ctx context.Context) (n int, err error) {
	err = q.db.QueryRow(ctx, "select n from counters").Scan(&n)
	return n, err
}

// All queries, in a transaction that may write.
func ExampleTx() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "increment"}, func(ctx context.Context, tx *txn.Tx) error {
		q := queries{sqlcbind.Tx(tx)}
		if err := q.increment(ctx); err != nil {
			return err
		}
		fmt.Println(q.count(ctx))
		return nil
	})
	fmt.Println(err)

	// Output:
	// 1 <nil>
	// <nil>
}

// Queries that only read, in any transaction. What the generator took for one by mistake is
// refused by the server.
func ExampleRead() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	err := txn.WithReadTx(ctx, d, txn.Options{Label: "count"}, func(ctx context.Context, rx *txn.ReadTx) error {
		q := queries{sqlcbind.Read(rx)}
		fmt.Println(q.count(ctx))
		return q.increment(ctx)
	})
	fmt.Println(txn.SQLState(err)) // read_only_sql_transaction

	// Output:
	// 0 <nil>
	// 25006
}

// Queries whose answers can wait: both travel with COMMIT.
func ExampleQueue() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	count, err := txn.WithTxValue(ctx, d, txn.Options{Label: "increment"}, func(ctx context.Context, tx *txn.Tx) (*txn.Pending[int], error) {
		sqlcbind.QueueExec(tx, func(d sqlcbind.DBTX) error { return queries{d}.increment(ctx) })
		return sqlcbind.Queue(tx, func(d sqlcbind.DBTX) (int, error) { return queries{d}.count(ctx) }), nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(count.Value())

	// Output:
	// 1 <nil>
}

// A statement of which nothing is wanted but that it succeeds.
func ExampleQueueExec() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "increment"}, func(ctx context.Context, tx *txn.Tx) error {
		incremented := sqlcbind.QueueExec(tx, func(d sqlcbind.DBTX) error { return queries{d}.increment(ctx) })
		_, err := incremented.Value()
		fmt.Println(errors.Is(err, txn.ErrPending))
		return nil
	})
	fmt.Println(err)

	// Output:
	// true
	// <nil>
}

// Single statements without a transaction around them. Inside of one the pool is refused.
func ExampleAutocommit() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	q := queries{sqlcbind.Autocommit(d)}
	fmt.Println(q.increment(ctx))
	err := txn.WithTx(ctx, d, txn.Options{Label: "increment"}, func(ctx context.Context, tx *txn.Tx) error {
		return q.increment(ctx)
	})
	fmt.Println(errors.Is(err, txn.ErrNestedDB))

	// Output:
	// <nil>
	// true
}

// Single statements that only read. One that is lost can be repeated: it did nothing.
func ExampleAutocommitRead() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	q := queries{sqlcbind.AutocommitRead(d)}
	fmt.Println(q.count(ctx))
	err := d.Pool().QueryRow(ctx, "select pg_terminate_backend(pg_backend_pid())").Scan(new(bool)) // the connection is gone
	fmt.Println(txn.SQLState(err))
	fmt.Println(q.count(ctx))

	// Output:
	// 0 <nil>
	// 57P01
	// 0 <nil>
}

// counters is a DB for an example, on a database of its own.
func counters() (d *txn.DB, done func()) {
	ctx := context.Background()
	server, err := pgserver.Shared(ctx)
	if err != nil {
		log.Fatal(err)
	}
	run := func(url string, statements ...string) {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close(ctx)
		for _, sql := range statements {
			if _, err := c.Exec(ctx, sql); err != nil {
				log.Fatal(err)
			}
		}
	}
	name := "example_" + strings.ToLower(rand.Text())
	run(server.OwnerURL("postgres"), "create database "+name)
	run(server.OwnerURL(name),
		"create table counters (n int not null)", "insert into counters values (0)",
		"grant select, update on counters to "+pgserver.AppRole)
	if d, err = txn.Open(ctx, server.AppURL(name), txn.Config{}); err != nil {
		log.Fatal(err)
	}
	return d, func() {
		d.Close()
		run(server.AdminURL("postgres"), "drop database "+name+" with (force)")
	}
}
