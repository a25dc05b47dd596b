package txn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: what is retried, by SQLSTATE, wherever in the transaction it comes from and whatever
// the function makes of it.
func TestRetryBySQLState(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: time.Nanosecond})
	f.failAtCommit(t)
	also := []string{"23505", "23P01", "55P03", "P0001"}
	for _, c := range []struct {
		code       string
		runs, also int // without and with RetryAlso
	}{
		{"40001", 3, 3}, {"40P01", 3, 3},
		{"23505", 1, 3}, {"23P01", 1, 3}, {"55P03", 1, 3}, {"P0001", 1, 3},
		{"53000", 3, 3}, {"53100", 3, 3}, {"53200", 3, 3}, {"53300", 3, 3}, {"53400", 3, 3}, {"57P01", 3, 3}, {"57P02", 3, 3}, {"57P03", 3, 3},
		{"57014", 1, 1}, {"25P03", 1, 1}, {"25P04", 1, 1}, {"57P05", 1, 1},
		{"42601", 1, 1}, {"23514", 1, 1}, {"0A000", 1, 1}, {"08006", 1, 1},
	} {
		for name, opts := range map[string]txn.Options{"plain": {}, "also": {RetryAlso: also}} {
			for way, body := range map[string]func(context.Context, *txn.Tx, string) error{
				"returned": fail,
				"wrapped": func(ctx context.Context, tx *txn.Tx, code string) error {
					return fmt.Errorf("deep: %w", fail(ctx, tx, code))
				},
				"swallowed": func(ctx context.Context, tx *txn.Tx, code string) error {
					_ = fail(ctx, tx, code)
					return nil
				},
				"hidden": func(ctx context.Context, tx *txn.Tx, code string) error {
					_ = fail(ctx, tx, code)
					return errBusiness
				},
				"joined": func(ctx context.Context, tx *txn.Tx, code string) error {
					return txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, code) })
				},
				"queued, with COMMIT": func(_ context.Context, tx *txn.Tx, code string) error {
					tx.Queue("select fail($1)", code)
					return nil
				},
				"queued, with a statement": func(ctx context.Context, tx *txn.Tx, code string) error {
					tx.Queue("select fail($1)", code)
					_, err := tx.Exec(ctx, "select 1")
					return err
				},
				"queued, swallowed": func(ctx context.Context, tx *txn.Tx, code string) error {
					tx.Queue("select fail($1)", code)
					_ = tx.Flush(ctx)
					return nil
				},
				"hidden, queued": func(_ context.Context, tx *txn.Tx, code string) error {
					tx.Queue("select fail($1)", code).OnError(func(error) error { return errBusiness })
					return nil
				},
				"at COMMIT": func(ctx context.Context, tx *txn.Tx, code string) error {
					return write(ctx, tx, "fail "+code)
				},
				"at COMMIT, queued": func(_ context.Context, tx *txn.Tx, code string) error {
					tx.Queue("insert into notes (body) values ($1)", "fail "+code)
					return nil
				},
			} {
				t.Run(c.code+"/"+name+"/"+way, func(t *testing.T) {
					runs := 0
					d := txn.New(f.db.Pool(), txn.Config{BaseDelay: time.Nanosecond}) // a budget of its own
					err := txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
						runs++
						require.Equal(t, runs, tx.Attempt())
						require.NoError(t, write(ctx, tx, "undone"))
						return body(ctx, tx, c.code)
					})
					want := c.runs
					if name == "also" {
						want = c.also
					}
					require.Equal(t, want, runs)
					if strings.HasPrefix(way, "hidden") {
						require.ErrorIs(t, err, errBusiness)
					} else {
						require.Equal(t, c.code, txn.SQLState(err))
					}
					exhausted, ok := errors.AsType[*txn.RetriesExhaustedError](err)
					require.Equal(t, want > 1, ok, "one attempt is not called several")
					if ok {
						require.Equal(t, want, exhausted.Attempts)
					}
				})
			}
		}
	}
	require.Empty(t, f.notes(t))
}

