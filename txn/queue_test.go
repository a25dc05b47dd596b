package txn_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
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

func TestQueueKeepsTheOrder(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			d := f.single(t, mode.set)
			var updated, pair *txn.Pending[pgconn.CommandTag]
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				updated = tx.Queue("update accounts set balance = balance + 1 where id < $1", 3)
				tx.Queue(insertNote, "1")
				_, err := updated.Value()
				require.ErrorIs(t, err, txn.ErrPending)
				require.Equal(t, 1, ask[int](t, ctx, tx, "select count(*) from notes where body = '1'"), "it went before")
				tag, err := updated.Value()
				require.NoError(t, err)
				require.EqualValues(t, 2, tag.RowsAffected())

				pair = tx.Queue("insert into notes (body) values ($1), ($2)", "2", "3")
				require.NoError(t, write(ctx, tx, "4"))
				_, err = pair.Value()
				require.NoError(t, err)

				tx.Queue(insertNote, "5")
				require.NoError(t, tx.Flush(ctx))
				n, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"6"}}))
				require.NoError(t, err)
				require.EqualValues(t, 1, n)

				tx.Queue(insertNote, "7")
				_, err = tx.Exec(ctx, "insert into notes (body) values ('8'); insert into notes (body) values ('9')")
				require.NoError(t, err)

				rows, err := tx.Query(ctx, "select n from generate_series(10, 12) n")
				require.NoError(t, err)
				for rows.Next() { // queueing needs no connection
					var n int
					require.NoError(t, rows.Scan(&n))
					tx.Queue(insertNote, strconv.Itoa(n))
				}
				require.NoError(t, rows.Err())
				b := &pgx.Batch{}
				b.Queue(insertNote, "13")
				require.NoError(t, tx.SendBatch(ctx, b).Close())
				tx.Queue(insertNote, "14")
				return nil
			}))
			bodies := f.notes(t)
			require.Len(t, bodies, 14)
			for i, body := range bodies {
				require.Equal(t, strconv.Itoa(i+1), body)
			}
			f.empty(t)
		})
	}
}

// A value that WithTxValue carries out may be a Pending: COMMIT has answered it.
func TestPendingAsAValue(t *testing.T) {
	f := setup(t, txn.Config{})
	p, err := txn.WithTxValue(t.Context(), f.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) (*txn.Pending[pgconn.CommandTag], error) {
		return tx.Queue("update accounts set balance = 0 where id in (1, 2)"), nil
	})
	require.NoError(t, err)
	tag, err := p.Value()
	require.NoError(t, err)
	require.EqualValues(t, 2, tag.RowsAffected())
}

func TestQueueThenErrorSendsNothing(t *testing.T) {
	f := setup(t, txn.Config{})
	before := f.db.Pool().Stat().AcquireCount()
	var p *txn.Pending[pgconn.CommandTag]
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
		p = tx.Queue(insertNote, "never sent")
		return errBusiness
	})
	require.ErrorIs(t, err, errBusiness)
	require.Equal(t, before, f.db.Pool().Stat().AcquireCount(), "not even a connection was needed")
	_, err = p.Value()
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Empty(t, f.notes(t))
}

