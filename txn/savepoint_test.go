package txn_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				ask[int](t, ctx, tx, "select 1") // else the savepoint would not be sent
				return errBusiness
			}), errBusiness)
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

// roundTrips returns how often a transaction that is committed waited for the server, besides
// preparing.
func roundTrips(t *testing.T, f *fixture, fn func(context.Context, *txn.Tx) error) int {
	t.Helper()
	var used txn.Usage
	d := txn.New(f.db.Pool(), txn.Config{Observers: []txn.Observer{observe(func(e txn.Event) {
		if c, ok := e.(txn.CommitEvent); ok {
			used = c.Usage
		}
	})}})
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, fn))
	return used.RoundTrips
}

type observe func(txn.Event)

func (o observe) Observe(_ context.Context, e txn.Event) { o(e) }

// COMMIT ends the savepoints that are still there.
func TestCommitNeedsNoRelease(t *testing.T) {
	f := setup(t, txn.Config{})
	tracer := &queryTracer{}
	cfg := poolConfig(t, f.AppURL())
	cfg.ConnConfig.Tracer = tracer
	d := openConfig(t, cfg)
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "kept") })
	}))
	require.Contains(t, tracer.told, "savepoint s1")
	require.Contains(t, tracer.told, "commit")
	require.NotContains(t, tracer.told, "release savepoint s1")
	require.Equal(t, []string{"kept"}, f.notes(t))
}

func TestSavepointsCostAsLittleAsTheyDo(t *testing.T) {
	f := setup(t, txn.Config{})
	nested := func(depth int, at func(context.Context, *txn.Tx) error) func(context.Context, *txn.Tx) error {
		for range depth {
			inner := at
			at = func(ctx context.Context, tx *txn.Tx) error { return tx.Savepoint(ctx, inner) }
		}
		return at
	}
	touch := func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "update accounts set version = version where id = 1")
		return err
	}
	refuse := func(context.Context, *txn.Tx) error { return errBusiness }
	contained := func(fn func(context.Context, *txn.Tx) error) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error {
			require.ErrorIs(t, fn(ctx, tx), errBusiness)
			return nil
		}
	}
	both := func(fns ...func(context.Context, *txn.Tx) error) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error {
			for _, fn := range fns {
				if err := fn(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		want int
		fn   func(context.Context, *txn.Tx) error
	}{
		"empty":                                  {0, nested(3, nothing)},
		"refused before anything ran":            {0, contained(nested(3, refuse))},
		"empty, then work":                       {2, both(nested(3, nothing), touch)},
		"refused, then work":                     {2, both(contained(nested(3, refuse)), touch)},
		"work, then empty":                       {2, both(touch, nested(3, nothing))},
		"work, then refused":                     {2, both(touch, contained(nested(3, refuse)))},
		"work inside":                            {2, nested(3, touch)},
		"work inside, twice":                     {3, both(nested(3, touch), nested(3, touch))},
		"work inside, then refused":              {3, contained(nested(1, both(touch, refuse)))},
		"work deep inside, then refused outside": {3, contained(nested(1, both(nested(2, touch), refuse)))},
		"refused inside of one that worked":      {3, nested(1, both(touch, contained(nested(1, refuse)), touch))},
		"queued inside": {2, nested(1, func(_ context.Context, tx *txn.Tx) error {
			tx.Queue("update accounts set version = version where id = 1")
			return nil
		})},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, roundTrips(t, f, c.fn)) })
	}
}

// Names are by depth, and used again: what one of them means is always the innermost that is
// open.
func TestSavepointNamesAreUsedAgain(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		t.Run(mode.name, func(t *testing.T) {
			f.empty(t)
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				one := func(body string, outcome error, inner ...func(context.Context, *txn.Tx) error) func(context.Context, *txn.Tx) error {
					return func(ctx context.Context, tx *txn.Tx) error {
						require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, write(ctx, tx, body))
							for _, fn := range inner {
								if err := fn(ctx, tx); err != nil {
									return err
								}
							}
							return outcome
						}), outcome)
						return nil
					}
				}
				for _, fn := range []func(context.Context, *txn.Tx) error{
					one("1", nil, one("1.1", nil, one("1.1.1", nil)), one("-1.2", errBusiness), one("1.3", nil)),
					one("-2", errBusiness, one("-2.1", nil, one("-2.1.1", nil)), one("-2.2", nil)),
					one("3", nil, one("-3.1", errBusiness, one("-3.1.1", nil)), one("3.2", nil, one("-3.2.1", errBusiness))),
				} {
					require.NoError(t, fn(ctx, tx))
				}
				return nil
			}))
			require.Equal(t, []string{"1", "1.1", "1.1.1", "1.3", "3", "3.2"}, f.notes(t))
		})
	}
}

