package txn_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Rule: hooks run once, after the outermost COMMIT, in order, all of them even if one
// fails; those of an aborted attempt or an undone savepoint vanish.

// poolOfOne is a DB whose pool has a single connection: whoever needs a second one while
// the first is held waits for ever, which the acquire timeout shows.
func poolOfOne(t *testing.T, f *fixture, cfg txn.Config) *txn.DB {
	t.Helper()
	pc, err := pgxpool.ParseConfig(f.AppURL())
	require.NoError(t, err)
	pc.MaxConns = 1
	txn.ConfigurePool(pc)
	if cfg.AcquireTimeout == 0 {
		cfg.AcquireTimeout = 5 * time.Second
	}
	return openConfig(t, pc, cfg)
}

// A diary is what hooks did, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) add(entry string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, entry)
}

func (d *diary) after(entry string) func(context.Context) error {
	return func(context.Context) error { d.add(entry); return nil }
}

func (d *diary) before(entry string) func(context.Context, *txn.Tx) error {
	return func(context.Context, *txn.Tx) error { d.add(entry); return nil }
}

func (d *diary) undone(entry string) func(context.Context, error) {
	return func(_ context.Context, err error) { d.add(fmt.Sprintf("%s: %v", entry, err)) }
}

// elsewhere runs fn in a goroutine that it may end, and waits for that.
func elsewhere(fn func()) {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	<-done
}

func TestHooksRunInOrderAfterTheOutermostCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.AfterCommit(d.after("after outer"))
		tx.BeforeCommit(d.before("before outer"))
		tx.AfterRollback(d.undone("rollback outer"))
		require.NoError(t, txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(d.after("after joined"))
			tx.BeforeCommit(d.before("before joined"))
			return write(ctx, tx, "joined")
		}))
		require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(d.after("after savepoint"))
			tx.BeforeCommit(d.before("before savepoint"))
			tx.AfterRollback(d.undone("rollback savepoint"))
			return write(ctx, tx, "savepoint")
		}))
		tx.AfterCommit(func(ctx context.Context) error {
			d.add("after last")
			require.Equal(t, []string{"joined", "savepoint"}, f.notes(t), "others see it by now")
			return nil
		})
		d.add("function")
		return nil
	}))
	require.Equal(t, []string{
		"function", "before outer", "before joined", "before savepoint",
		"after outer", "after joined", "after savepoint", "after last",
	}, d.entries)
}

// A transaction that had nothing to send is committed all the same.
func TestHooksOfAFunctionThatSendsNothing(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.BeforeCommit(d.before("before"))
		tx.AfterCommit(d.after("after"))
		return nil
	}))
	require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.BeforeCommit(d.before("never"))
		tx.AfterCommit(d.after("never"))
		tx.AfterRollback(d.undone("undone"))
		return errBusiness
	}), errBusiness)
	require.Equal(t, []string{"before", "after", "undone: business rule"}, d.entries)
}

func TestAllAfterCommitHooksRunThoughSomeFail(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	first, last := errors.New("first"), errors.New("last")
	runs := 0
	v, err := txn.WithTxValue(t.Context(), f.db, txn.Options{Label: "x", RetryAlso: []string{"23505"}}, func(ctx context.Context, tx *txn.Tx) (int, error) {
		runs++
		fails := func(entry string, err error) {
			tx.AfterCommit(func(context.Context) error { d.add(entry); return err })
		}
		fails("a", first)
		fails("b", nil)
		tx.AfterCommit(func(context.Context) error { d.add("c"); panic("boom") })
		// Another transaction's failure would be retried, was it this one's.
		tx.AfterCommit(func(ctx context.Context) error {
			d.add("d")
			return txn.WithTx(ctx, f.db, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
				return fail(ctx, tx, "40001")
			})
		})
		fails("e", last)
		return 7, write(ctx, tx, "kept")
	})
	require.Equal(t, 1, runs)
	require.Equal(t, 7, v, "the value that was committed comes with the error")
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, d.entries)
	hook, ok := errors.AsType[*txn.HookError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "x", hook.Label)
	require.ErrorIs(t, err, first)
	require.ErrorIs(t, err, last)
	require.Equal(t, "40001", txn.SQLState(err))
	require.ErrorContains(t, err, "txn x: committed")
	require.ErrorContains(t, err, "panic: boom")
	require.ErrorContains(t, err, "hooks_test.go", "where it panicked")
	require.False(t, txn.IsRetryable(err))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

