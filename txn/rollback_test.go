package txn_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Rule: rollback runs on a context of its own, and a cancelled context does not cost the
// connection.

func TestCancelledContextKeepsTheConnection(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	holder, err := admin.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(t.Context()) }()
	_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
	require.NoError(t, err)

	var pids []int
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		pid := make(chan int, 1)
		result := make(chan error, 1)
		go func() {
			result <- txn.WithTx(ctx, f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				if err := write(ctx, tx, "undone"); err != nil {
					return err
				}
				var p int
				if err := tx.QueryRow(ctx, "select pg_backend_pid()").Scan(&p); err != nil {
					return err
				}
				pid <- p
				_, err := tx.Exec(ctx, "select from accounts where id = 1 for update")
				return err
			})
		}()
		p := <-pid
		txntest.WaitBlocked(t, holder, p)
		cancel()
		err := <-result
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, txn.IsRetryable(err))
		pids = append(pids, p)
	}
	for _, p := range pids {
		require.Equal(t, pids[0], p, "twenty cancellations, one connection")
	}
	require.Empty(t, f.notes(t))
	require.EqualValues(t, 1, f.db.Pool().Stat().NewConnsCount())
}

// However a statement is sent, the error says what its caller knows of, and what the server
// said.
func TestCancelledStatementIsTheContexts(t *testing.T) {
	f := setup(t, txn.Config{})
	hasty := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	const sleep = "select pg_sleep($1)"
	within := func(fn func(ctx context.Context, tx *txn.Tx) error) func(context.Context) error {
		return func(ctx context.Context) error { return txn.WithTx(ctx, f.db, txn.Options{}, fn) }
	}
	query := func(q txn.Querier, ctx context.Context) error {
		return q.QueryRow(ctx, sleep, 60).Scan(nil)
	}
	onPool := sqlcbind.Autocommit(f.db)
	for name, call := range map[string]func(context.Context) error{
		"first": within(func(ctx context.Context, tx *txn.Tx) error { return query(tx, ctx) }),
		"second": within(func(ctx context.Context, tx *txn.Tx) error {
			if err := write(ctx, tx, "undone"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, sleep, 60)
			return err
		}),
		"dropped": within(func(ctx context.Context, tx *txn.Tx) error {
			_, _ = tx.Exec(ctx, sleep, 60)
			return nil
		}),
		"batch": within(func(ctx context.Context, tx *txn.Tx) error {
			b := &pgx.Batch{}
			b.Queue(sleep, 60)
			return tx.SendBatch(ctx, b).Close()
		}),
		"several": within(func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select 1; select pg_sleep(60)")
			return err
		}),
		"queued": within(func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue(sleep, 60)
			return tx.Flush(ctx)
		}),
		"joined": func(context.Context) error {
			return txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				return txn.WithTx(ctx, tx, txn.Options{Timeout: 200 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
					return query(tx, ctx)
				})
			})
		},
		"in a savepoint": within(func(ctx context.Context, tx *txn.Tx) error {
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return query(tx, ctx) })
		}),
		"on the pool":       func(ctx context.Context) error { return query(onPool, ctx) },
		"on the pool, Exec": func(ctx context.Context) error { _, err := onPool.Exec(ctx, sleep, 60); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := call(hasty(t.Context()))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, "57014", txn.SQLState(err))
			require.False(t, txn.IsRetryable(err))
		})
	}
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "57014") })
		require.Equal(t, "57014", txn.SQLState(err))
		require.NotErrorIs(t, err, context.Canceled, "somebody else cancelled it")
		return nil
	}))
}

// The signal of a cancel request may come when its statement has ended. It hits a question
// that nobody asked, and not the next borrower's statement.
func TestLateCancelRequestIsDrained(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	cfg := poolConfig(t, r.url(t, f.AppURL()))
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	d := openConfig(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	pid := 0
	require.Error(t, txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := tx.Exec(ctx, "select pg_sleep(60)")
		return err
	}))

	late, err := (&pgproto3.Query{String: "select pg_cancel_backend(pg_backend_pid()) from pg_sleep(0)"}).Encode(nil)
	require.NoError(t, err)
	hit := make(chan struct{})
	r.arm("-- ping", func(l *link) {
		l.chunk = late
		l.forward()
		close(hit)
	})
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
		require.Equal(t, pid, ask[int](t, ctx, tx, "select pg_backend_pid()"))
		return nil
	}))
	select {
	case <-hit:
	default:
		t.Fatal("nothing was sent before the statement")
	}
}

// Behind a pooler a cancel request may hit a statement of somebody else's: there the
// connection is given up.
func TestCancelledContextBehindAPooler(t *testing.T) {
	f := setup(t, txn.Config{})
	d := open(t, f.AppURL(), txn.Config{Pooler: true})
	ctx, cancel := context.WithCancel(t.Context())
	pid := 0
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := tx.Exec(ctx, "select pg_sleep(60)")
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NotEqual(t, pid, ask[int](t, ctx, tx, "select pg_backend_pid()"))
		return nil
	}))
}

// The same on a pool that was not prepared: the connection is lost, the outcome is right.
func TestCancelledContextOnAPlainPool(t *testing.T) {
	f := setup(t, txn.Config{})
	d := openConfig(t, plainConfig(t, f.AppURL()))
	ctx, cancel := context.WithCancel(t.Context())
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "undone"))
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := tx.Exec(ctx, "select pg_sleep(60)")
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, txn.IsRetryable(err))
	require.Empty(t, f.notes(t))
}

func TestTimeoutEndsTheStatementOnTheServer(t *testing.T) {
	f := setup(t, txn.Config{})
	var pid int
	err := txn.WithTx(t.Context(), f.db, txn.Options{Timeout: 50 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
		pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
		_, err := tx.Exec(ctx, "select pg_sleep(60)")
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var state string
	require.NoError(t, f.Admin(t).QueryRow(t.Context(), "select state from pg_stat_activity where pid = $1", pid).Scan(&state))
	require.Equal(t, "idle", state)
}

// What a client that died leaves behind is ended by the server itself.
func TestTimeoutHasABackstopOnTheServer(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Timeout: time.Minute, StatementTimeout: time.Second}, func(ctx context.Context, tx *txn.Tx) error {
		version := ask[int](t, ctx, tx, "select current_setting('server_version_num')::int")
		require.Equal(t, "1s", ask[string](t, ctx, tx, "show statement_timeout"))
		if version >= 170000 {
			require.Equal(t, "61s", ask[string](t, ctx, tx, "show transaction_timeout"))
		} else {
			require.Equal(t, "61s", ask[string](t, ctx, tx, "show idle_in_transaction_session_timeout"))
		}
		return nil
	}))
}

func TestClientEncodeErrorKeepsTheTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "before"))
		_, err := tx.Exec(ctx, "select $1::int", make(chan int))
		require.Error(t, err, "nothing was sent")
		return write(ctx, tx, "after")
	}))
	require.Equal(t, []string{"before", "after"}, f.notes(t))
}