// A statement that fails in the flush of another, of Flush, of a savepoint's end or of COMMIT
// is reported there, by its name; nothing behind it is executed.
func TestQueuedFailure(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: 1})
	errTaken := errors.New("body is taken")
	for _, mode := range modes {
		d := f.single(t, mode.set)
		for where, fn := range map[string]func(*testing.T, context.Context, *txn.Tx) error{
			"COMMIT": func(*testing.T, context.Context, *txn.Tx) error { return nil },
			"Flush":  func(t *testing.T, ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) },
			"Exec":   func(t *testing.T, ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") },
			"Query": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				rows, err := tx.Query(ctx, "select 1 where 1 = $1", 1)
				require.Error(t, err)
				require.False(t, rows.Next())
				require.Equal(t, err, rows.Err())
				return err
			},
			"QueryRow": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				var n int
				return tx.QueryRow(ctx, "select 1").Scan(&n)
			},
			"SendBatch": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				b := &pgx.Batch{}
				b.Queue(insertNote, "undone").Exec(func(pgconn.CommandTag) error {
					require.Fail(t, "it was not executed")
					return nil
				})
				br := tx.SendBatch(ctx, b)
				_, err := br.Exec()
				require.Equal(t, err, br.Close())
				return err
			},
			"CopyFrom": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"undone"}}))
				return err
			},
			"several": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "select 1; select 2")
				return err
			},
			"swallowed": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				_ = tx.Flush(ctx)
				return nil
			},
			"joined": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				return txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) })
			},
			"BeforeCommit": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
				tx.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) })
				return nil
			},
		} {
			for when, before := range map[string]func(context.Context, *txn.Tx) error{
				"first": nothing,
				"later": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") },
			} {
				for _, c := range []struct {
					code, sql string
					args      []any
				}{
					{"23514", "-- name: Overdraw :exec\nupdate accounts set balance = $1 where id = 1", []any{-1}},
					{"42P01", "-- name: Overdraw :exec\nupdate missing set balance = $1 where id = 1", []any{-1}},
					{"40001", "-- name: Overdraw :exec\nselect fail('40001')", nil},
				} {
					for _, mapped := range []bool{false, true} {
						t.Run(mode.name+"/"+where+"/"+when+"/"+c.code+map[bool]string{true: "/mapped"}[mapped], func(t *testing.T) {
							process := pid(t, d)
							runs := 0
							var good, bad, behind *txn.Pending[pgconn.CommandTag]
							err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
								runs++
								require.NoError(t, before(ctx, tx))
								good = tx.Queue("update accounts set balance = $1 where id = 2", 5)
								bad = tx.Queue(c.sql, c.args...)
								if mapped {
									bad.OnError(func(err error) error {
										require.Equal(t, c.code, txn.SQLState(err))
										return errTaken
									})
								}
								behind = tx.Queue("update accounts set balance = $1 where id = 3", 5).
									OnError(func(error) error { require.Fail(t, "it did not fail"); return nil })
								return fn(t, ctx, tx)
							})
							queued, ok := errors.AsType[*txn.QueuedError](err)
							require.True(t, ok, "%v", err)
							require.Equal(t, "Overdraw", queued.Query)
							if mapped {
								require.ErrorIs(t, err, errTaken)
								require.Empty(t, txn.SQLState(err))
							} else {
								require.Equal(t, c.code, txn.SQLState(err))
							}
							require.Equal(t, where == "swallowed", errors.Is(err, txn.ErrRollbackOnly))
							require.Equal(t, map[bool]int{true: 3, false: 1}[c.code == "40001"], runs, "the server's error decides")

							_, err = bad.Value()
							require.True(t, err == error(queued))
							_, err = behind.Value()
							require.ErrorIs(t, err, txn.ErrRollbackOnly)
							if _, err = good.Value(); err != nil { // where it was prepared with the bad one
								require.ErrorIs(t, err, txn.ErrRollbackOnly)
							}
							require.Equal(t, process, pid(t, d))
						})
					}
				}
			}
		}
	}
	require.Empty(t, f.notes(t))
	var sum int
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select sum(balance) from accounts").Scan(&sum))
	require.Equal(t, 4000, sum, "nothing was saved")
}

func TestQueuedFailureIsRetriedIfAskedFor(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: 1})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "a") }))
	err := txn.WithTx(t.Context(), f.db, txn.Options{RetryAlso: []string{"23505"}}, func(ctx context.Context, tx *txn.Tx) error {
		body := "a"
		if tx.Attempt() == 2 {
			body = "b"
		}
		tx.Queue(insertNote, body).OnError(func(error) error { return errBusiness })
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, f.notes(t))
}

