package txn_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: for code that wants a pgx.Tx there is one, and what it cannot do is not done silently.

// library is code that knows of pgx alone: it works in a transaction of its own within ours.
func library(ctx context.Context, outer pgx.Tx, body string, fails error) (err error) {
	tx, err := outer.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if rerr := tx.Rollback(ctx); rerr != nil && !errors.Is(rerr, pgx.ErrTxClosed) {
			err = errors.Join(err, rerr)
		}
	}()
	if _, err := tx.Exec(ctx, insertNote, body); err != nil {
		return err
	}
	if fails != nil {
		return fails
	}
	return tx.Commit(ctx)
}

func TestPgxBegin(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for _, place := range []string{"first", "later", "behind queued"} {
			p := places[place]
			t.Run(mode.name+"/"+place, func(t *testing.T) {
				f.empty(t)
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, p.before(ctx, tx))
					outer := tx.Pgx()
					require.NoError(t, library(ctx, outer, "a", nil))
					require.ErrorIs(t, library(ctx, outer, "undone", errBusiness), errBusiness)
					require.Equal(t, "23505", txn.SQLState(library(ctx, outer, "a", nil)), "contained")
					require.NoError(t, pgx.BeginFunc(ctx, outer, func(one pgx.Tx) error {
						require.ErrorIs(t, write(ctx, tx, "x"), txn.ErrSuspended)
						require.ErrorIs(t, library(ctx, outer, "x", nil), txn.ErrSuspended)
						require.NoError(t, library(ctx, one, "b", nil))
						return pgx.BeginFunc(ctx, one, func(two pgx.Tx) error {
							require.ErrorIs(t, one.Commit(ctx), txn.ErrSuspended)
							require.ErrorIs(t, one.Rollback(ctx), txn.ErrSuspended)
							require.ErrorIs(t, library(ctx, two, "undone", errBusiness), errBusiness)
							return library(ctx, two, "c", nil)
						})
					}))
					return write(ctx, tx, "d")
				}))
				require.Subset(t, f.notes(t), append([]string{"a", "b", "c", "d"}, p.notes...))
				require.Len(t, f.notes(t), 4+len(p.notes))
				require.Equal(t, process, pid(t, d))
			})
		}
	}
}

func TestPgxSavepointEndsOnce(t *testing.T) {
	f := setup(t, txn.Config{})
	var left pgx.Tx
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		for end, first := range map[string]func(pgx.Tx) error{
			"commit":   func(tx pgx.Tx) error { return tx.Commit(ctx) },
			"rollback": func(tx pgx.Tx) error { return tx.Rollback(ctx) },
		} {
			sp, err := tx.Pgx().Begin(ctx)
			require.NoError(t, err)
			_, err = sp.Exec(ctx, insertNote, end)
			require.NoError(t, err)
			require.NoError(t, first(sp))
			require.ErrorIs(t, sp.Commit(ctx), pgx.ErrTxClosed)
			require.ErrorIs(t, sp.Rollback(ctx), pgx.ErrTxClosed)
			_, err = sp.Exec(ctx, insertNote, "x")
			require.ErrorIs(t, err, txn.ErrTxDone)
			_, err = sp.Begin(ctx)
			require.ErrorIs(t, err, txn.ErrTxDone)
			require.Nil(t, sp.Conn())
			left = sp
		}
		return nil
	}))
	require.Equal(t, []string{"commit"}, f.notes(t))
	require.ErrorIs(t, left.Commit(t.Context()), pgx.ErrTxClosed)
	require.ErrorIs(t, left.Rollback(t.Context()), pgx.ErrTxClosed)
}

// A savepoint that its owner neither commits nor rolls back does not become a part of what is
// committed.
func TestPgxSavepointLeftOpen(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	process := pid(t, d)
	leave := func(t *testing.T, ctx context.Context, tx *txn.Tx) pgx.Tx {
		sp, err := tx.Pgx().Begin(ctx)
		require.NoError(t, err)
		_, err = sp.Exec(ctx, insertNote, "left open")
		require.NoError(t, err)
		_, err = sp.Begin(ctx)
		require.NoError(t, err)
		return sp
	}
	done := func(t *testing.T, sp pgx.Tx) {
		require.ErrorIs(t, sp.Rollback(t.Context()), pgx.ErrTxClosed)
		_, err := sp.Exec(t.Context(), insertNote, "x")
		require.ErrorIs(t, err, txn.ErrTxDone)
	}
	var sp pgx.Tx
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		sp = leave(t, ctx, tx)
		return nil
	})
	require.ErrorIs(t, err, txn.ErrSuspended)
	done(t, sp)

	err = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		err := txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			sp = leave(t, ctx, tx)
			return nil
		})
		require.ErrorIs(t, err, txn.ErrSuspended)
		done(t, sp)
		require.ErrorIs(t, write(ctx, tx, "x"), txn.ErrRollbackOnly, "a joined function that fails dooms all")
		return nil
	})
	require.ErrorIs(t, err, txn.ErrSuspended)

	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			sp = leave(t, ctx, tx)
			return nil
		}), txn.ErrSuspended)
		return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			done(t, sp) // also where another is open at the same depth
			return write(ctx, tx, "contained")
		})
	}))
	require.Equal(t, []string{"contained"}, f.notes(t))
	require.Equal(t, process, pid(t, d))
}