func TestGoexitInAnAfterCommitHook(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	returned := false
	elsewhere(func() {
		_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(context.Context) error { d.add("a"); runtime.Goexit(); return nil })
			tx.AfterCommit(func(context.Context) error { d.add("b"); panic("boom") })
			tx.AfterCommit(func(context.Context) error { d.add("c"); runtime.Goexit(); return nil })
			tx.AfterCommit(d.after("d"))
			return write(ctx, tx, "kept")
		})
		returned = true
	})
	require.False(t, returned, "the goroutine was to end")
	require.Equal(t, []string{"a", "b", "c", "d"}, d.entries)
	require.Equal(t, []string{"kept"}, f.notes(t))
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

func TestHooksOfAnAbortedAttemptVanish(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	runs := 0
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{
		MaxAttempts: 3,
		OnRetry:     func(_ context.Context, r txn.Retry) { d.add(fmt.Sprint("retry ", r.Attempt)) },
	}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		name := fmt.Sprint(runs)
		d.add("run " + name)
		tx.BeforeCommit(d.before("before " + name))
		tx.AfterCommit(d.after("after " + name))
		tx.AfterRollback(func(_ context.Context, err error) { d.add("undone " + name + " by " + txn.SQLState(err)) })
		if runs < 3 {
			return fail(ctx, tx, "40001")
		}
		return write(ctx, tx, "kept")
	}))
	require.Equal(t, []string{
		"run 1", "undone 1 by 40001", "retry 1",
		"run 2", "undone 2 by 40001", "retry 2",
		"run 3", "before 3", "after 3",
	}, d.entries)
}

// An attempt that fails in COMMIT, or in what travels with it, has called BeforeCommit's
// functions, and calls them again when it is repeated.
func TestHooksOfAnAttemptThatFailsAtCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	runs := 0
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		tx.BeforeCommit(d.before("before"))
		tx.AfterCommit(d.after("after"))
		tx.AfterRollback(func(_ context.Context, err error) { d.add("undone by " + txn.SQLState(err)) })
		if runs == 1 {
			tx.Queue("select fail($1)", "40001")
		}
		return nil
	}))
	require.Equal(t, []string{"before", "undone by 40001", "before", "after"}, d.entries)
}

func TestHooksOfAnUndoneSavepointVanish(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, commits := range []bool{true, false} {
		var d diary
		err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.BeforeCommit(d.before("before outer"))
			tx.AfterCommit(d.after("after outer"))
			tx.AfterRollback(d.undone("outer"))
			reason := errors.New("savepoint's own")
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				tx.BeforeCommit(d.before("never"))
				tx.AfterCommit(d.after("never"))
				tx.AfterRollback(d.undone("savepoint"))
				inner := errors.New("inner's own")
				require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					tx.AfterCommit(d.after("never"))
					tx.AfterRollback(d.undone("inner"))
					return inner
				}), inner)
				require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					tx.AfterCommit(d.after("never"))
					tx.AfterRollback(d.undone("released inside"))
					return write(ctx, tx, "undone")
				}))
				return reason
			}), reason)
			require.Empty(t, d.entries, "told when the transaction has ended")
			tx.AfterCommit(d.after("after last"))
			if !commits {
				return errBusiness
			}
			return nil
		})
		if commits {
			require.NoError(t, err)
			require.Equal(t, []string{
				"before outer", "savepoint: savepoint's own", "inner: inner's own", "released inside: savepoint's own",
				"after outer", "after last",
			}, d.entries)
			continue
		}
		require.ErrorIs(t, err, errBusiness)
		require.Equal(t, []string{
			"outer: business rule", "savepoint: savepoint's own", "inner: inner's own", "released inside: savepoint's own",
		}, d.entries)
	}
}

