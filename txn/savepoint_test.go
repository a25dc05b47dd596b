package txn_test

import (
	"context"
	"errors"
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

// A statement that the server cannot even prepare is contained too, although preparing it
// comes before the savepoint that travels with it.
func TestSavepointContainsWhatCannotBePrepared(t *testing.T) {
	f := setup(t, txn.Config{})
	const missing = "insert into missing (n) values ($1)"
	for _, mode := range modes {
		d := f.single(t, mode.set)
		for when, before := range map[string]func(context.Context, *txn.Tx) error{
			"first": nothing,
			"later": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, mode.name+" later") },
			"behind queued": func(ctx context.Context, tx *txn.Tx) error {
				tx.Queue(insertNote, mode.name+" behind queued")
				return nil
			},
			"behind queued and later": func(ctx context.Context, tx *txn.Tx) error {
				require.Equal(t, 1, ask[int](t, ctx, tx, "select 1"))
				tx.Queue(insertNote, mode.name+" behind queued and later")
				return nil
			},
		} {
			for how, fn := range map[string]func(*testing.T, context.Context, *txn.Tx) error{
				"statement": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
					_, err := tx.Exec(ctx, missing, 1)
					return err
				},
				"queued": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
					tx.Queue(missing, 1)
					return nil
				},
				"queued behind others": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
					tx.Queue(insertNote, "undone")
					tx.Queue(missing, 1)
					_, err := tx.Exec(ctx, "select 1 where 1 = $1", 1)
					return err
				},
				"deeper": func(t *testing.T, ctx context.Context, tx *txn.Tx) error {
					tx.Queue(insertNote, "undone")
					err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
						_, err := tx.Exec(ctx, missing, 1)
						return err
					})
					require.Equal(t, 1, ask[int](t, ctx, tx, "select count(*) from notes where body = $1", "undone"))
					return err
				},
			} {
				t.Run(mode.name+"/"+when+"/"+how, func(t *testing.T) {
					process := pid(t, d)
					require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						require.NoError(t, before(ctx, tx))
						err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return fn(t, ctx, tx) })
						require.Equal(t, "42P01", txn.SQLState(err), "%v", err)
						return write(ctx, tx, mode.name+when+how)
					}))
					require.Contains(t, f.notes(t), mode.name+when+how)
					if when != "first" {
						require.Contains(t, f.notes(t), mode.name+" "+when)
					}
					require.NotContains(t, f.notes(t), "undone")
					require.Equal(t, process, pid(t, d))
					f.empty(t)
				})
			}
		}
	}
}

// What fails although it was queued outside is not the savepoint's to contain.
func TestSavepointDoesNotContainWhatWasQueuedOutside(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: 1})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		for when, before := range map[string]func(context.Context, *txn.Tx) error{
			"first": nothing,
			"later": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") },
		} {
			for code, bad := range map[string]string{
				"23514": "update accounts set balance = $1",
				"42P01": "update missing set balance = $1",
				"40001": "select fail('40001') where $1 <> 0",
			} {
				t.Run(mode.name+"/"+when+"/"+code, func(t *testing.T) {
					runs := 0
					err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						runs++
						require.NoError(t, before(ctx, tx))
						p := tx.Queue(bad, -1)
						err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") })
						require.Equal(t, code, txn.SQLState(err))
						_, err = p.Value()
						require.Equal(t, code, txn.SQLState(err))
						return nil // as if the savepoint had contained it
					})
					require.Equal(t, code, txn.SQLState(err), "%v", err)
					queued, ok := errors.AsType[*txn.QueuedError](err)
					require.True(t, ok)
					require.Equal(t, bad, queued.Query)
					require.Equal(t, map[bool]int{true: 3, false: 1}[code == "40001"], runs)
				})
			}
		}
	}
	require.Empty(t, f.notes(t))
}

// A key that was claimed in a savepoint is claimed again if that is undone: else the work
// could be done twice.
func TestSavepointUndoesTheClaimOfAnIdempotencyKey(t *testing.T) {
	f := setup(t, txn.Config{})
	f.commitTokens(t)
	work := func() error {
		opts := txn.Options{IdempotencyKey: "once", Isolation: txn.RepeatableRead}
		return txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			require.Error(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				_ = write(ctx, tx, "undone")
				return errBusiness
			}))
			_, err := tx.Exec(ctx, "update accounts set balance = balance + 1 where id = 1")
			return err
		})
	}
	require.NoError(t, work())
	require.ErrorIs(t, work(), txn.ErrAlreadyCommitted)
	var balance int
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select balance from accounts where id = 1").Scan(&balance))
	require.Equal(t, 1001, balance)
}