// Who asks for it is told that it cannot be.
func TestLimitsAreNotRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	nothing := func(context.Context, *txn.Tx) error { return nil }
	for _, code := range []string{"57014", "25P03", "25P04", "57P05"} {
		opts := txn.Options{RetryAlso: []string{"23505", code}}
		require.ErrorAs(t, txn.WithTx(t.Context(), f.db, opts, nothing), new(*txn.OptionsError), code)
		require.ErrorAs(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, opts, nothing)
		}), new(*txn.OptionsError), code)
		d := txn.New(f.db.Pool(), txn.Config{Options: opts})
		require.ErrorAs(t, txn.WithTx(t.Context(), d, txn.Options{}, nothing), new(*txn.OptionsError), code)
	}
}

// A transaction that was idle for too long is ended by the server, with its connection. That
// is no lost connection like others.
func TestIdleTimeoutIsNotRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	for _, moment := range []string{"between statements", "before the commit"} {
		runs := 0
		err := txn.WithTx(t.Context(), f.db, txn.Options{IdleTimeout: 20 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			require.NoError(t, write(ctx, tx, moment))
			await(t, admin, "select not exists (select from pg_stat_activity where datname = current_database() and state = 'idle in transaction')")
			if moment == "between statements" {
				return write(ctx, tx, "b")
			}
			return nil
		})
		require.Equal(t, "25P03", txn.SQLState(err), moment)
		require.Equal(t, 1, runs)
		require.False(t, txn.IsRetryable(err))
	}
	require.Empty(t, f.notes(t))
}

func TestMaxAttempts(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: time.Nanosecond, Options: txn.Options{MaxAttempts: 5}})
	for attempts, want := range map[int]int{0: 5, 1: 1, 2: 2} {
		runs := 0
		err := txn.WithTx(t.Context(), f.db, txn.Options{MaxAttempts: attempts}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			return fail(ctx, tx, "40001")
		})
		require.Equal(t, "40001", txn.SQLState(err))
		require.Equal(t, want, runs)
	}
}

func TestRetryStopsAtTheDeadline(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: time.Hour, MaxDelay: time.Hour})
	runs := 0
	// The call does not wait for a deadline that will have passed before the next attempt.
	waits := func(context.Context, txn.Retry) { t.Error("another attempt was announced") }
	err := txn.WithTx(t.Context(), f.db, txn.Options{Timeout: time.Second, OnRetry: waits}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		return fail(ctx, tx, "40001")
	})
	require.Equal(t, "40001", txn.SQLState(err), "the cause, not the deadline that a retry would have passed")
	require.Equal(t, 1, runs)
}

func TestOnRetryHearsOfEachFailedAttempt(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: time.Nanosecond})
	var heard []txn.Retry
	err := txn.WithTx(t.Context(), f.db, txn.Options{
		Label: "x",
		OnRetry: func(ctx context.Context, r txn.Retry) {
			heard = append(heard, r)
			// Between attempts no transaction is open: the pool may be used.
			require.NoError(t, txn.WithTx(ctx, f.db, txn.Options{}, func(context.Context, *txn.Tx) error { return nil }))
		},
	}, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "40001") })
	require.Error(t, err)
	require.Len(t, heard, 2)
	require.Equal(t, 2, heard[1].Attempt)
	require.Equal(t, "x", heard[1].Label)
	require.Equal(t, "40001", txn.SQLState(heard[1].Err))
}

// Two transactions lock two rows in opposite orders. PostgreSQL ends one; its second run
// succeeds.
func TestDeadlockIsRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	var first sync.WaitGroup // both hold their first row
	first.Add(2)
	transfer := func(from, to int) error {
		return txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := tx.Exec(ctx, "update accounts set balance = balance - 1 where id = $1", from); err != nil {
				return err
			}
			if tx.Attempt() == 1 {
				first.Done()
				first.Wait()
			}
			_, err := tx.Exec(ctx, "update accounts set balance = balance + 1 where id = $1", to)
			return err
		})
	}
	failed := make(chan error, 1)
	go func() { failed <- transfer(1, 2) }()
	require.NoError(t, transfer(2, 1))
	require.NoError(t, <-failed)
	rows, err := f.db.Pool().Query(t.Context(), "select balance from accounts where id in (1, 2)")
	require.NoError(t, err)
	balances, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	require.Equal(t, []int64{1000, 1000}, balances)
}