func TestAfterRollbackOfAPanicAndOfGoexit(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, leave := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		var d diary
		var recovered any
		elsewhere(func() {
			defer func() { recovered = recover() }()
			_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				tx.AfterCommit(d.after("never"))
				tx.AfterRollback(func(ctx context.Context, err error) {
					d.add("undone")
					require.Error(t, err)
					require.NoError(t, ctx.Err())
				})
				require.NoError(t, write(ctx, tx, "undone"))
				leave()
				return nil
			})
		})
		if name == "panic" {
			require.Equal(t, "boom", recovered, "the panic goes on as it was")
		}
		require.Equal(t, []string{"undone"}, d.entries, name)
	}
	require.Empty(t, f.notes(t))
}

// All functions are called though one panics; then the panic goes on.
func TestPanicInAnAfterRollbackHook(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	require.PanicsWithValue(t, "boom", func() {
		_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterRollback(d.undone("a"))
			tx.AfterRollback(func(context.Context, error) { d.add("b"); panic("boom") })
			tx.AfterRollback(func(context.Context, error) { d.add("c"); panic("another") })
			tx.AfterRollback(d.undone("d"))
			return errBusiness
		})
	})
	require.Equal(t, []string{"a: business rule", "b", "c", "d: business rule"}, d.entries)
	d.entries = nil
	elsewhere(func() {
		_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterRollback(func(context.Context, error) { d.add("a"); runtime.Goexit() })
			tx.AfterRollback(d.undone("b"))
			return errBusiness
		})
	})
	require.Equal(t, []string{"a", "b: business rule"}, d.entries)
}

// A panic would say that the transaction was rolled back. Here only a savepoint was: the
// rest is committed, and its hooks are called.
func TestPanicInTheAfterRollbackHookOfASavepointOfACommittedTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, leave := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		var d diary
		var err error
		var v int
		elsewhere(func() {
			v, err = txn.WithTxValue(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) (int, error) {
				tx.AfterCommit(d.after("after"))
				require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					tx.AfterRollback(func(context.Context, error) { d.add("undone"); leave() })
					return errBusiness
				}), errBusiness)
				return 7, write(ctx, tx, name)
			})
		})
		require.Equal(t, []string{"undone", "after"}, d.entries, name)
		if name == "panic" {
			_, ok := errors.AsType[*txn.HookError](err)
			require.True(t, ok, "%v", err)
			require.ErrorContains(t, err, "boom")
			require.Equal(t, 7, v)
		}
	}
	require.ElementsMatch(t, []string{"panic", "Goexit"}, f.notes(t))
}

func TestBeforeCommitVeto(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.BeforeCommit(d.before("first"))
		tx.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error {
			if n := ask[int](t, ctx, tx, "select count(*) from notes"); n != 1 {
				return fmt.Errorf("%d notes", n)
			}
			return errBusiness
		})
		tx.BeforeCommit(d.before("never"))
		tx.AfterCommit(d.after("never"))
		tx.AfterRollback(d.undone("undone"))
		return write(ctx, tx, "undone")
	})
	require.Equal(t, errBusiness, err, "returned as it is")
	require.Equal(t, []string{"first", "undone: business rule"}, d.entries)
	require.Empty(t, f.notes(t))
}

func TestBeforeCommitWorksInTheTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Label: "x"}, func(ctx context.Context, outer *txn.Tx) error {
		pid := ask[int](t, ctx, outer, "select pg_backend_pid()")
		outer.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, pid, ask[int](t, ctx, tx, "select pg_backend_pid()"))
			require.Equal(t, "x", tx.Label())
			require.ErrorIs(t, write(ctx, outer, "x"), txn.ErrTxDone, "the function's own handle ended with it")
			require.ErrorIs(t, txn.WithTx(ctx, f.db, txn.Options{}, nothing), txn.ErrNestedDB)
			require.NoError(t, write(ctx, tx, "statement"))
			require.Error(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "statement") }))
			require.NoError(t, txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "joined") }))
			tx.Queue("insert into notes (body) values ('queued')")
			tx.BeforeCommit(func(ctx context.Context, inner *txn.Tx) error {
				require.ErrorIs(t, write(ctx, tx, "x"), txn.ErrTxDone, "each has a handle of its own")
				require.NoError(t, write(ctx, inner, "more"))
				inner.BeforeCommit(d.before("still more"))
				inner.AfterCommit(d.after("after"))
				return nil
			})
			return nil
		})
		outer.BeforeCommit(d.before("second"))
		return nil
	}))
	require.Equal(t, []string{"second", "still more", "after"}, d.entries)
	require.ElementsMatch(t, []string{"statement", "joined", "queued", "more"}, f.notes(t))
}

// What a function of BeforeCommit does wrong is the transaction's failure, whatever it
// returns, and the functions behind it are not called.
func TestBeforeCommitFailures(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct {
		hook func(context.Context, *txn.Tx) error
		want error
	}{
		"swallowed statement error": {func(ctx context.Context, tx *txn.Tx) error { _ = fail(ctx, tx, "23505"); return nil }, txn.ErrRollbackOnly},
		"swallowed joined error": {func(ctx context.Context, tx *txn.Tx) error {
			_ = txn.WithTx(ctx, tx, txn.Options{}, func(context.Context, *txn.Tx) error { return errBusiness })
			return nil
		}, errBusiness},
		"rows left open": {func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Query(ctx, "select generate_series(1, 100000)")
			return err
		}, txn.ErrRowsOpen},
	} {
		var d diary
		err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.BeforeCommit(c.hook)
			tx.BeforeCommit(d.before("never"))
			tx.AfterCommit(d.after("never"))
			tx.AfterRollback(func(context.Context, error) { d.add("undone") })
			return write(ctx, tx, "undone")
		})
		require.ErrorIs(t, err, c.want, name)
		require.Equal(t, []string{"undone"}, d.entries, name)
		require.Empty(t, f.notes(t), name)
	}
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

// A statement that fails in a function of BeforeCommit is retried as any other.
func TestBeforeCommitFailureIsRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	runs := 0
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		tx.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error {
			if runs == 1 {
				return fail(ctx, tx, "40P01")
			}
			return write(ctx, tx, "kept")
		})
		return nil
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

func TestBeforeCommitPanicAndGoexit(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, leave := range map[string]func(){
		"panic":  func() { panic("boom") },
		"Goexit": runtime.Goexit,
	} {
		var d diary
		var left *txn.Tx
		var recovered any
		returned := false
		elsewhere(func() {
			defer func() { recovered = recover() }()
			_ = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				tx.AfterCommit(d.after("never"))
				tx.AfterRollback(func(context.Context, error) { d.add("undone") })
				tx.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error {
					left = tx
					require.NoError(t, write(ctx, tx, "undone in the hook"))
					leave()
					return nil
				})
				tx.BeforeCommit(d.before("never"))
				return write(ctx, tx, "undone")
			})
			returned = true
		})
		require.False(t, returned, name)
		require.Equal(t, name != "Goexit", recovered != nil, name)
		require.Equal(t, []string{"undone"}, d.entries, name)
		require.Zero(t, f.db.Pool().Stat().AcquiredConns(), name)
		if left != nil {
			require.ErrorIs(t, write(t.Context(), left, "x"), txn.ErrTxDone, "%s: its handle ended with it", name)
			require.Zero(t, f.db.Pool().Stat().AcquiredConns(), name)
		}
	}
	require.Empty(t, f.notes(t))
}

type valueKey struct{}

