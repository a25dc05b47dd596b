package txn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// balanceOf is a query as generated code has it.
func balanceOf(id int64) func(txn.Querier) (int64, error) {
	return func(q txn.Querier) (balance int64, err error) {
		err = q.QueryRow(context.Background(), "select balance from accounts where id = $1", id).Scan(&balance)
		return balance, err
	}
}

func allIDs(q txn.Querier) ([]int64, error) {
	rows, err := q.Query(context.Background(), "select id from accounts order by id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func TestQueueValueAnswersOfAnyType(t *testing.T) {
	f := setup(t, txn.Config{})
	var one, none *txn.Pending[int64]
	var all *txn.Pending[[]int64]
	require.NoError(t, txn.WithReadTx(t.Context(), f.db, txn.Options{}, func(_ context.Context, rx *txn.ReadTx) error {
		one, none, all = txn.QueueValue(rx, balanceOf(1)), txn.QueueValue(rx, balanceOf(99)), txn.QueueValue(rx, allIDs)
		_, err := one.Value()
		require.ErrorIs(t, err, txn.ErrPending)
		return nil
	}))
	balance, err := one.Value()
	require.NoError(t, err)
	require.EqualValues(t, 1000, balance)
	_, err = none.Value()
	require.ErrorIs(t, err, txn.ErrNotFound, "that one is missing concerns nobody else")
	ids, err := all.Value()
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3, 4}, ids)
}

// An error in reading an answer is that answer's alone.
func TestQueueValueScanError(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		wrong := txn.QueueValue(tx, func(q txn.Querier) (n int64, err error) {
			err = q.QueryRow(ctx, "select 'text' from generate_series(1, 3)").Scan(&n)
			return n, err
		})
		ids := txn.QueueValue(tx, allIDs)
		require.NoError(t, write(ctx, tx, "kept"))
		_, err := wrong.Value()
		require.Error(t, err)
		got, err := ids.Value()
		require.NoError(t, err)
		require.Len(t, got, 4)
		return nil
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

// One of the server's fails the flush, whatever the function makes of it.
func TestQueueValueServerError(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, returns := range map[string]func(error) error{
		"returned": func(err error) error { return err },
		"replaced": func(error) error { return errBusiness },
	} {
		var broken *txn.Pending[int64]
		runs := 0
		err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			tx.Queue("insert into notes (body) values ($1)", name)
			broken = txn.QueueValue(tx, func(q txn.Querier) (n int64, err error) {
				err = q.QueryRow(ctx, "select 1 / (balance - 1000) from accounts where id = $1", 1).Scan(&n)
				if txn.SQLState(err) == "" {
					return n, err // not sent yet
				}
				return n, returns(err)
			})
			return nil
		})
		require.Equal(t, "22012", txn.SQLState(err), name)
		queued, ok := errors.AsType[*txn.QueuedError](err)
		require.True(t, ok, name)
		require.Contains(t, queued.Query, "select 1 /")
		_, err = broken.Value()
		require.Equal(t, "22012", txn.SQLState(err), name)
		require.Equal(t, 1, runs)
	}
	require.Empty(t, f.notes(t))
}

