package txn_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// Rule: transactions that begin with a shared snapshot see one state of the database, whatever
// is committed meanwhile, on connections of their own.

const firstBalance = "select balance from accounts where id = 1"

// shareable are the options that a snapshot can be shared with, by name.
var shareable = map[string]txn.Options{
	"default":      {},
	"serializable": {Isolation: txn.Serializable},
	"safe":         {Isolation: txn.Serializable, Deferrable: true},
}

func TestSharedSnapshot(t *testing.T) {
	for name, opts := range shareable {
		t.Run(name, func(t *testing.T) {
			f := setup(t, txn.Config{})
			const readers = 3
			together := txntest.NewBarrier(readers)
			seen, err := txn.WithSharedSnapshotValue(t.Context(), f.db, opts, func(ctx context.Context, shared *txn.SharedSnapshot) ([]int64, error) {
				_, err := f.db.Pool().Exec(ctx, withdraw)
				require.NoError(t, err)
				seen, errs := make([]int64, readers), make([]error, readers)
				var all sync.WaitGroup
				for i := range readers {
					all.Go(func() {
						errs[i] = txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
							if err := rx.QueryRow(ctx, firstBalance).Scan(&seen[i]); err != nil {
								return err
							}
							return together.Wait(ctx) // all have begun before one ends
						})
					})
				}
				all.Wait()
				return seen, errors.Join(errs...)
			})
			require.NoError(t, err)
			require.Equal(t, []int64{1000, 1000, 1000}, seen)
			require.EqualValues(t, 1, f.done(t), "which they did not see")
		})
	}
}

// A ReadTransactor that begins anew sees the change; the snapshot does not, in one and the same
// function.
func TestSharedSnapshotBesideTheDB(t *testing.T) {
	f := setup(t, txn.Config{})
	read := func(ctx context.Context, from txn.ReadTransactor) int64 {
		balance, err := txn.WithReadTxValue(ctx, from, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) (balance int64, err error) {
			err = rx.QueryRow(ctx, firstBalance).Scan(&balance)
			return balance, err
		})
		require.NoError(t, err)
		return balance
	}
	require.NoError(t, txn.WithSharedSnapshot(t.Context(), f.db, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		for i := range int64(3) {
			require.EqualValues(t, 1000, read(ctx, shared))
			require.EqualValues(t, 1000-i, read(t.Context(), f.db))
			_, err := f.db.Pool().Exec(ctx, withdraw)
			require.NoError(t, err)
		}
		return nil
	}))
}

// The snapshot costs its holder a statement, and those that read from it nothing.
func TestSharedSnapshotRoundTrips(t *testing.T) {
	f := setup(t, txn.Config{})
	p := txntest.NewProxy(t, f.AppURL())
	cfg := poolConfig(t, p.URL())
	cfg.MaxConns = 2
	d := openConfig(t, cfg)
	fill(t, d.Pool(), 2)
	report := func() error {
		return txn.WithSharedSnapshot(t.Context(), d, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
			return txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
				require.NoError(t, rx.QueryRow(ctx, firstBalance).Scan(new(int64)))
				return rx.QueryRow(ctx, firstBalance).Scan(new(int64))
			})
		})
	}
	for range 4 { // each of the connections has had each part then
		require.NoError(t, report())
	}
	p.Reset()
	require.NoError(t, report())
	require.Equal(t, 1+3+1, p.RoundTrips(), "BEGIN with the snapshot; two statements and COMMIT; COMMIT")
}

