package jobs_test

import (
	"context"
	"errors"
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

type note struct{ Text string }

func (note) Kind() string { return "test.note" }

// A job is there if and only if its transaction, and its savepoint, have committed.
func TestInsert(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})
	undone := errors.New("undone")
	insert := func(text string) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error { return jobs.Insert(ctx, tx, note{text}, nil) }
	}
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: committed"}, func(ctx context.Context, tx *txn.Tx) error {
		err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			return errors.Join(insert("in a savepoint undone")(ctx, tx), undone)
		})
		require.ErrorIs(t, err, undone)
		require.NoError(t, tx.Savepoint(ctx, insert("in a savepoint")))
		return insert("committed")(ctx, tx)
	}))
	require.ErrorIs(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: rolled back"}, func(ctx context.Context, tx *txn.Tx) error {
		return errors.Join(insert("rolled back")(ctx, tx), undone)
	}), undone)
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: several"}, func(ctx context.Context, tx *txn.Tx) error {
		return jobs.InsertMany(ctx, tx, []river.InsertManyParams{{Args: note{"first"}}, {Args: note{"second"}}})
	}))
	require.Equal(t, []string{"in a savepoint", "committed", "first", "second"}, inserted(t, database))
}

func inserted(t *testing.T, d *txntest.Database) (texts []string) {
	t.Helper()
	require.NoError(t, d.Admin(t).QueryRow(t.Context(),
		`select array_agg(args->>'Text' order by id) from river.river_job where kind = 'test.note'`).Scan(&texts))
	return texts
}

// What a job adds to a transaction.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	proxy := txntest.NewProxy(t, database.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", txn.Config{})
	require.NoError(t, err)
	t.Cleanup(d.Close)
	trips := func(fn func(context.Context, *txn.Tx) error) int {
		t.Helper()
		for range 2 { // the first one prepares
			proxy.Reset()
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: trips"}, fn))
		}
		return proxy.RoundTrips()
	}
	read := func(ctx context.Context, tx *txn.Tx) error {
		var one int
		return tx.QueryRow(ctx, "select 1").Scan(&one)
	}
	job := func(ctx context.Context, tx *txn.Tx) error { return jobs.Insert(ctx, tx, note{"x"}, nil) }
	both := func(ctx context.Context, tx *txn.Tx) error {
		if err := read(ctx, tx); err != nil {
			return err
		}
		tx.Queue("select 2")
		return job(ctx, tx)
	}
	require.Equal(t, 2, trips(read))
	require.Equal(t, 3, trips(both), "one, with what was queued before it")
	require.Equal(t, 2, trips(job), "BEGIN travels with it")
}

// Transactions that NOTIFY take turns at COMMIT, in all databases of a server.
func TestInsertDoesNotNotify(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})
	const topic = `"river.river_insert"`
	listener, err := database.Admin(t).Acquire(t.Context())
	require.NoError(t, err)
	defer listener.Release()
	_, err = listener.Exec(t.Context(), "listen "+topic)
	require.NoError(t, err)
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: insert"}, func(ctx context.Context, tx *txn.Tx) error {
		return jobs.Insert(ctx, tx, note{"quiet"}, nil)
	}))
	_, err = d.Pool().Exec(t.Context(), "notify "+topic+", 'ours'")
	require.NoError(t, err)
	first, err := listener.Conn().WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ours", first.Payload)
}
