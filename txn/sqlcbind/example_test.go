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

// reset is for the only counter there is, if it has the value that the caller has seen.
func (q queries) reset(ctx context.Context, seen int) error {
	_, err := q.db.Exec(ctx, "update counters set n = 0 where n = $1", seen)
	return err
}

// guard holds reset to changing one row. Such texts are generated.
var guard = &sqlcbind.Guard{
	SQL: `-- name: Reset :exec
with changed as (update counters set n = 0 where n = $1 returning 1)
select case (select count(*) from changed) when 1 then 0
else case when exists (select from counters for key share) then (-1)::information_schema.cardinal_number
else length('no'::information_schema.yes_or_no) end end`,
	Exists: "select from counters",
}

// Whoever waits for the answer can go on after it: here the counter has not the value 7.
func ExampleChecked() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "reset"}, func(ctx context.Context, tx *txn.Tx) error {
		err := queries{sqlcbind.Checked(sqlcbind.Tx(tx), guard)}.reset(ctx, 7)
		fmt.Println(errors.Is(err, txn.ErrStale))
		return queries{sqlcbind.Tx(tx)}.increment(ctx)
	})
	fmt.Println(err)

	// Output:
	// true
	// <nil>
}

// A single statement says by itself that it has changed nothing, and why.
func ExampleGuarded() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	q := queries{sqlcbind.Guarded(sqlcbind.Autocommit(d), guard)}
	fmt.Println(q.reset(ctx, 0))
	fmt.Println(q.reset(ctx, 7))

	// Output:
	// <nil>
	// txn: the row was changed since it was read: Reset
}

// Nobody looks at the answer before COMMIT, which travels with the statement: so that fails.
func ExampleQueueGuarded() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "reset"}, func(ctx context.Context, tx *txn.Tx) error {
		sqlcbind.QueueExec(tx, func(d sqlcbind.DBTX) error { return queries{d}.increment(ctx) })
		sqlcbind.QueueGuarded(tx, guard, func(d sqlcbind.DBTX) (int64, error) {
			tag, err := d.Exec(ctx, "the guard's text is sent instead of this", 7)
			return tag.RowsAffected(), err
		})
		return nil
	})
	fmt.Println(err)
	fmt.Println(queries{sqlcbind.AutocommitRead(d)}.count(ctx)) // not incremented either

	// Output:
	// txn: queued Reset: txn: the row was changed since it was read: Reset
	// 0 <nil>
}

// The same for a query of which nothing else is wanted.
func ExampleQueueGuardedExec() {
	ctx := context.Background()
	d, done := counters()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "reset"}, func(ctx context.Context, tx *txn.Tx) error {
		sqlcbind.QueueGuardedExec(tx, guard, func(d sqlcbind.DBTX) error { return queries{d}.reset(ctx, 0) })
		return nil
	})
	fmt.Println(err)

	// Output:
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