func TestQueueWithDeferredConstraint(t *testing.T) {
	f := setup(t, txn.Config{})
	var p *txn.Pending[pgconn.CommandTag]
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(insertNote, "undone")
		p = tx.Queue("insert into lines (account) values (99)")
		return nil
	})
	require.Equal(t, "23503", txn.SQLState(err))
	require.Equal(t, "lines_account_fkey", txn.ConstraintName(err))
	_, queued := errors.AsType[*txn.QueuedError](err)
	require.False(t, queued, "the statement itself succeeded; COMMIT failed")
	_, err = p.Value()
	require.NoError(t, err)
	require.Empty(t, f.notes(t))
}

func TestQueueInASavepoint(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			d := f.single(t, mode.set)
			var kept, undone, unsent, failing *txn.Pending[pgconn.CommandTag]
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				tx.Queue(insertNote, "before")
				require.NoError(t, tx.Savepoint(ctx, func(_ context.Context, tx *txn.Tx) error {
					kept = tx.Queue(insertNote, "kept")
					return nil
				}))
				_, err := kept.Value()
				require.NoError(t, err, "its end brings what was queued in it")

				require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					undone = tx.Queue(insertNote, "undone")
					require.NoError(t, tx.Flush(ctx))
					unsent = tx.Queue(insertNote, "unsent")
					return errBusiness
				}), errBusiness)
				_, err = undone.Value()
				require.NoError(t, err)
				_, err = unsent.Value()
				require.ErrorIs(t, err, txn.ErrRollbackOnly)

				err = tx.Savepoint(ctx, func(_ context.Context, tx *txn.Tx) error {
					tx.Queue(insertNote, "undone too")
					failing = tx.Queue(insertNote, "before")
					return nil
				})
				require.Equal(t, "notes_body_key", txn.ConstraintName(err))
				_, err = failing.Value()
				require.Equal(t, "23505", txn.SQLState(err))
				tx.Queue(insertNote, "after")
				return nil
			}))
			require.Equal(t, []string{"before", "kept", "after"}, f.notes(t))
			f.empty(t)
		})
	}
}

func TestQueueInAJoinedFunction(t *testing.T) {
	f := setup(t, txn.Config{})
	inner := func(ctx context.Context, tr txn.Transactor, body string) (p *txn.Pending[pgconn.CommandTag], err error) {
		return txn.WithTxValue(ctx, tr, txn.Options{}, func(_ context.Context, tx *txn.Tx) (*txn.Pending[pgconn.CommandTag], error) {
			return tx.Queue(insertNote, body), nil
		})
	}
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		p, err := inner(ctx, tx, "joined")
		require.NoError(t, err)
		_, err = p.Value()
		require.ErrorIs(t, err, txn.ErrPending, "the end of a joined function sends nothing")
		return write(ctx, tx, "outer")
	}))
	require.Equal(t, []string{"joined", "outer"}, f.notes(t))
	p, err := inner(t.Context(), f.db, "alone")
	require.NoError(t, err)
	_, err = p.Value()
	require.NoError(t, err)
}

