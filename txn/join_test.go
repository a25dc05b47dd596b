package txn_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: a nested call joins, and its error dooms the whole transaction.

func TestJoinedErrorDoomsTheTransactionEvenIfSwallowed(t *testing.T) {
	f := setup(t, txn.Config{})
	runs := 0
	err := txn.WithTx(t.Context(), f.db, txn.Options{Label: "outer"}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		require.NoError(t, write(ctx, tx, "outer"))
		inner := txn.WithTx(ctx, tx, txn.Options{Label: "inner"}, func(ctx context.Context, tx *txn.Tx) error {
			return errBusiness
		})
		require.ErrorIs(t, inner, errBusiness)
		require.ErrorIs(t, write(ctx, tx, "later"), txn.ErrRollbackOnly, "nothing more is sent")
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.ErrorIs(t, err, errBusiness)
	require.Equal(t, 1, runs)
	require.Empty(t, f.notes(t))
}

func TestJoinedPanicRecoveredOutsideStillDooms(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "outer"))
		require.Panics(t, func() {
			_ = txn.WithTx(ctx, tx, txn.Options{}, func(context.Context, *txn.Tx) error { panic("boom") })
		})
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Empty(t, f.notes(t))
}

func TestJoinedReadDoesNotDoom(t *testing.T) {
	f := setup(t, txn.Config{})
	// Find, else create.
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		err := txn.WithReadTx(ctx, tx, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			var id int64
			return rx.QueryRow(ctx, "select id from notes where body = 'wanted'").Scan(&id)
		})
		require.ErrorIs(t, err, txn.ErrNotFound)
		return write(ctx, tx, "wanted")
	}))
	require.Equal(t, []string{"wanted"}, f.notes(t))
}

func TestJoinedReadDoomsAfterAServerError(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_ = txn.WithReadTx(ctx, tx, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			return rx.QueryRow(ctx, "select 1/0").Scan(new(int))
		})
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Equal(t, "22012", txn.SQLState(err))
}

func TestReadTxJoinsForReads(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithReadTx(t.Context(), f.db, txn.Options{Isolation: txn.RepeatableRead}, func(ctx context.Context, rx *txn.ReadTx) error {
		pid := ask[int](t, ctx, rx, "select pg_backend_pid()")
		return txn.WithReadTx(ctx, rx, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			require.Equal(t, pid, ask[int](t, ctx, rx, "select pg_backend_pid()"))
			return nil
		})
	}))
}

func TestOptionsOfAJoinedCall(t *testing.T) {
	f := setup(t, txn.Config{})
	const second = time.Second
	for _, c := range []struct {
		name         string
		outer, inner txn.Options
		conflict     bool
	}{
		{"zero asks for nothing", txn.Options{Isolation: txn.Serializable, SynchronousCommit: txn.SyncOff, DeferConstraints: true}, txn.Options{}, false},
		{"equal isolation", txn.Options{Isolation: txn.RepeatableRead}, txn.Options{Isolation: txn.RepeatableRead}, false},
		{"weaker isolation", txn.Options{Isolation: txn.Serializable}, txn.Options{Isolation: txn.ReadCommitted}, false},
		{"stronger isolation", txn.Options{}, txn.Options{Isolation: txn.RepeatableRead}, true},
		{"read uncommitted is read committed", txn.Options{Isolation: txn.ReadUncommitted}, txn.Options{Isolation: txn.ReadCommitted}, false},
		{"lock timeout", txn.Options{}, txn.Options{LockTimeout: second}, false},
		{"label, attempts, retries", txn.Options{}, txn.Options{Label: "x", MaxAttempts: 9, RetryAlso: []string{"23505"}}, false},
		{"equal synchronous commit", txn.Options{SynchronousCommit: txn.SyncOff}, txn.Options{SynchronousCommit: txn.SyncOff}, false},
		{"other synchronous commit", txn.Options{}, txn.Options{SynchronousCommit: txn.SyncOff}, true},
		{"deferred constraints", txn.Options{}, txn.Options{DeferConstraints: true}, true},
		{"equal deferred constraints", txn.Options{DeferConstraints: true}, txn.Options{DeferConstraints: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := txn.WithTx(t.Context(), f.db, c.outer, func(ctx context.Context, tx *txn.Tx) error {
				return txn.WithTx(ctx, tx, c.inner, func(ctx context.Context, tx *txn.Tx) error {
					_, err := tx.Exec(ctx, "select 1")
					return err
				})
			})
			if c.conflict {
				require.ErrorIs(t, err, txn.ErrOptionsConflict)
			} else {
				require.NoError(t, err)
			}
		})
	}
	t.Run("deferrable", func(t *testing.T) {
		serializable := txn.Options{Isolation: txn.Serializable, Deferrable: true}
		for name, outer := range map[string]txn.Options{"conflict": {Isolation: txn.Serializable}, "equal": serializable} {
			err := txn.WithReadTx(t.Context(), f.db, outer, func(ctx context.Context, rx *txn.ReadTx) error {
				return txn.WithReadTx(ctx, rx, serializable, func(context.Context, *txn.ReadTx) error { return nil })
			})
			require.Equal(t, name == "conflict", err != nil, name)
		}
	})
}