func TestHookContextHasValuesAndNeitherMarkNorCancellation(t *testing.T) {
	f := setup(t, txn.Config{})
	d := poolOfOne(t, f, txn.Config{})
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), valueKey{}, "kept"), time.Hour)
	defer cancel()
	check := func(hook context.Context) {
		require.Equal(t, "kept", hook.Value(valueKey{}))
		_, has := hook.Deadline()
		require.False(t, has)
		require.NoError(t, hook.Err())
		require.Nil(t, hook.Done())
		require.NoError(t, txn.WithTx(hook, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			return write(ctx, tx, fmt.Sprint("hook ", time.Now().UnixNano()))
		}), "the only connection is free, and its pool may be used")
	}
	called := 0
	require.NoError(t, txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.AfterCommit(func(hook context.Context) error {
			cancel()
			check(hook)
			called++
			return nil
		})
		return write(ctx, tx, "kept")
	}))
	ctx, cancel = context.WithTimeout(context.WithValue(t.Context(), valueKey{}, "kept"), time.Hour)
	defer cancel()
	require.Error(t, txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.AfterRollback(func(hook context.Context, _ error) { check(hook); called++ })
		require.NoError(t, write(ctx, tx, "undone"))
		cancel()
		return nil
	}), "nobody waits for it any more")
	require.Equal(t, 2, called)
	require.Len(t, f.notes(t), 3)
}

// The hooks of a transaction inside another's function, on another pool, still run while
// that one holds its connection: its mark stays.
func TestHookContextKeepsTheMarksOfTransactionsAround(t *testing.T) {
	f := setup(t, txn.Config{})
	outer, inner := poolOfOne(t, f, txn.Config{}), poolOfOne(t, f, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), outer, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "outer"))
		return txn.WithTx(ctx, inner, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(ctx context.Context) error {
				require.ErrorIs(t, txn.WithTx(ctx, outer, txn.Options{}, nothing), txn.ErrNestedDB)
				return txn.WithTx(ctx, inner, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "hook") })
			})
			return write(ctx, tx, "inner")
		})
	}))
	require.ElementsMatch(t, []string{"outer", "inner", "hook"}, f.notes(t))
}

func TestHooksWhenTheOutcomeOfCommitIsUnknown(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, after := range map[string]bool{"before": false, "after": true} {
		p := txntest.NewProxy(t, f.AppURL())
		d := openConfig(t, poolConfig(t, p.URL()), txn.Config{ResolveCommits: txn.ResolveNever})
		cut := p.Arm(cutAt("^commit$", after))
		var book diary
		err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.BeforeCommit(book.before("before"))
			tx.AfterCommit(book.after("never"))
			tx.AfterRollback(book.undone("never"))
			_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				tx.AfterRollback(book.undone("never"))
				return errBusiness
			})
			return write(ctx, tx, name)
		})
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%v", err)
		require.Equal(t, []string{"before"}, book.entries)
		require.NoError(t, cut.WaitSession(t.Context()))
	}
}

// What could be found out is known: one of the two is called.
func TestHooksWhenTheOutcomeOfCommitIsFoundOut(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, after := range map[string]bool{"before": false, "after": true} {
		p := txntest.NewProxy(t, f.AppURL())
		d := openConfig(t, poolConfig(t, p.URL()))
		cut := p.Arm(cutAt("^commit$", after))
		var book diary
		err := txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(book.after("committed"))
			tx.AfterRollback(func(context.Context, error) { book.add("undone") })
			return write(ctx, tx, name)
		})
		if after {
			require.NoError(t, err)
			require.Equal(t, []string{"committed"}, book.entries)
		} else {
			require.Error(t, err)
			require.Equal(t, []string{"undone"}, book.entries)
		}
		require.NoError(t, cut.WaitSession(t.Context()))
	}
	require.Equal(t, []string{"after"}, f.notes(t))
}