// What Queue refuses is not forgotten by a function that does not look at the Pending.
func TestQueueRefuses(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct {
		want  error // nil: any
		queue func(context.Context, *txn.Tx) *txn.Pending[pgconn.CommandTag]
	}{
		"transaction control": {txn.ErrManaged, func(_ context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			return tx.Queue("/* */ COMMIT")
		}},
		"several statements": {nil, func(_ context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			return tx.Queue("select 1; select 2")
		}},
		"several statements with arguments": {nil, func(_ context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			return tx.Queue("select 1; select $1", 2)
		}},
		"a single word, which may be a prepared statement's name": {nil, func(_ context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			return tx.Queue("notes")
		}},
		"COPY": {nil, func(_ context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			return tx.Queue("copy notes to stdout")
		}},
		"options of pgx": {nil, func(_ context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			return tx.Queue("select $1", pgx.QueryExecModeExec, "x")
		}},
		"a suspended handle": {txn.ErrSuspended, func(ctx context.Context, tx *txn.Tx) (p *txn.Pending[pgconn.CommandTag]) {
			require.ErrorIs(t, tx.Savepoint(ctx, func(context.Context, *txn.Tx) error {
				p = tx.Queue(insertNote, "lost")
				return errBusiness // contains what happened in it, and not this
			}), errBusiness)
			return p
		}},
		"a finished handle": {txn.ErrTxDone, func(ctx context.Context, tx *txn.Tx) *txn.Pending[pgconn.CommandTag] {
			var left *txn.Tx
			require.NoError(t, txn.WithTx(ctx, tx, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
				left = tx
				return nil
			}))
			return left.Queue(insertNote, "lost")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, "undone"))
				_, err := c.queue(ctx, tx).Value()
				require.Error(t, err)
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
				}
				return nil
			})
			require.ErrorIs(t, err, txn.ErrRollbackOnly)
			_, ok := errors.AsType[*txn.QueuedError](err)
			require.True(t, ok)
			require.False(t, txn.IsRetryable(err))
		})
	}
	require.Empty(t, f.notes(t))

	_, err := (*txn.Tx)(nil).Queue("select 1").Value()
	require.ErrorIs(t, err, txn.ErrTxDone)
	require.ErrorIs(t, (&txn.Tx{}).Flush(t.Context()), txn.ErrTxDone)
}

// A statement queued while another goroutine holds the transaction is refused, and the
// transaction is not committed without it.
func TestQueueConcurrently(t *testing.T) {
	f := setup(t, txn.Config{})
	holder, err := f.Admin(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
	require.NoError(t, err)
	err = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		pid := ask[int](t, ctx, tx, "select pg_backend_pid()")
		blocked := make(chan error, 1)
		go func() {
			_, err := tx.Exec(ctx, "update accounts set balance = 0 where id = 1")
			blocked <- err
		}()
		txntest.WaitBlocked(t, holder, pid)
		_, err := tx.Queue(insertNote, "lost").Value()
		require.ErrorIs(t, err, txn.ErrConcurrentUse)
		require.ErrorIs(t, tx.Flush(ctx), txn.ErrConcurrentUse)
		require.NoError(t, holder.Commit(ctx))
		return <-blocked
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.ErrorIs(t, err, txn.ErrConcurrentUse)
	require.Empty(t, f.notes(t))
}

// A context that ends before anything was sent loses nothing of what is queued.
func TestQueueOutlivesAContext(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		p := tx.Queue(insertNote, "kept")
		over, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, tx.Flush(over), context.Canceled)
		require.ErrorIs(t, write(over, tx, "not sent"), context.Canceled)
		_, err := p.Value()
		require.ErrorIs(t, err, txn.ErrPending)
		return nil
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

// The answer of a queued statement that was lost with COMMIT's is lost, also where COMMIT
// turns out to have been executed.
func TestQueuedAnswerLostWithCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, committed := range map[string]bool{"committed": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			p := txntest.NewProxy(t, f.AppURL())
			d := open(t, p.URL(), txn.Config{})
			var fault *faultproxy.Armed
			var queued *txn.Pending[pgconn.CommandTag]
			err := txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, name))
				queued = tx.Queue("update accounts set balance = 0 where id = 1")
				fault = p.Arm(faultproxy.Fault{SQL: "^update accounts", Answer: committed, Do: faultproxy.Cut{}})
				return nil
			})
			require.NoError(t, fault.WaitSession(t.Context()))
			require.Equal(t, committed, err == nil, "%v", err)
			_, err = queued.Value()
			answer, ok := errors.AsType[*txn.QueuedError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "update accounts set balance = 0 where id = 1", answer.Query)
			require.Equal(t, committed, errors.Is(err, txn.ErrAnswerLost), "%v", err)
			require.Equal(t, !committed, txn.IsRetryable(err), "%v", err)
			require.Equal(t, committed, len(f.notes(t)) == 1)
			f.empty(t)
		})
	}
}
