package txn_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

func TestNilMeansCommitted(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		return write(ctx, tx, "kept")
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

func TestErrorRollsBackAndComesBackUnchanged(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithTx(t.Context(), f.db, txn.Options{Label: "x"}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "undone"))
		return errBusiness
	})
	require.True(t, err == errBusiness, "the function's own error is not wrapped")
	require.Empty(t, f.notes(t))
}

func TestPanicRollsBackAndGoesOn(t *testing.T) {
	f := setup(t, txn.Config{})
	require.PanicsWithValue(t, "boom", func() {
		_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, write(ctx, tx, "undone"))
			panic("boom")
		})
	})
	require.Empty(t, f.notes(t))
	require.Zero(t, f.db.Pool().Stat().AcquiredConns(), "the connection is back in the pool")
}

func TestGoexitRollsBack(t *testing.T) {
	f := setup(t, txn.Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			_ = write(ctx, tx, "undone")
			runtime.Goexit() // as t.FailNow does
			return nil
		})
	}()
	<-done
	require.Empty(t, f.notes(t))
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

func TestNothingSentCostsNoConnection(t *testing.T) {
	f := setup(t, txn.Config{})
	before := f.db.Pool().Stat().AcquireCount()
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(context.Context, *txn.Tx) error { return nil }))
	require.Equal(t, before, f.db.Pool().Stat().AcquireCount())
}

func TestValueIsThatOfTheCommittedRun(t *testing.T) {
	f := setup(t, txn.Config{})
	run := 0
	got, err := txn.WithTxValue(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) ([]int, error) {
		run++
		if run == 1 {
			return []int{run}, fail(ctx, tx, "40001")
		}
		return []int{run}, write(ctx, tx, "kept")
	})
	require.NoError(t, err)
	require.Equal(t, []int{2}, got)

	got, err = txn.WithTxValue(t.Context(), f.db, txn.Options{}, func(context.Context, *txn.Tx) ([]int, error) {
		return []int{9}, errBusiness
	})
	require.ErrorIs(t, err, errBusiness)
	require.Nil(t, got, "no value of a transaction that was rolled back")
}

func TestReadTxReads(t *testing.T) {
	f := setup(t, txn.Config{})
	n, err := txn.WithReadTxValue(t.Context(), f.db, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) (n int64, err error) {
		err = rx.QueryRow(ctx, "select count(*) from accounts").Scan(&n)
		return n, err
	})
	require.NoError(t, err)
	require.EqualValues(t, 4, n)
}

func TestReadTxRefusesWritesOnTheServer(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, sql := range []string{
		"insert into notes (body) values ('x') returning id",
		"select id from accounts where id = 1 for update",
		"select id from accounts where id = 1 for key share",
	} {
		err := txn.WithReadTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
			var id int64
			return rx.QueryRow(ctx, sql).Scan(&id)
		})
		require.Equal(t, "25006", txn.SQLState(err), sql)
	}
}

func TestZeroAndNilHandlesAnswerErrTxDone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, tx := range map[string]*txn.Tx{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			_, err := tx.Exec(ctx, "select 1")
			require.ErrorIs(t, err, txn.ErrTxDone)
			_, err = tx.Query(ctx, "select 1")
			require.ErrorIs(t, err, txn.ErrTxDone)
			require.ErrorIs(t, tx.QueryRow(ctx, "select 1").Scan(), txn.ErrTxDone)
			require.ErrorIs(t, tx.SendBatch(ctx, &pgx.Batch{}).Close(), txn.ErrTxDone)
			_, err = tx.CopyFrom(ctx, pgx.Identifier{"x"}, nil, nil)
			require.ErrorIs(t, err, txn.ErrTxDone)
			require.ErrorIs(t, tx.Savepoint(ctx, func(context.Context, *txn.Tx) error { return nil }), txn.ErrTxDone)
			require.ErrorIs(t, txn.WithTx(ctx, tx, txn.Options{}, func(context.Context, *txn.Tx) error { return nil }), txn.ErrTxDone)
			require.Empty(t, tx.Label())
			require.Zero(t, tx.Attempt())
		})
	}
	for name, rx := range map[string]*txn.ReadTx{"nil read": nil, "zero read": {}} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, rx.QueryRow(ctx, "select 1").Scan(), txn.ErrTxDone)
			require.ErrorIs(t, rx.SendBatch(ctx, &pgx.Batch{}).Close(), txn.ErrTxDone)
		})
	}
	for name, d := range map[string]*txn.DB{"nil db": nil, "zero db": {}} {
		t.Run(name, func(t *testing.T) {
			err := txn.WithTx(ctx, d, txn.Options{}, func(context.Context, *txn.Tx) error { return nil })
			require.ErrorIs(t, err, txn.ErrTxDone)
			require.Nil(t, d.Pool())
			d.Close()
		})
	}
	require.ErrorIs(t, txn.WithTx(ctx, nil, txn.Options{}, func(context.Context, *txn.Tx) error { return nil }), txn.ErrTxDone)
	require.ErrorIs(t, txn.WithReadTx(ctx, nil, txn.Options{}, func(context.Context, *txn.ReadTx) error { return nil }), txn.ErrTxDone)
	require.Error(t, txn.WithTx(ctx, &txn.DB{}, txn.Options{}, nil))
}

func TestNotFoundIsPgxNoRowsToo(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithReadTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
		var id int64
		return rx.QueryRow(ctx, "select id from accounts where id = 99").Scan(&id)
	})
	require.ErrorIs(t, err, txn.ErrNotFound)
	require.ErrorIs(t, err, pgx.ErrNoRows)
}

func TestLabelAndAttempt(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Label: "outer"}, func(ctx context.Context, tx *txn.Tx) error {
		require.Equal(t, "outer", tx.Label())
		require.Equal(t, 1, tx.Attempt())
		return txn.WithReadTx(ctx, tx, txn.Options{Label: "inner"}, func(_ context.Context, rx *txn.ReadTx) error {
			require.Equal(t, "outer/inner", rx.Label())
			return nil
		})
	}))
}

func TestExpect(t *testing.T) {
	f := setup(t, txn.Config{})
	const update = "update accounts set balance = 1, version = version + 1 where id = $1 and version = $2"
	const exists = "select from accounts where id = $1"
	for _, c := range []struct {
		name        string
		id, version int64
		want        error
	}{
		{"right", 1, 1, nil},
		{"stale", 2, 7, txn.ErrStale},
		{"missing", 99, 1, txn.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				tag, err := tx.Exec(ctx, update, c.id, c.version)
				require.NoError(t, err)
				return txn.ExpectVersion(ctx, tx, tag, exists, c.id)
			})
			require.ErrorIs(t, err, c.want)
		})
	}
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tag, err := tx.Exec(ctx, "update accounts set balance = 0")
		require.NoError(t, err)
		return txn.ExpectRows(tag, 1)
	})
	affected, ok := errors.AsType[*txn.AffectedError](err)
	require.True(t, ok)
	require.EqualValues(t, 4, affected.Got)
	require.False(t, affected.None)
}