func TestSharedSnapshotMisuse(t *testing.T) {
	f := setup(t, txn.Config{})
	nothing := func(context.Context, *txn.ReadTx) error { return nil }
	for _, weak := range []txn.Isolation{txn.ReadUncommitted, txn.ReadCommitted} {
		err := txn.WithSharedSnapshot(t.Context(), f.db, txn.Options{Isolation: weak}, func(context.Context, *txn.SharedSnapshot) error { return nil })
		require.ErrorAs(t, err, new(*txn.OptionsError))
	}
	require.Error(t, txn.WithSharedSnapshot(t.Context(), f.db, txn.Options{}, nil))
	require.ErrorIs(t, txn.WithSharedSnapshot(t.Context(), nil, txn.Options{}, func(context.Context, *txn.SharedSnapshot) error { return nil }), txn.ErrTxDone)
	require.ErrorIs(t, txn.WithReadTx(t.Context(), new(txn.SharedSnapshot), txn.Options{}, nothing), txn.ErrTxDone)
	var kept *txn.SharedSnapshot
	require.NoError(t, txn.WithSharedSnapshot(t.Context(), f.db, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		kept = shared
		require.ErrorIs(t, txn.WithReadTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB, "the pool itself is still refused")
		require.NoError(t, txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			require.ErrorIs(t, txn.WithReadTx(ctx, shared, txn.Options{}, nothing), txn.ErrNestedDB, "a third connection for one goroutine")
			require.ErrorIs(t, txn.WithReadTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB)
			return txn.WithReadTx(ctx, rx, txn.Options{}, nothing)
		}))
		for _, opts := range []txn.Options{
			{Isolation: txn.Serializable}, {Isolation: txn.Serializable, Deferrable: true}, {Locks: []txn.Key{txn.NewKey("report")}},
		} {
			require.ErrorIs(t, txn.WithReadTx(ctx, shared, opts, nothing), txn.ErrOptionsConflict)
		}
		return nil
	}))
	require.ErrorIs(t, txn.WithReadTx(t.Context(), kept, txn.Options{}, nothing), txn.ErrTxDone)
}

// A reader that loses its connection reads the same again.
func TestSharedSnapshotOutlivesAReader(t *testing.T) {
	f := setup(t, txn.Config{})
	p := txntest.NewProxy(t, f.AppURL())
	d := openConfig(t, poolConfig(t, p.URL()), txn.Config{BaseDelay: 1})
	runs, holders := 0, 0
	require.NoError(t, txn.WithSharedSnapshot(t.Context(), d, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		holders++
		_, err := f.db.Pool().Exec(ctx, withdraw)
		require.NoError(t, err)
		return txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			if runs++; runs == 1 {
				require.NoError(t, rx.QueryRow(ctx, "select 1").Scan(new(int)))
				p.Arm(faultproxy.Fault{SQL: firstBalance, Do: faultproxy.Cut{}})
			}
			var balance int64
			if err := rx.QueryRow(ctx, firstBalance).Scan(&balance); err != nil {
				return err
			}
			require.EqualValues(t, 1000, balance)
			return nil
		})
	}))
	require.Equal(t, 2, runs)
	require.Equal(t, 1, holders)
}

// Without its holder nobody can begin with the snapshot any more, and nothing is read from
// another state instead.
func TestSharedSnapshotIsGone(t *testing.T) {
	f := setup(t, txn.Config{})
	d := openConfig(t, poolConfig(t, f.AppURL()), txn.Config{BaseDelay: 1})
	holders := 0
	err := txn.WithSharedSnapshot(t.Context(), d, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		holders++
		admin := f.Admin(t)
		_, err := admin.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_export_snapshot%' and pid <> pg_backend_pid()")
		require.NoError(t, err)
		await(t, admin, "select not exists (select from pg_stat_activity where query like 'select pg_export_snapshot%' and pid <> pg_backend_pid())")
		reached := false
		err = txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			err := rx.QueryRow(ctx, firstBalance).Scan(new(int64))
			reached = err == nil
			return err
		})
		require.False(t, reached)
		require.ErrorContains(t, err, "the shared snapshot is gone")
		require.NotEmpty(t, txn.SQLState(err))
		return err
	})
	require.ErrorContains(t, err, "the shared snapshot is gone")
	require.Equal(t, 1, holders)
}

// More holders than the pool has room for readers: an error in time, and no hang.
func TestSharedSnapshotNeedsConnections(t *testing.T) {
	f := setup(t, txn.Config{})
	cfg := poolConfig(t, f.AppURL())
	cfg.MaxConns = 1
	d := openConfig(t, cfg, txn.Config{AcquireTimeout: 50 * time.Millisecond})
	fill(t, d.Pool(), 1)
	held := false
	err := txn.WithSharedSnapshot(t.Context(), d, txn.Options{}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		held = true
		return txn.WithReadTx(ctx, shared, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			return rx.QueryRow(ctx, firstBalance).Scan(new(int64))
		})
	})
	require.ErrorIs(t, err, txn.ErrAcquireTimeout)
	require.True(t, held)
}