// A transaction that was rolled back because another one's outcome is unknown, or because
// another one's hook failed, is itself neither unknown nor committed.
func TestErrorsOfAnotherTransactionSayNothingOfThisOne(t *testing.T) {
	f := setup(t, txn.Config{})
	hookFailed := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.AfterCommit(func(context.Context) error { return errors.Join(errBusiness, &pgconn.PgError{Code: "23505"}) })
		return nil
	})
	for _, other := range []error{hookFailed, &txn.CommitUnknownError{Err: errBusiness}} {
		var d diary
		runs := 0
		v, err := txn.WithTxValue(t.Context(), f.db, txn.Options{RetryAlso: []string{"23505"}}, func(ctx context.Context, tx *txn.Tx) (int, error) {
			runs++
			tx.AfterCommit(d.after("never"))
			tx.AfterRollback(func(context.Context, error) { d.add("undone") })
			require.NoError(t, write(ctx, tx, "undone"))
			return 7, fmt.Errorf("audit: %w", other)
		})
		require.ErrorIs(t, err, errBusiness)
		require.Zero(t, v)
		_, committed := errors.AsType[*txn.HookError](err)
		require.False(t, committed, "this one is not committed: %v", err)
		require.Equal(t, []string{"undone"}, d.entries)
		require.Equal(t, 1, runs, "the other one would be done twice")
		require.False(t, txn.IsRetryable(err))
	}
	_, err := txn.WithTxValue(t.Context(), f.db, txn.Options{}, func(context.Context, *txn.Tx) (int, error) { return 7, hookFailed })
	_, committed := errors.AsType[*txn.HookError](err)
	require.False(t, committed, "also where it is returned as it is")
	require.Empty(t, f.notes(t))
}

func TestConcurrentRegistration(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, result := range []error{nil, errBusiness} {
		var d diary
		var goroutines sync.WaitGroup
		err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			all := txntest.NewBarrier(9)
			for range 8 {
				goroutines.Go(func() {
					_ = all.Wait(ctx)
					// Past the function's end, too: then nothing is registered.
					for range 200 {
						tx.AfterCommit(d.after("after"))
						tx.AfterRollback(d.undone("undone"))
						tx.BeforeCommit(d.before("before"))
					}
				})
			}
			require.NoError(t, all.Wait(ctx))
			return result
		})
		goroutines.Wait()
		require.ErrorIs(t, err, result)
		for _, entry := range d.entries {
			require.Equal(t, result != nil, strings.HasPrefix(entry, "undone"))
		}
	}
	var d diary
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		var goroutines sync.WaitGroup
		for range 8 {
			goroutines.Go(func() {
				for range 50 {
					tx.AfterCommit(d.after("after"))
				}
			})
		}
		goroutines.Wait()
		return nil
	}))
	require.Len(t, d.entries, 400, "none is lost")
}

func TestHooksOnFinishedHandlesDoNothing(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	register := func(tx *txn.Tx) {
		tx.BeforeCommit(d.before("never"))
		tx.AfterCommit(d.after("never"))
		tx.AfterRollback(d.undone("never"))
	}
	register(nil)
	register(&txn.Tx{})
	for _, result := range []error{nil, errBusiness} {
		var left []*txn.Tx
		require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			left = append(left, tx)
			keep := func(_ context.Context, tx *txn.Tx) error { left = append(left, tx); return nil }
			require.NoError(t, tx.Savepoint(ctx, keep))
			require.NoError(t, txn.WithTx(ctx, tx, txn.Options{}, keep))
			for _, ended := range left[1:] {
				register(ended)
			}
			tx.BeforeCommit(func(context.Context, *txn.Tx) error { register(tx); return nil })
			tx.AfterCommit(func(context.Context) error { register(tx); return nil })
			tx.AfterRollback(func(context.Context, error) { register(tx) })
			return result
		}), result)
		for _, tx := range left {
			register(tx)
		}
	}
	require.Empty(t, d.entries)
}

