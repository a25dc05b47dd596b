package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Rule: connections that died in the pool, as all do when a server restarts, cost no attempt.

// kill ends all sessions of the pool, and returns when they have ended.
func kill(t *testing.T, admin *pgxpool.Pool, pool *pgxpool.Pool) {
	t.Helper()
	var pids []int64
	for _, c := range pool.AcquireAllIdle(t.Context()) {
		pids = append(pids, int64(c.Conn().PgConn().PID()))
		c.Release()
	}
	_, err := admin.Exec(t.Context(), "select pg_terminate_backend(pid) from unnest($1::int[]) pid", pids)
	require.NoError(t, err)
	for left := 1; left > 0; {
		require.NoError(t, admin.QueryRow(t.Context(),
			"select count(*) from pg_sleep(0.002), pg_stat_activity where pid = any ($1)", pids).Scan(&left))
	}
}

// fill opens so many connections.
func fill(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	held := make([]*pgxpool.Conn, n)
	for i := range held {
		c, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		held[i] = c
	}
	for _, c := range held {
		c.Release()
	}
}

func TestStaleConnectionsCostNoAttempt(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	for _, mode := range []mode{modes[0], modes[4]} {
		pool := f.Pool(t, mode.set, txn.ConfigurePool, func(cfg *pgxpool.Config) {
			cfg.MaxConns = 4
			cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // pgx's own precaution
		})
		d := txn.New(pool, txn.Config{})
		for name, op := range operations {
			t.Run(mode.name+"/"+name, func(t *testing.T) {
				for range 2 {
					f.empty(t)
					fill(t, pool, 3)
					kill(t, admin, pool)
					runs := 0
					var p *txn.Pending[pgconn.CommandTag]
					require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						runs++
						p = tx.Queue(insertNote, "queued").OnError(func(err error) error {
							require.Fail(t, "it did not fail", "%v", err)
							return nil
						})
						return op(ctx, tx)
					}))
					require.Equal(t, 1, runs)
					tag, err := p.Value()
					require.NoError(t, err)
					require.EqualValues(t, 1, tag.RowsAffected())
					require.Equal(t, []string{"queued", "op"}, f.notes(t))
				}
			})
		}
	}
}

// With its server gone a call fails within the time it has, and says that nothing was done.
func TestServerGone(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true})
	require.NoError(t, err)
	cfg, err := pgxpool.ParseConfig(server.AppURL("postgres"))
	require.NoError(t, err)
	txn.ConfigurePool(cfg)
	d := openConfig(t, cfg)
	read := func(opts txn.Options) (runs int, err error) {
		err = txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			var n int
			return tx.QueryRow(ctx, "select 1").Scan(&n)
		})
		return runs, err
	}
	fill(t, d.Pool(), 3)
	_, err = read(txn.Options{})
	require.NoError(t, err)

	require.NoError(t, server.Restart(t.Context()))
	runs, err := read(txn.Options{})
	require.NoError(t, err)
	require.Equal(t, 1, runs, "a restart costs no attempt")

	require.NoError(t, server.Stop())
	start := time.Now()
	runs, err = read(txn.Options{})
	require.Less(t, time.Since(start), 20*time.Second)
	require.Equal(t, 3, runs)
	exhausted, ok := errors.AsType[*txn.RetriesExhaustedError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 3, exhausted.Attempts)
	require.True(t, txn.IsRetryable(err), "later")

	_, err = read(txn.Options{MaxAttempts: 1})
	require.True(t, txn.IsRetryable(err), "%v", err)
	_, unknown := errors.AsType[*txn.CommitUnknownError](err)
	require.False(t, unknown)

	err = txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(_ context.Context, tx *txn.Tx) error {
		tx.Queue("select 1")
		return nil
	})
	require.True(t, txn.IsRetryable(err), "%v", err)
}

// A connection may also break unseen, between the pool and the first flush. No COMMIT was in
// it: it is sent again on another connection, and only what that answers counts.
func TestFirstFlushIsSentAgain(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		for when, cut := range map[string]faultproxy.Fault{
			"not received": cutAt("^begin isolation", false),
			"received":     cutAt("^begin isolation", true),
			"to prepare":   {Nth: 1, Do: faultproxy.Cut{}},
		} {
			t.Run(mode.name+"/"+when, func(t *testing.T) {
				f.empty(t)
				p := txntest.NewProxy(t, f.AppURL())
				cfg := poolConfig(t, p.URL())
				mode.set(cfg)
				d := openConfig(t, cfg)
				require.NoError(t, note(t, d, "warm"))
				cut := p.Arm(cut)
				runs := 0
				var queued *txn.Pending[pgconn.CommandTag]
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					runs++
					queued = tx.Queue("/* cold */ "+insertNote, "queued").OnError(func(err error) error {
						require.Fail(t, "it is not the statement that failed", "%v", err)
						return nil
					})
					return write(ctx, tx, "direct")
				}))
				require.NoError(t, cut.WaitSession(t.Context()))
				require.Equal(t, 1, runs)
				_, err := queued.Value()
				require.NoError(t, err)
				require.Equal(t, []string{"warm", "queued", "direct"}, f.notes(t))
			})
		}
	}
}

// The context ends while the connection that replaces a broken one is tried: that is what the
// caller is told.
func TestContextEndsWhileAConnectionIsTried(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	defer close(gone)
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm("begin isolation", func(l *link) {
			r.arm("-- ping", func(l *link) {
				cancel()
				swallow(false, gone)(l)
			})
			l.hangUp()
		})
		return write(ctx, tx, "never")
	})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, txn.IsRetryable(err))
	require.Eventually(t, func() bool { return d.Pool().Stat().TotalConns() == 0 }, 10*time.Second, time.Millisecond,
		"what pgx still does about the connections is not waited for")
}