func TestSavepointPanics(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	process := pid(t, d)
	for name, before := range map[string]func(context.Context, *txn.Tx) error{
		"first": nothing,
		"later": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "before") },
	} {
		for what, inside := range map[string]func(context.Context, *txn.Tx) error{
			"nothing": nothing,
			"wrote":   func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") },
			"queued":  func(_ context.Context, tx *txn.Tx) error { tx.Queue(insertNote, "undone"); return nil },
			"failed":  func(ctx context.Context, tx *txn.Tx) error { _ = fail(ctx, tx, "P0001"); return nil },
			"reading": func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Query(ctx, "select generate_series(1, 9999)")
				return err
			},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				f.empty(t)
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, before(ctx, tx))
					require.PanicsWithValue(t, "boom", func() {
						_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
							return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
								require.NoError(t, inside(ctx, tx))
								panic("boom")
							})
						})
					})
					return write(ctx, tx, "after")
				}))
				require.NotContains(t, f.notes(t), "undone")
				require.Contains(t, f.notes(t), "after")
				require.Equal(t, process, pid(t, d))
			})
		}
	}
}

// The end of a savepoint flushes what was queued in it, under the context that Savepoint got.
func TestSavepointEndsUnderACancelledContext(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	process := pid(t, d)
	for name, before := range map[string]func(context.Context, *txn.Tx) error{
		"first": nothing,
		"later": func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "before") },
	} {
		t.Run(name, func(t *testing.T) {
			f.empty(t)
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, before(ctx, tx))
				tx.Queue(insertNote, "outside")
				over, cancel := context.WithCancel(ctx)
				var p *txn.Pending[pgconn.CommandTag]
				err := tx.Savepoint(over, func(_ context.Context, tx *txn.Tx) error {
					p = tx.Queue(insertNote, "undone")
					cancel()
					return nil
				})
				require.ErrorIs(t, err, context.Canceled)
				_, err = p.Value()
				require.ErrorIs(t, err, txn.ErrRollbackOnly)
				return write(ctx, tx, "after")
			}))
			require.Subset(t, f.notes(t), []string{"outside", "after"})
			require.NotContains(t, f.notes(t), "undone")
			require.Equal(t, process, pid(t, d))
		})
	}
}

func TestSavepointInBeforeCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error {
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, "undone"))
				return errBusiness
			}), errBusiness)
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				tx.Queue(insertNote, "in a hook")
				return nil
			})
		})
		return write(ctx, tx, "in the function")
	}))
	require.Equal(t, []string{"in the function", "in a hook"}, f.notes(t))
}

// Limits that a function set in a savepoint end with it, also where its end undoes them on the
// server before we do.
func TestLimitsSetInASavepoint(t *testing.T) {
	f := setup(t, txn.Config{})
	show := func(ctx context.Context, tx *txn.Tx) string { return ask[string](t, ctx, tx, "show lock_timeout") }
	limited := func(fn func(context.Context, *txn.Tx) error) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, txn.Options{LockTimeout: 3 * time.Second}, fn)
		}
	}
	for name, inside := range map[string]func(context.Context, *txn.Tx) error{
		"kept":    limited(func(ctx context.Context, tx *txn.Tx) error { require.Equal(t, "3s", show(ctx, tx)); return nil }),
		"undone":  limited(func(ctx context.Context, tx *txn.Tx) error { require.Equal(t, "3s", show(ctx, tx)); return errBusiness }),
		"unsent":  limited(nothing),
		"refused": limited(func(context.Context, *txn.Tx) error { return errBusiness }),
		"failed":  limited(func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "P0001") }),
		"mistaken": limited(func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select $1::int", struct{}{})
			return err
		}),
		"missing": limited(func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select missing where $1", true)
			return err
		}),
		"deeper": func(ctx context.Context, tx *txn.Tx) error {
			err := tx.Savepoint(ctx, limited(func(ctx context.Context, tx *txn.Tx) error {
				require.Equal(t, "3s", show(ctx, tx))
				return errBusiness
			}))
			require.Equal(t, "2s", show(ctx, tx))
			return err
		},
	} {
		for when, before := range map[string]func(context.Context, *txn.Tx) error{
			"first": nothing,
			"later": func(ctx context.Context, tx *txn.Tx) error { require.Equal(t, "2s", show(ctx, tx)); return nil },
		} {
			t.Run(name+"/"+when, func(t *testing.T) {
				require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{LockTimeout: 2 * time.Second}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, before(ctx, tx))
					_ = tx.Savepoint(ctx, inside)
					require.Equal(t, "2s", show(ctx, tx))
					return nil
				}))
			})
		}
	}
}

