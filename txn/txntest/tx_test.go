package txntest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestTxIsUndoneAtTheEnd(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, schema)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})
	count := func(r txn.Reads) (n int) {
		require.NoError(t, r.QueryRow(t.Context(), "select n from counters where id = 1").Scan(&n))
		return n
	}
	increment := func(t *testing.T, with txn.Transactor, fail error) error {
		return txn.WithTx(t.Context(), with, txn.Options{Label: "increment"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(context.Context) error { return fail })
			if _, err := tx.Exec(ctx, "update counters set n = n + 1 where id = 1"); err != nil {
				return err
			}
			return fail
		})
	}
	broken := errors.New("broken")
	t.Run("test", func(t *testing.T) {
		tx := txntest.Tx(t, d, txn.Options{})
		require.NoError(t, increment(t, tx, nil))
		require.Equal(t, 1, count(tx))

		require.ErrorIs(t, increment(t, tx, broken), broken)
		require.Equal(t, 1, count(tx), "undone alone")
		err := txn.WithTx(t.Context(), tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select from nothing")
			return err
		})
		require.Equal(t, "42P01", txn.SQLState(err))
		require.NoError(t, increment(t, tx, nil), "an error of the server is contained, too")
		require.Equal(t, 2, count(tx))

		err = txn.WithTx(t.Context(), tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.ErrorIs(t, increment(t, tx, broken), broken)
			return nil // swallowed: within one call the usual rules hold
		})
		require.ErrorIs(t, err, txn.ErrRollbackOnly)
		require.Equal(t, 2, count(tx))

		require.NoError(t, tx.AfterCommit(t.Context()), "those of the failed calls are gone")
		require.NoError(t, tx.AfterCommit(t.Context()), "each is called once")
	})
	require.NoError(t, txn.WithReadTx(t.Context(), d, txn.Options{}, func(_ context.Context, rx *txn.ReadTx) error {
		require.Zero(t, count(rx), "nothing was committed")
		return nil
	}))
}

func TestTxCapturesHooks(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, schema)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})
	tx := txntest.Tx(t, d, txn.Options{Label: "test"})
	called := 0
	for range 2 {
		require.NoError(t, txn.WithTx(t.Context(), tx, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(context.Context) error { called++; return errors.New("mail server is down") })
			return nil
		}))
	}
	require.Zero(t, called)
	err := tx.AfterCommit(t.Context())
	require.Equal(t, 2, called)
	_, ok := errors.AsType[*txn.HookError](err)
	require.True(t, ok)

	require.NoError(t, txn.WithTx(t.Context(), tx, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
		tx.AfterCommit(func(context.Context) error { called++; return nil })
		return nil
	}))
	require.NoError(t, tx.AfterCommit(t.Context()))
	require.Equal(t, 3, called)
}