// A statement can fail in the server behind a row that could not be scanned. It is this
// statement's failure then, and COMMIT was not executed, whatever its answer looks like.
func TestQueueValueServerErrorBehindAScanError(t *testing.T) {
	f := setup(t, txn.Config{})
	const sql = "select case when n < 2000 then 'text' else (1 / (n - 2000))::text end from generate_series(1, 3000) n"
	one := func(q txn.Querier) (n int64, err error) {
		err = q.QueryRow(context.Background(), sql).Scan(&n)
		return n, err
	}
	many := func(q txn.Querier) (int64, error) {
		rows, err := q.Query(context.Background(), sql)
		if err != nil {
			return 0, err
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		return int64(len(all)), err
	}
	simple := open(t, f.AppURL()+"&default_query_exec_mode=simple_protocol", txn.Config{})
	for name, fn := range map[string]func(txn.Querier) (int64, error){"one": one, "many": many} {
		for where, then := range map[string]func(context.Context, *txn.Tx) error{
			"COMMIT":             func(context.Context, *txn.Tx) error { return nil },
			"a queued statement": func(_ context.Context, tx *txn.Tx) error { txn.QueueValue(tx, allIDs); return nil },
			"a statement":        func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "behind") },
			"nothing":            func(ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) },
		} {
			var broken *txn.Pending[int64]
			run := func(d *txn.DB) error {
				return txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					tx.Queue("insert into notes (body) values ('before')")
					broken = txn.QueueValue(tx, fn)
					return then(ctx, tx)
				})
			}
			err := run(f.db)
			queued, ok := errors.AsType[*txn.QueuedError](err)
			require.True(t, ok, "%s, before %s: %v", name, where, err)
			require.Contains(t, queued.Query, "select case", "%s, before %s", name, where)
			require.Equal(t, "22012", txn.SQLState(err), "%s, before %s", name, where)
			_, err = broken.Value()
			require.Equal(t, queued, err, "%s, before %s", name, where)

			// There pgx does not tell which statement it was.
			err = run(simple)
			require.Equal(t, "22012", txn.SQLState(err), "%s, before %s", name, where)
			_, unknown := errors.AsType[*txn.CommitUnknownError](err)
			require.False(t, unknown, "%s, before %s: %v", name, where, err)
		}
	}
	require.Empty(t, f.notes(t))
}

// A panic over an answer, of a type's Scan for instance, may come when COMMIT has been executed:
// the call must say so, and the hooks must run.
func TestQueueValuePanic(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, then := range map[string]func(context.Context, *txn.Tx) error{
		"COMMIT":      func(context.Context, *txn.Tx) error { return nil },
		"a statement": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "behind") },
	} {
		var broken, fine *txn.Pending[[]int64]
		committed := 0
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(context.Context) error { committed++; return nil })
			tx.Queue("insert into notes (body) values ($1)", name)
			broken = txn.QueueValue(tx, func(q txn.Querier) ([]int64, error) {
				rows, err := q.Query(ctx, "select id from accounts")
				if err != nil {
					return nil, err
				}
				require.True(t, rows.Next())
				panic("cannot read this")
			})
			fine = txn.QueueValue(tx, allIDs)
			return then(ctx, tx)
		}), name)
		require.Equal(t, 1, committed, name)
		_, err := broken.Value()
		require.ErrorContains(t, err, "panic: cannot read this", name)
		ids, err := fine.Value()
		require.NoError(t, err, name)
		require.Len(t, ids, 4, name)
	}
	require.ElementsMatch(t, []string{"COMMIT", "a statement", "behind"}, f.notes(t))
	require.EqualValues(t, 1, f.db.Pool().Stat().TotalConns(), "the connection is as good as before")
}

func TestQueueValueRefusesWhatIsNotOneStatement(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, fn := range map[string]func(txn.Querier) (int64, error){
		"none": func(txn.Querier) (int64, error) { return 1, nil },
		"two": func(q txn.Querier) (n int64, err error) {
			_, _ = q.Exec(t.Context(), "delete from notes")
			_, err = q.Exec(t.Context(), "delete from notes")
			return 0, err
		},
		"swallowed": func(q txn.Querier) (int64, error) {
			_, _ = q.Exec(t.Context(), "delete from notes")
			return 1, nil
		},
		"transaction control": func(q txn.Querier) (int64, error) {
			_, err := q.Exec(t.Context(), "commit")
			return 1, err
		},
	} {
		var p *txn.Pending[int64]
		err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
			p = txn.QueueValue(tx, fn)
			return nil
		})
		require.ErrorIs(t, err, txn.ErrRollbackOnly, name)
		_, err = p.Value()
		_, ok := errors.AsType[*txn.QueuedError](err)
		require.True(t, ok, "%s: %v", name, err)
	}
	var none *txn.Tx
	_, err := txn.QueueValue(none, allIDs).Value()
	require.ErrorIs(t, err, txn.ErrTxDone)
	_, err = txn.QueueValue(nil, allIDs).Value()
	require.ErrorIs(t, err, txn.ErrTxDone)
}
