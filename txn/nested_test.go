package txn_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
)

// Rule: the pool is refused inside a transaction on it.

func nothing(context.Context, *txn.Tx) error { return nil }

func plainConfig(t *testing.T, url string) *pgxpool.Config {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	return cfg
}

func TestPoolIsRefusedInsideATransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	other := open(t, f.AppURL(), txn.Config{})
	twin := txn.New(f.db.Pool(), txn.Config{})
	var kept context.Context
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		kept = ctx
		require.ErrorIs(t, txn.WithTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB)
		require.ErrorIs(t, txn.WithTx(ctx, twin, txn.Options{}, nothing), txn.ErrNestedDB, "the same pool")
		err := txn.WithReadTx(ctx, f.db, txn.Options{}, func(context.Context, *txn.ReadTx) error { return nil })
		require.ErrorIs(t, err, txn.ErrNestedDB)
		_, err = sqlcbind.Autocommit(f.db).Exec(ctx, "select 1")
		require.ErrorIs(t, err, txn.ErrNestedDB)
		require.ErrorIs(t, sqlcbind.AutocommitRead(f.db).QueryRow(ctx, "select 1").Scan(new(int)), txn.ErrNestedDB)

		// Another pool is another matter, and its mark stands beside ours.
		require.NoError(t, txn.WithTx(ctx, other, txn.Options{}, func(ctx context.Context, _ *txn.Tx) error {
			require.ErrorIs(t, txn.WithTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB)
			require.ErrorIs(t, txn.WithTx(ctx, other, txn.Options{}, nothing), txn.ErrNestedDB)
			return nil
		}))
		return txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, _ *txn.Tx) error {
			require.ErrorIs(t, txn.WithTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB)
			return nil
		})
	}))
	require.NoError(t, txn.WithTx(context.WithoutCancel(kept), twin, txn.Options{}, nothing), "the mark counts only while its transaction is open")
}

func TestDetachedWorkCommitsByItself(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "undone"))
		require.NoError(t, txn.WithTx(txn.Detach(ctx), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.ErrorIs(t, txn.WithTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB)
			return write(ctx, tx, "audit")
		}))
		return errBusiness
	})
	require.ErrorIs(t, err, errBusiness)
	require.Equal(t, []string{"audit"}, f.notes(t))
}

// MaxConns transactions that each want a second connection, past the mark: a typed error
// within the acquire timeout, never a hang.
func TestPoolSelfDeadlockEndsWithAcquireTimeout(t *testing.T) {
	f := setup(t, txn.Config{})
	cfg := plainConfig(t, f.AppURL())
	cfg.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	d := txn.New(pool, txn.Config{AcquireTimeout: 100 * time.Millisecond})

	var held sync.WaitGroup
	held.Add(4)
	results := make(chan error, 4)
	for range 4 {
		go func() {
			results <- txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "select 1")
				held.Done()
				if err != nil {
					return err
				}
				held.Wait()
				return txn.WithTx(txn.Detach(ctx), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					_, err := tx.Exec(ctx, "select 1")
					return err
				})
			})
		}()
	}
	timeouts := 0
	for range 4 {
		if err := <-results; err != nil {
			require.ErrorIs(t, err, txn.ErrAcquireTimeout)
			require.False(t, txn.IsRetryable(err))
			timeouts++
		}
	}
	require.NotZero(t, timeouts)
	released(t, d)
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, update), "the pool is as good as before")
}