func TestJoinedTimeoutsHoldForTheInnerCallOnly(t *testing.T) {
	f := setup(t, txn.Config{})
	show := func(ctx context.Context, tx *txn.Tx) [3]string {
		return [3]string{
			ask[string](t, ctx, tx, "show lock_timeout"),
			ask[string](t, ctx, tx, "show statement_timeout"),
			ask[string](t, ctx, tx, "show idle_in_transaction_session_timeout"),
		}
	}
	none := [3]string{"0", "0", "0"}
	outer := txn.Options{LockTimeout: 2 * time.Second}
	inner := txn.Options{LockTimeout: time.Second, StatementTimeout: 5 * time.Second, IdleTimeout: 7 * time.Second}
	require.NoError(t, txn.WithTx(t.Context(), f.db, outer, func(ctx context.Context, tx *txn.Tx) error {
		// Also before anything was sent, and inside a savepoint that is rolled back.
		for range 2 {
			require.NoError(t, txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error {
				require.Equal(t, [3]string{"1s", "5s", "7s"}, show(ctx, tx))
				return nil
			}))
			require.Equal(t, [3]string{"2s", "0", "0"}, show(ctx, tx))
		}
		err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error {
				require.Equal(t, [3]string{"1s", "5s", "7s"}, show(ctx, tx))
				return errBusiness
			})
		})
		require.ErrorIs(t, err, errBusiness)
		require.Equal(t, [3]string{"2s", "0", "0"}, show(ctx, tx))
		return nil
	}))
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.Equal(t, none, show(ctx, tx), "nothing stays on the connection")
		return nil
	}))
}

func TestJoinedTimeoutIsTheNearerDeadline(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Timeout: time.Hour}, func(ctx context.Context, tx *txn.Tx) error {
		outer, _ := ctx.Deadline()
		for timeout, nearer := range map[time.Duration]bool{time.Minute: true, 2 * time.Hour: false} {
			require.NoError(t, txn.WithTx(ctx, tx, txn.Options{Timeout: timeout}, func(ctx context.Context, _ *txn.Tx) error {
				inner, _ := ctx.Deadline()
				require.Equal(t, nearer, inner.Before(outer))
				return nil
			}))
		}
		return nil
	}))
}

func TestRetryAlsoAndOnRetryOfAJoinedCallReachTheOutermost(t *testing.T) {
	f := setup(t, txn.Config{})
	var heard []string
	hear := func(who string) func(context.Context, txn.Retry) {
		return func(context.Context, txn.Retry) { heard = append(heard, who) }
	}
	runs := 0
	err := txn.WithTx(t.Context(), f.db, txn.Options{OnRetry: hear("outer")}, func(ctx context.Context, tx *txn.Tx) error {
		return txn.WithTx(ctx, tx, txn.Options{RetryAlso: []string{"23505"}, OnRetry: hear("inner"), MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
			if runs++; runs == 1 {
				return fail(ctx, tx, "23505")
			}
			return nil
		})
	})
	require.NoError(t, err)
	require.Equal(t, 2, runs)
	require.Equal(t, []string{"outer", "inner"}, heard)
}

// Whoever queues a statement and wants its answer after the call asks for it in one way, be the
// transaction its own or another's.
func TestAnswersAfterAJoinedCall(t *testing.T) {
	f := setup(t, txn.Config{})
	d, p := throughProxy(t, f, pgx.QueryExecModeCacheStatement, txn.Config{})
	add := func(ctx context.Context, in txn.Transactor, body string) (*txn.Pending[pgconn.CommandTag], error) {
		return txn.WithTxValue(ctx, in, txn.Options{FlushJoined: true}, func(_ context.Context, tx *txn.Tx) (*txn.Pending[pgconn.CommandTag], error) {
			return tx.Queue(insertNote, body), nil
		})
	}
	one := func(answer *txn.Pending[pgconn.CommandTag], err error) {
		t.Helper()
		require.NoError(t, err)
		tag, err := answer.Value()
		require.NoError(t, err)
		require.EqualValues(t, 1, tag.RowsAffected())
	}
	one(add(t.Context(), d, "cold"))
	p.Reset()
	one(add(t.Context(), d, "alone"))
	require.Equal(t, 1, p.RoundTrips(), "COMMIT had it with it")
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		one(add(ctx, tx, "joined"))
		return nil
	}))
	require.Equal(t, []string{"cold", "alone", "joined"}, f.notes(t))
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := add(ctx, tx, "joined")
		require.ErrorAs(t, err, new(*txn.QueuedError))
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
}