// Hooks run with nothing held: none of the handle's methods waits in one.
func TestHooksThatUseTheHandle(t *testing.T) {
	f := setup(t, txn.Config{})
	methods := func(ctx context.Context, tx *txn.Tx) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := tx.Exec(ctx, "select 1")
		require.ErrorIs(t, err, txn.ErrTxDone)
		require.ErrorIs(t, tx.QueryRow(ctx, "select 1").Scan(new(int)), txn.ErrTxDone)
		require.ErrorIs(t, tx.Savepoint(ctx, nothing), txn.ErrTxDone)
		require.ErrorIs(t, tx.Flush(ctx), txn.ErrTxDone)
		require.ErrorIs(t, tx.AdvisoryLock(ctx, txn.NewKey("x")), txn.ErrTxDone)
		require.ErrorIs(t, txn.WithTx(ctx, tx, txn.Options{}, nothing), txn.ErrTxDone)
		_, err = tx.Pgx().Begin(ctx)
		require.ErrorIs(t, err, txn.ErrTxDone)
		require.Nil(t, tx.Pgx().Conn())
		tx.AfterCommit(func(context.Context) error { panic("never") })
		_, _ = tx.Label(), tx.Attempt()
		require.NoError(t, ctx.Err())
	}
	called := 0
	for _, result := range []error{nil, errBusiness} {
		require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.BeforeCommit(func(ctx context.Context, _ *txn.Tx) error { methods(ctx, tx); called++; return nil })
			queue := func() {
				_, err := tx.Queue("select 1").Value()
				require.ErrorIs(t, err, txn.ErrTxDone)
			}
			tx.AfterCommit(func(ctx context.Context) error { methods(ctx, tx); queue(); called++; return nil })
			tx.AfterRollback(func(ctx context.Context, _ error) { methods(ctx, tx); queue(); called++ })
			require.NoError(t, write(ctx, tx, fmt.Sprint(result)))
			return result
		}), result)
	}
	require.Equal(t, 3, called)
}

// A function that the suspended outer handle is asked to call was registered while the
// savepoint was open, and shares its fate.
func TestHooksRegisteredOnTheSuspendedHandle(t *testing.T) {
	f := setup(t, txn.Config{})
	var d diary
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, outer *txn.Tx) error {
		require.NoError(t, outer.Savepoint(ctx, func(context.Context, *txn.Tx) error {
			outer.AfterCommit(d.after("released"))
			return nil
		}))
		_ = outer.Savepoint(ctx, func(context.Context, *txn.Tx) error {
			outer.AfterCommit(d.after("never"))
			return errBusiness
		})
		return nil
	}))
	require.Equal(t, []string{"released"}, d.entries)
}

// The owner of a transaction that was joined from outside says how it ended, and each hook
// is called once.
func TestHooksOnAForeignTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, commits := range []bool{true, false} {
		var d diary
		owner, err := f.db.Pool().Begin(t.Context())
		require.NoError(t, err)
		j := txn.Join(owner, txn.Options{})
		j.Tx().BeforeCommit(d.before("before"))
		j.Tx().AfterCommit(d.after("after"))
		j.Tx().AfterRollback(d.undone("undone"))
		require.NoError(t, write(t.Context(), j.Tx(), fmt.Sprint(commits)))
		require.NoError(t, j.Finish(t.Context()))
		if commits {
			require.NoError(t, owner.Commit(t.Context()))
			require.NoError(t, j.Committed(t.Context()))
			require.NoError(t, j.Committed(t.Context()))
			require.Equal(t, []string{"before", "after"}, d.entries)
			continue
		}
		require.NoError(t, owner.Rollback(t.Context()))
		j.RolledBack(t.Context(), errBusiness)
		j.RolledBack(t.Context(), errBusiness)
		require.Equal(t, []string{"before", "undone: business rule"}, d.entries)
	}
}

// A hook that is nil fails the transaction while that can still be rolled back.
func TestNilHook(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, register := range map[string]func(*txn.Tx){
		"BeforeCommit":  func(tx *txn.Tx) { tx.BeforeCommit(nil) },
		"AfterCommit":   func(tx *txn.Tx) { tx.AfterCommit(nil) },
		"AfterRollback": func(tx *txn.Tx) { tx.AfterRollback(nil) },
	} {
		err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			register(tx)
			return write(ctx, tx, name)
		})
		require.ErrorContains(t, err, "is nil", name)
	}
	require.Empty(t, f.notes(t))
}