func TestPgxOuterEndIsManaged(t *testing.T) {
	f := setup(t, txn.Config{})
	var left pgx.Tx
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		p := tx.Pgx()
		require.ErrorIs(t, p.Commit(ctx), txn.ErrManaged)
		require.ErrorIs(t, p.Rollback(ctx), txn.ErrManaged)
		require.NoError(t, write(ctx, tx, "kept"))
		require.ErrorIs(t, p.Commit(ctx), txn.ErrManaged)
		for _, sql := range []string{"commit", "rollback", "savepoint x"} {
			_, err := p.Exec(ctx, sql)
			require.ErrorIs(t, err, txn.ErrManaged)
			_, err = p.Prepare(ctx, "end", sql)
			require.ErrorIs(t, err, txn.ErrManaged)
		}
		left = p
		return nil
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
	ctx := t.Context()
	_, err := left.Exec(ctx, insertNote, "x")
	require.ErrorIs(t, err, txn.ErrTxDone)
	_, err = left.Prepare(ctx, "x", "select 1")
	require.ErrorIs(t, err, txn.ErrTxDone)
	_, err = left.Begin(ctx)
	require.ErrorIs(t, err, txn.ErrTxDone)
	require.ErrorIs(t, left.SendBatch(ctx, &pgx.Batch{}).Close(), txn.ErrTxDone)
	require.Nil(t, left.Conn())
	objects := left.LargeObjects()
	_, err = objects.Create(ctx, 0)
	require.Error(t, err)
	require.Nil(t, (*txn.Tx)(nil).Pgx().Conn())
	_, err = (&txn.Tx{}).Pgx().Begin(ctx)
	require.ErrorIs(t, err, txn.ErrTxDone)
}

func TestPgxLargeObjects(t *testing.T) {
	f := setup(t, txn.Config{})
	count := func() (n int) {
		require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select count(*) from pg_largeobject_metadata").Scan(&n))
		return n
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			d := f.single(t, mode.set)
			process := pid(t, d)
			before := count()
			create := func(ctx context.Context, tx pgx.Tx) (uint32, error) {
				objects := tx.LargeObjects()
				oid, err := objects.Create(ctx, 0)
				if err != nil {
					return 0, err
				}
				o, err := objects.Open(ctx, oid, pgx.LargeObjectModeWrite)
				if err != nil {
					return 0, err
				}
				_, err = o.Write([]byte("content"))
				return oid, errors.Join(err, o.Close())
			}
			var left pgx.LargeObjects
			require.ErrorIs(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := create(ctx, tx.Pgx())
				require.NoError(t, err)
				return errBusiness
			}), errBusiness)
			require.Equal(t, before, count(), "rolled back")

			oid, err := txn.WithTxValue(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) (uint32, error) {
				require.ErrorIs(t, pgx.BeginFunc(ctx, tx.Pgx(), func(tx pgx.Tx) error {
					_, err := create(ctx, tx)
					require.NoError(t, err)
					return errBusiness
				}), errBusiness)
				left = tx.Pgx().LargeObjects()
				return create(ctx, tx.Pgx())
			})
			require.NoError(t, err)
			require.Equal(t, before+1, count(), "the savepoint's was undone")

			_, err = left.Create(t.Context(), 0)
			require.ErrorIs(t, err, pgx.ErrTxClosed, "the connection may be another's now")
			require.Equal(t, before+1, count())

			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				objects := tx.Pgx().LargeObjects()
				o, err := objects.Open(ctx, oid, pgx.LargeObjectModeRead)
				require.NoError(t, err)
				content, err := io.ReadAll(o)
				require.NoError(t, err)
				require.Equal(t, "content", string(content))
				return objects.Unlink(ctx, oid)
			}))
			require.Equal(t, before, count())
			require.Equal(t, process, pid(t, d))
		})
	}
}