// Both read what the other writes: one of them fails, at the latest at COMMIT.
func TestWriteSkewIsRetriedAtSerializable(t *testing.T) {
	f := setup(t, txn.Config{})
	var read sync.WaitGroup
	read.Add(2)
	withdraw := func(from int) (int, error) {
		runs := 0
		err := txn.WithTx(t.Context(), f.db, txn.Options{Isolation: txn.Serializable}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			sum := int64(0)
			if err := tx.QueryRow(ctx, "select sum(balance)::bigint from accounts where id in (1, 2)").Scan(&sum); err != nil {
				return err
			}
			if tx.Attempt() == 1 {
				read.Done()
				read.Wait()
			}
			if sum < 2000 {
				return errBusiness
			}
			_, err := tx.Exec(ctx, "update accounts set balance = 0 where id = $1", from)
			return err
		})
		return runs, err
	}
	type outcome struct {
		runs int
		err  error
	}
	other := make(chan outcome, 1)
	go func() {
		runs, err := withdraw(1)
		other <- outcome{runs, err}
	}()
	runs, err := withdraw(2)
	o := <-other
	require.Equal(t, 3, runs+o.runs, "one of them ran twice")
	require.ErrorIs(t, errors.Join(err, o.err), errBusiness, "the second run saw the other's withdrawal")
	require.True(t, (err == nil) != (o.err == nil), "exactly one committed: %v, %v", err, o.err)
}

func TestLostConnectionBeforeCommitIsRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	for _, moment := range []string{"between statements", "before the commit"} {
		t.Run(moment, func(t *testing.T) {
			runs := 0
			err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				runs++
				if err := write(ctx, tx, moment); err != nil {
					return err
				}
				if runs == 1 {
					pid := ask[int](t, ctx, tx, "select pg_backend_pid()")
					_, err := admin.Exec(ctx, "select pg_terminate_backend($1, 5000)", pid)
					require.NoError(t, err)
				}
				if moment == "between statements" {
					_, err := tx.Exec(ctx, "select 1")
					return err
				}
				return nil
			})
			require.NoError(t, err)
			require.Equal(t, 2, runs)
		})
	}
	// Before the commit, COMMIT went out on a connection that the server had closed: that it
	// did not arrive was found out.
	require.Equal(t, []string{"between statements", "before the commit"}, f.notes(t))
}

// A restarted server leaves a pool of dead connections. None of them costs an attempt.
func TestDeadPooledConnectionsAreReplaced(t *testing.T) {
	f := setup(t, txn.Config{})
	ctx := t.Context()
	var pids []int32
	for _, c := range f.db.Pool().AcquireAllIdle(ctx) {
		c.Release()
	}
	var held []interface{ Release() }
	for range 4 {
		c, err := f.db.Pool().Acquire(ctx)
		require.NoError(t, err)
		pids = append(pids, int32(c.Conn().PgConn().PID()))
		held = append(held, c)
	}
	for _, c := range held {
		c.Release()
	}
	_, err := f.Admin(t).Exec(ctx, "select pg_terminate_backend(pid, 5000) from unnest($1::int[]) pid", pids)
	require.NoError(t, err)

	runs := 0
	require.NoError(t, txn.WithTx(ctx, f.db, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		pid := ask[int32](t, ctx, tx, "select pg_backend_pid()")
		require.False(t, slices.Contains(pids, pid))
		return nil
	}))
	require.Equal(t, 1, runs)
}