// Locks that a call asks for in a savepoint are taken with the next statement, wherever that
// stands, unless the savepoint is undone.
func TestLocksAskedForInASavepoint(t *testing.T) {
	f := setup(t, txn.Config{})
	key := txn.NewKey("savepoint")
	held := func(ctx context.Context, tx *txn.Tx) int {
		return ask[int](t, ctx, tx, "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
	}
	for outcome, want := range map[error]int{nil: 1, errBusiness: 0} {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, txn.WithTx(ctx, tx, txn.Options{Locks: []txn.Key{key}}, nothing))
				return outcome
			}), outcome)
			require.Equal(t, want, held(ctx, tx))
			return nil
		}))
	}
}

// FuzzSavepoints: whatever is written, queued, fails and is dropped in whatever nesting of
// savepoints, what is committed is what nobody undid.
func FuzzSavepoints(f *testing.F) {
	f.Add([]byte("wswe"))
	f.Add([]byte("wswqxqe"))
	f.Add([]byte("swqswqxsqfw"))
	f.Add([]byte("sbswsqxwdwe"))
	f.Add([]byte("qsqsqsqeweqe"))
	f.Add([]byte("sssqxxxw"))
	f.Add([]byte("wspruewfqswpqrfuw"))
	x := setupFuzz(f, txn.Config{})
	f.Fuzz(func(t *testing.T, program []byte) {
		_, err := x.db.Pool().Exec(t.Context(), "delete from notes")
		require.NoError(t, err)
		p := &nesting{t: t, program: program[:min(len(program), 60)]}
		committed := false
		err = txn.WithTx(t.Context(), x.db, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
			err := p.run(ctx, tx, false)
			committed = err == nil && !p.doomed
			return err
		})
		require.Equal(t, committed, err == nil, "%q: %v", program, err)
		if !committed {
			p.kept = nil
		}
		require.ElementsMatch(t, p.kept, x.notes(t), "%q", program)
	})
}

// nesting interprets a program, and keeps what has to be committed in the end.
type nesting struct {
	t       *testing.T
	program []byte
	kept    []string
	n       int
	doomed  bool // the level that has just ended cannot be released, whatever it returned
}

func (p *nesting) body() string {
	p.n++
	return strconv.Itoa(p.n)
}

// run runs the program up to the end of a level. lost says that the level around cannot be
// released any more, whatever this one does.
func (p *nesting) run(ctx context.Context, tx *txn.Tx, lost bool) error {
	doomed := false
	defer func() { p.doomed = doomed }()
	for len(p.program) > 0 {
		op := p.program[0]
		p.program = p.program[1:]
		switch op {
		case 'w': // write
			body := p.body()
			if err := write(ctx, tx, body); err != nil {
				require.True(p.t, doomed || lost, "%v", err)
				return err
			}
			require.False(p.t, doomed || lost)
			p.kept = append(p.kept, body)
		case 'q': // queue a write
			body := p.body()
			tx.Queue("insert into notes (body) values ($1)", body)
			p.kept = append(p.kept, body)
		case 'f': // flush
			if err := tx.Flush(ctx); err != nil {
				require.True(p.t, doomed || lost, "%v", err)
				return err
			}
		case 'd': // fail, and drop the error
			require.Error(p.t, fail(ctx, tx, "P0001"))
			doomed = true
		case 'b': // queue what will fail
			tx.Queue("select fail('P0001')")
			doomed = true
		case 'r': // return an error
			doomed = true
			return errBusiness
		case 'x': // return
			return nil
		case 's': // a savepoint
			if err := p.savepoint(ctx, tx, doomed || lost); err != nil && (doomed || lost) {
				return err
			}
		case 'p', 'u': // one by hand, which is kept or undone
			if err := p.byHand(ctx, tx, op == 'p'); err != nil {
				require.True(p.t, doomed || lost, "%v", err)
				return err
			}
		}
	}
	return nil
}

func (p *nesting) savepoint(ctx context.Context, tx *txn.Tx, lost bool) error {
	before := len(p.kept)
	var returned error
	p.doomed = false
	err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
		returned = p.run(ctx, tx, lost)
		return returned
	})
	if !lost {
		require.Equal(p.t, returned != nil || p.doomed, err != nil, "%v, returned %v", err, returned)
	}
	if err != nil {
		p.kept = p.kept[:before]
	}
	return err
}

func (p *nesting) byHand(ctx context.Context, tx *txn.Tx, keep bool) error {
	inner, err := tx.Pgx().Begin(ctx)
	if err != nil {
		return err
	}
	body := p.body()
	_, err = inner.Exec(ctx, "insert into notes (body) values ($1)", body)
	if err != nil || !keep {
		return errors.Join(err, inner.Rollback(ctx))
	}
	p.kept = append(p.kept, body)
	return inner.Commit(ctx)
}