// What ends the transaction behind our back is found out before anything else is sent, and
// before COMMIT is believed.
func TestPgxConnEndsTheTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, end := range []string{"commit", "rollback", "abort", "commit and chain; commit"} {
		for how, after := range map[string]func(*testing.T, context.Context, *txn.Tx) error{
			"nothing": func(*testing.T, context.Context, *txn.Tx) error { return nil },
			"statement": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				err := write(ctx, tx, "outside")
				require.ErrorIs(t, err, txn.ErrManaged)
				require.ErrorIs(t, write(ctx, tx, "outside"), txn.ErrManaged)
				return nil
			},
			"queued": func(_ *testing.T, _ context.Context, tx *txn.Tx) error {
				tx.Queue(insertNote, "outside")
				return nil
			},
			"savepoint": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "outside") }), txn.ErrManaged)
				return nil
			},
			"joined": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				return txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "outside") })
			},
			"begins another": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				require.Nil(t, must2(tx.Pgx().Begin(ctx)))
				return nil
			},
		} {
			t.Run(end+"/"+how, func(t *testing.T) {
				f.empty(t)
				d := f.single(t)
				process := pid(t, d)
				err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, write(ctx, tx, "before"))
					_, err := tx.Pgx().Conn().Exec(ctx, end)
					require.NoError(t, err)
					return after(t, ctx, tx)
				})
				require.ErrorIs(t, err, txn.ErrManaged)
				_, ok := errors.AsType[*txn.EndedError](err)
				require.True(t, ok, "%v", err)
				require.False(t, txn.IsRetryable(err))
				require.NotContains(t, f.notes(t), "outside")
				require.Equal(t, end[0] == 'c', len(f.notes(t)) == 1, "earlier work may be committed, as the error says")
				require.NotEqual(t, process, pid(t, d), "the connection was destroyed")
			})
		}
	}
}

func must2(tx pgx.Tx, _ error) pgx.Tx { return tx }

// The connection is given for what only it offers, whatever state the handle is in; never one
// on which something would run outside the transaction.
func TestPgxConn(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	process := pid(t, d)
	inside := func(t *testing.T, c *pgx.Conn) {
		require.NotNil(t, c)
		require.Equal(t, uint32(process), c.PgConn().PID())
		require.NotEqual(t, byte('I'), c.PgConn().TxStatus())
	}
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		inside(t, tx.Pgx().Conn())
		require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, inner *txn.Tx) error {
			inside(t, tx.Pgx().Conn()) // suspended
			inside(t, inner.Pgx().Conn())
			return nil
		}))
		rows, err := tx.Query(ctx, "select 1")
		require.NoError(t, err)
		require.NotNil(t, tx.Pgx().Conn())
		rows.Close()
		require.Error(t, fail(ctx, tx, "P0001"))
		inside(t, tx.Pgx().Conn()) // where the server refuses everything
		_, err = tx.Pgx().Conn().Exec(ctx, insertNote, "x")
		require.Equal(t, "25P02", txn.SQLState(err))
		return nil
	})
	require.Equal(t, "P0001", txn.SQLState(err))

	err = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "select missing where $1", true)
		require.Equal(t, "42703", txn.SQLState(err))
		c := tx.Pgx().Conn()
		require.True(t, c.IsClosed(), "the transaction failed before it began")
		_, err = c.Exec(ctx, insertNote, "outside")
		require.Error(t, err)
		return nil
	})
	require.Equal(t, "42703", txn.SQLState(err))
	require.Empty(t, f.notes(t))
}

// River's way to insert a job: read the connection's configuration, then a batch, all within
// a savepoint.
func TestPgxAsLibrariesUseIt(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		return pgx.BeginFunc(ctx, tx.Pgx(), func(tx pgx.Tx) error {
			require.NotEmpty(t, tx.Conn().Config().Database)
			b := &pgx.Batch{}
			b.Queue(insertNote, "job").Exec(func(tag pgconn.CommandTag) error { return txn.ExpectRows(tag, 1) })
			if err := tx.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, "select body from notes")
			if err != nil {
				return err
			}
			require.NotNil(t, rows.Conn())
			bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.Equal(t, []string{"job"}, bodies)
			return err
		})
	}))
	require.Equal(t, []string{"job"}, f.notes(t))
}

// River asks for the execution mode: by Config, which sends nothing, and not by Conn.
func TestPgxConfig(t *testing.T) {
	f := setup(t, txn.Config{})
	type configured interface{ Config() *pgxpool.Config }
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		mode := tx.Pgx().(configured).Config().ConnConfig.DefaultQueryExecMode
		require.Equal(t, f.db.Pool().Config().ConnConfig.DefaultQueryExecMode, mode)
		require.Zero(t, f.db.Pool().Stat().AcquiredConns(), "no connection was needed for that")
		return nil
	}))
	require.Nil(t, (*txn.Tx)(nil).Pgx().(configured).Config())
	other, err := pgx.Connect(t.Context(), f.AppURL())
	require.NoError(t, err)
	defer other.Close(context.WithoutCancel(t.Context()))
	owner, err := other.Begin(t.Context())
	require.NoError(t, err)
	j := txn.Join(owner, txn.Options{})
	require.Nil(t, j.Tx().Pgx().(configured).Config(), "the connection of a joined one may be of no pool")
	require.NoError(t, owner.Rollback(t.Context()))
	j.RolledBack(t.Context(), nil)
}