// While nobody answers, a call does not wait for what will not come: once the budget is used
// up, each makes one attempt.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	d := openConfig(t, poolConfig(t, server.AppURL("postgres")), txn.Config{BaseDelay: time.Nanosecond})
	call := func(runs *atomic.Int64) error {
		return txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			runs.Add(1)
			_, err := tx.Exec(ctx, "select 1")
			return err
		})
	}
	var before, during atomic.Int64
	require.NoError(t, call(&before))
	require.NoError(t, server.Stop())
	for range 10 {
		err := call(&before)
		require.Error(t, err)
		require.True(t, txn.IsRetryable(err), "%v", err)
	}
	require.Greater(t, before.Load(), int64(11), "some were made again at first")
	const callers = 100
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if err := call(&during); !txn.IsRetryable(err) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, during.Load(), int64(callers*11/10))
	require.Zero(t, d.Pool().Stat().AcquiredConns())
}

// A context that ends during the pause ends the call, with the reason why it failed.
func TestContextEndsBetweenAttempts(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: 1000 * time.Hour, MaxDelay: 1000 * time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs := 0
	err := txn.WithTx(ctx, f.db, txn.Options{OnRetry: func(context.Context, txn.Retry) { cancel() }}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		return fail(ctx, tx, "40001")
	})
	require.Equal(t, "40001", txn.SQLState(err))
	require.Equal(t, 1, runs)
}

// Outages draw on a budget that all callers share: when most calls fail, nearly none is
// repeated.
func TestOutagesAreRetriedWithinTheBudget(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: time.Nanosecond})
	count := func(code string, calls int) (runs int) {
		for range calls {
			_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				runs++
				return fail(ctx, tx, code)
			})
		}
		return runs
	}
	require.LessOrEqual(t, count("57P01", 100), 105)
	require.Equal(t, 30, count("40001", 10), "a healthy server's conflicts do not draw on it")
	for range 100 {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(context.Context, *txn.Tx) error { return nil }))
	}
	require.Equal(t, 3, count("57P01", 1), "success fills it again")
	for range 1000 {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, nothing))
	}
	require.LessOrEqual(t, count("57P01", 100), 105, "and no more than that")
}

func TestUnreachableServer(t *testing.T) {
	f := setup(t, txn.Config{})
	cfg := f.db.Pool().Config()
	cfg.ConnConfig.Password = "wrong"
	cfg.ConnConfig.Fallbacks = nil
	d := openConfig(t, cfg)
	runs := 0
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		_, err := tx.Exec(ctx, "select 1")
		return err
	})
	require.Error(t, err)
	require.Equal(t, 1, runs, "a wrong password does not pass by itself")
	require.NotContains(t, err.Error(), "wrong")

	cfg.ConnConfig.Port = 1
	d = openConfig(t, cfg)
	runs = 0
	err = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		_, err := tx.Exec(ctx, "select 1")
		return err
	})
	require.True(t, txn.IsRetryable(err), "%v", err)
	require.Equal(t, 3, runs)
}

func TestIsRetryable(t *testing.T) {
	t.Parallel()
	require.False(t, txn.IsRetryable(nil))
	require.False(t, txn.IsRetryable(errBusiness))
	require.False(t, txn.IsRetryable(pgx.ErrNoRows))
	conflict := &pgconn.PgError{Code: "40001"}
	require.True(t, txn.IsRetryable(fmt.Errorf("deep: %w", conflict)))
	require.True(t, txn.IsRetryable(&txn.RetriesExhaustedError{Err: conflict}))
	require.True(t, txn.IsRetryable(&txn.QueuedError{Err: conflict}))
	for _, committed := range []error{
		&txn.CommitUnknownError{Err: conflict}, &txn.HookError{Err: conflict},
		errors.Join(conflict, txn.ErrAlreadyCommitted), errors.Join(conflict, &txn.CommitUnknownError{Err: errBusiness}),
	} {
		require.False(t, txn.IsRetryable(committed))
		require.False(t, txn.IsRetryable(fmt.Errorf("deep: %w", committed)))
	}
}
