package txn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: a queued statement is executed, in its place, or the transaction is not committed.

// single is a DB on a pool of one connection, so that what a transaction leaves behind on it
// meets the next one.
func (f *fixture) single(t *testing.T, configure ...func(*pgxpool.Config)) *txn.DB {
	t.Helper()
	one := func(cfg *pgxpool.Config) { cfg.MaxConns = 1 }
	return txn.New(f.Pool(t, append(configure, one, txn.ConfigurePool)...), txn.Config{})
}

// pid is the process of the pool's only connection.
func pid(t *testing.T, d *txn.DB) (pid int) {
	t.Helper()
	require.NoError(t, d.Pool().QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid))
	return pid
}

const insertNote = "insert into notes (body) values ($1)"

// An argument that cannot be encoded is the caller's own mistake. The server hears nothing of
// it, and what was queued before it still goes, wherever it was queued.
func TestQueuedStatementsOutliveAMistakeInAnother(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	mistake := func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		for _, wrong := range []any{struct{}{}, uint64(1 << 63)} {
			_, err := tx.Exec(ctx, "update accounts set balance = $1", wrong)
			require.Error(t, err)
			require.Empty(t, txn.SQLState(err))
		}
	}
	for name, fn := range map[string]func(*testing.T, context.Context, *txn.Tx) error{
		"first": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
			tx.Queue(insertNote, "first")
			mistake(t, ctx, tx)
			return nil
		},
		"later": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, 1, ask[int](t, ctx, tx, "select 1"))
			tx.Queue(insertNote, "later")
			mistake(t, ctx, tx)
			return nil
		},
		"cold": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
			tx.Queue("/* cold */ "+insertNote, "cold")
			mistake(t, ctx, tx)
			return nil
		},
		"in a savepoint": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
			tx.Queue(insertNote, "in a savepoint")
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				tx.Queue(insertNote, "undone")
				mistake(t, ctx, tx)
				return errBusiness
			}), errBusiness)
			return nil
		},
		"with a limit": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, txn.Options{LockTimeout: 1234}, func(ctx context.Context, tx *txn.Tx) error {
				mistake(t, ctx, tx)
				require.Equal(t, "1ms", ask[string](t, ctx, tx, "show lock_timeout"))
				return write(ctx, tx, "with a limit")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := pid(t, d)
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				return fn(t, ctx, tx)
			}))
			require.Contains(t, f.notes(t), name)
			require.NotContains(t, f.notes(t), "undone")
			require.Equal(t, before, pid(t, d))
		})
	}
}

// A queued statement with such a mistake dooms the transaction: COMMIT would forget it.
func TestQueuedMistake(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	for name, fn := range map[string]func(context.Context, *txn.Tx) error{
		"brought by COMMIT": func(context.Context, *txn.Tx) error { return nil },
		"brought by a statement": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, insertNote, "behind")
			require.ErrorContains(t, err, "update accounts")
			require.ErrorIs(t, write(ctx, tx, "behind"), txn.ErrRollbackOnly)
			return nil
		},
		"brought by Flush": func(ctx context.Context, tx *txn.Tx) error {
			require.Error(t, tx.Flush(ctx))
			return nil
		},
	} {
		for when, before := range map[string]func(context.Context, *txn.Tx) error{
			"first": nothing,
			"later": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "before") },
		} {
			t.Run(name+"/"+when, func(t *testing.T) {
				process := pid(t, d)
				var good, bad, behind *txn.Pending[pgconn.CommandTag]
				err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, before(ctx, tx))
					good = tx.Queue(insertNote, "good")
					bad = tx.Queue("update accounts set balance = $1", struct{}{})
					behind = tx.Queue(insertNote, "behind")
					return fn(ctx, tx)
				})
				queued, ok := errors.AsType[*txn.QueuedError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, "update accounts set balance = $1", queued.Query)
				for _, p := range []*txn.Pending[pgconn.CommandTag]{good, behind} {
					_, err := p.Value()
					require.ErrorIs(t, err, txn.ErrRollbackOnly)
				}
				_, err = bad.Value()
				require.True(t, err == error(queued), "%v", err)
				require.Equal(t, process, pid(t, d))
			})
		}
	}
	require.Empty(t, f.notes(t))
}
