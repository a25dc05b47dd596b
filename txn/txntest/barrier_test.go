package txntest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest"
)

func TestBarrier(t *testing.T) {
	t.Parallel()
	b := txntest.NewBarrier(3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := b.Wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "2 did not come")
	first := make(chan error, 1)
	go func() { first <- b.Wait(t.Context()) }()
	require.NoError(t, b.Wait(t.Context()), "the last of three")
	require.NoError(t, <-first)
	require.NoError(t, b.Wait(t.Context()), "it stays open")
	require.Panics(t, func() { txntest.NewBarrier(0) })
}

func TestWaitBlocked(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, schema)
	pool, admin := database.Pool(t), database.Admin(t)
	holder, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "select from counters where id = 1 for update")
	require.NoError(t, err)
	waiter, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer waiter.Release()
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(t.Context(), "update counters set n = 2 where id = 1")
		done <- err
	}()
	txntest.WaitBlocked(t, admin, int(waiter.Conn().PgConn().PID()))
	sessions := txntest.Sessions(t.Context(), admin)
	require.Contains(t, sessions, "select from counters where id = 1 for update")
	require.Contains(t, sessions, "waits for Lock transactionid behind ")
	require.NoError(t, holder.Commit(t.Context()))
	require.NoError(t, <-done)
}

func TestSessionsOfNobody(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, schema)
	watcher := database.Pool(t, func(cfg *pgxpool.Config) { cfg.MaxConns = 1 })
	require.Equal(t, "no other session", txntest.Sessions(t.Context(), watcher))
}
