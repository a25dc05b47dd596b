package txn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

func TestSavepointContainsAnError(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "before"))
		for name, inner := range map[string]func(context.Context, *txn.Tx) error{
			"business": func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, "undone"))
				return errBusiness
			},
			"server": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "before") },
			"joined": func(ctx context.Context, tx *txn.Tx) error {
				_ = txn.WithTx(ctx, tx, txn.Options{}, func(context.Context, *txn.Tx) error { return errBusiness })
				return nil // doomed all the same, and contained all the same
			},
			"swallowed": func(ctx context.Context, tx *txn.Tx) error {
				_ = write(ctx, tx, "before")
				return nil
			},
			"nested": func(ctx context.Context, tx *txn.Tx) error {
				return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, write(ctx, tx, "undone"))
					return tx.Savepoint(ctx, func(context.Context, *txn.Tx) error { return errBusiness })
				})
			},
		} {
			require.Error(t, tx.Savepoint(ctx, inner), name)
		}
		return write(ctx, tx, "after")
	}))
	require.Equal(t, []string{"before", "after"}, f.notes(t))
}

func TestSavepointKeepsWhatSucceeded(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		n, err := txn.SavepointValue(ctx, tx, func(ctx context.Context, tx *txn.Tx) (int, error) {
			return 7, write(ctx, tx, "inner")
		})
		require.Equal(t, 7, n)
		return err
	}))
	require.Equal(t, []string{"inner"}, f.notes(t))
}

func TestSavepointPanicRecoveredByTheOuterFunction(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.Panics(t, func() {
			_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, "undone"))
				panic("boom")
			})
		})
		return write(ctx, tx, "after")
	}))
	require.Equal(t, []string{"after"}, f.notes(t))
}

func TestOuterHandleIsSuspendedInASavepoint(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, outer *txn.Tx) error {
		var left *txn.Tx
		require.NoError(t, outer.Savepoint(ctx, func(ctx context.Context, inner *txn.Tx) error {
			left = inner
			require.ErrorIs(t, write(ctx, outer, "x"), txn.ErrSuspended)
			require.ErrorIs(t, outer.Savepoint(ctx, func(context.Context, *txn.Tx) error { return nil }), txn.ErrSuspended)
			return write(ctx, inner, "inner")
		}))
		require.ErrorIs(t, write(ctx, left, "x"), txn.ErrTxDone)
		return write(ctx, outer, "outer")
	}))
	require.Equal(t, []string{"inner", "outer"}, f.notes(t))
}

// A savepoint rolled back to, but not released, keeps memory of the server: five thousand
// of them held some 50 MB.
func TestRolledBackSavepointsAreReleased(t *testing.T) {
	f := setup(t, txn.Config{})
	memory := func(ctx context.Context, tx *txn.Tx) int64 {
		return ask[int64](t, ctx, tx, "select sum(total_bytes)::bigint from pg_backend_memory_contexts")
	}
	_, err := f.Admin(t).Exec(t.Context(), "grant pg_read_all_stats to interlock_app")
	require.NoError(t, err)
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		before := memory(ctx, tx)
		for range 500 {
			require.ErrorIs(t, tx.Savepoint(ctx, func(context.Context, *txn.Tx) error { return errBusiness }), errBusiness)
		}
		require.Less(t, memory(ctx, tx)-before, int64(1<<20))
		return nil
	}))
}

func TestSavepointSurvivesACancelledContext(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		inner, cancel := context.WithCancel(ctx)
		err := tx.Savepoint(inner, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, write(ctx, tx, "undone"))
			cancel()
			return write(ctx, tx, "never sent")
		})
		require.ErrorIs(t, err, context.Canceled)
		return write(ctx, tx, "after")
	}))
	require.Equal(t, []string{"after"}, f.notes(t))
}
