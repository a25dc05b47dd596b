package txn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// Rule: at READ COMMITTED a transaction lock in the prologue; above it the session's lock,
// handed over, so that the snapshot is younger than the lock; nothing is left behind.

// heldSQL is the advisory locks of the database as their 64 bits, with their modes.
const heldSQL = `select ((classid::bigint << 32) | objid::bigint)::text || case mode when 'ShareLock' then ' shared' else '' end
	from pg_locks
	where locktype = 'advisory' and objsubid = 1 and granted
		and database = (select oid from pg_database where datname = current_database())
	order by 1`

func held(t *testing.T, q txntest.Querier) []string {
	t.Helper()
	rows, err := q.Query(context.WithoutCancel(t.Context()), heldSQL)
	require.NoError(t, err)
	locks, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return locks
}

// The numbers must never change: versions of a program, old and new, run side by side, and
// exclude one another by them.
func TestKeyIsStable(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, c := range []struct {
		key  txn.Key
		want string
	}{
		{txn.NewKey("invoice"), "-1393314827795834824"},
		{txn.NewKey("invoice", 7), "-6563676751374639297"},
		{txn.NewKey("invoice", int64(7), "ä", true), "-5512483650540082687"},
		{txn.NewKey("", "x"), "7884976091425799415"},
	} {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, tx.AdvisoryLock(ctx, c.key))
			require.Equal(t, []string{c.want}, held(t, tx), "%s", c.key)
			return nil
		}))
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Isolation: txn.RepeatableRead, Locks: []txn.Key{c.key.Shared()}}, func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, []string{c.want + " shared"}, held(t, tx), "%s", c.key)
			return nil
		}))
	}
}

func TestKeyEquality(t *testing.T) {
	t.Parallel()
	k := txn.NewKey("invoice", 7, "a")
	require.Equal(t, k, txn.NewKey("invoice", int64(7), "a"), "parts are told apart by their text")
	require.Equal(t, k, txn.NewKey("invoice", "7", "a"))
	require.Equal(t, "invoice/7/a", k.String())
	require.NotEqual(t, k, k.Shared())
	require.Equal(t, k.Shared(), k.Shared().Shared())
	require.Equal(t, "invoice/7/a", k.Shared().String())
	// Equal when written one after the other, and yet not equal.
	seen := map[txn.Key][]string{}
	letters := []string{"", "a", "/", "1", ":", "a/", "1:a", "1:"}
	for _, namespace := range letters {
		for _, first := range letters {
			for _, second := range letters {
				for n, key := range []txn.Key{
					txn.NewKey(namespace), txn.NewKey(namespace, first), txn.NewKey(namespace, first, second),
				} {
					parts := []string{namespace, first, second}[:n+1]
					if other, ok := seen[key]; ok {
						require.Equal(t, other, parts)
					}
					seen[key] = parts
				}
			}
		}
	}
}

func TestEmptyKeyIsRefused(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, key := range []txn.Key{{}, txn.NewKey(""), txn.Key{}.Shared()} {
		for name, run := range map[string]func(context.Context, *txn.Tx) error{
			"AdvisoryLock":    func(ctx context.Context, tx *txn.Tx) error { return tx.AdvisoryLock(ctx, key) },
			"TryAdvisoryLock": func(ctx context.Context, tx *txn.Tx) error { _, err := tx.TryAdvisoryLock(ctx, key); return err },
			"joined": func(ctx context.Context, tx *txn.Tx) error {
				return txn.WithTx(ctx, tx, txn.Options{Locks: []txn.Key{key}}, nothing)
			},
		} {
			require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				_, ok := errors.AsType[*txn.OptionsError](run(ctx, tx))
				require.True(t, ok, name)
				return touch(ctx, tx)
			}), "nothing was sent, the transaction goes on")
		}
		_, ok := errors.AsType[*txn.OptionsError](txn.WithTx(t.Context(), f.db, txn.Options{Locks: []txn.Key{key}}, nothing))
		require.True(t, ok)
	}
}

func TestAdvisoryLockExcludes(t *testing.T) {
	f := setup(t, txn.Config{})
	key, other := txn.NewKey("a"), txn.NewKey("b")
	// try is what another transaction gets.
	try := func(ctx context.Context, key txn.Key) bool {
		granted, err := txn.WithTxValue(txn.Detach(ctx), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) (bool, error) {
			return tx.TryAdvisoryLock(ctx, key)
		})
		require.NoError(t, err)
		return granted
	}
	for name, take := range map[string]func(context.Context, *txn.Tx, txn.Key) error{
		"AdvisoryLock": func(ctx context.Context, tx *txn.Tx, k txn.Key) error { return tx.AdvisoryLock(ctx, k) },
		"TryAdvisoryLock": func(ctx context.Context, tx *txn.Tx, k txn.Key) error {
			granted, err := tx.TryAdvisoryLock(ctx, k)
			require.True(t, granted)
			return err
		},
		"Locks of a joined call": func(ctx context.Context, tx *txn.Tx, k txn.Key) error {
			return txn.WithTx(ctx, tx, txn.Options{Locks: []txn.Key{k}}, func(ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) })
		},
	} {
		for _, result := range []error{nil, errBusiness} {
			require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, take(ctx, tx, key))
				require.False(t, try(ctx, key), name)
				require.False(t, try(ctx, key.Shared()), name)
				require.True(t, try(ctx, other), name)
				require.NoError(t, take(ctx, tx, key), "%s: its holder may take it again", name)

				// Of an undone savepoint nothing stays; of a released one the lock does.
				require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, take(ctx, tx, other))
					require.False(t, try(ctx, other), name)
					return errBusiness
				}), errBusiness)
				require.True(t, try(ctx, other), name)
				require.False(t, try(ctx, key), name)
				require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return take(ctx, tx, other) }))
				require.False(t, try(ctx, other), name)
				return result
			}), result)
			require.True(t, try(t.Context(), key), name)
			require.True(t, try(t.Context(), other), name)
		}
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, take(ctx, tx, key.Shared()))
			require.True(t, try(ctx, key.Shared()), "%s: several may share", name)
			require.False(t, try(ctx, key), name)
			return nil
		}))
	}
	require.Empty(t, held(t, f.Admin(t)))
}

// Locks that a function asks for are held from its first statement on, at each isolation.
func TestLocksOption(t *testing.T) {
	f := setup(t, txn.Config{})
	a, b := txn.NewKey("a"), txn.NewKey("b")
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable} {
		for name, c := range map[string]struct {
			locks []txn.Key
			want  int
		}{
			"one":         {[]txn.Key{a}, 1},
			"two":         {[]txn.Key{a, b}, 2},
			"twice":       {[]txn.Key{a, b, a}, 2},
			"both shares": {[]txn.Key{a.Shared(), a, a.Shared()}, 1},
			"none":        {nil, 0},
		} {
			opts := txn.Options{Isolation: isolation, Locks: c.locks}
			inside := func(ctx context.Context, r txn.Reads) error {
				locks := held(t, r)
				require.Len(t, locks, c.want, "%s %s", isolation, name)
				require.NotContains(t, strings.Join(locks, " "), "shared", "the strongest form is taken")
				return nil
			}
			require.NoError(t, txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error { return inside(ctx, tx) }))
			require.NoError(t, txn.WithReadTx(t.Context(), f.db, opts, func(ctx context.Context, rx *txn.ReadTx) error { return inside(ctx, rx) }))
			require.NoError(t, txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
				tx.Queue("insert into notes (body) values ($1)", fmt.Sprint(isolation, name))
				return nil
			}), "also if all is one flush")
			require.Empty(t, held(t, f.Admin(t)), "%s %s", isolation, name)
		}
	}
}

// A transaction that waited for the lock of an earlier one sees what that did. At
// RepeatableRead and Serializable it does so by Options.Locks only.
func TestWaiterSeesWhatTheHolderDid(t *testing.T) {
	f := setup(t, txn.Config{})
	key := txn.NewKey("account", 1)
	for _, c := range []struct {
		isolation txn.Isolation
		option    bool
		want      int64
	}{
		{txn.ReadCommitted, false, 1},
		{txn.ReadCommitted, true, 1},
		{txn.RepeatableRead, false, 1000},
		{txn.RepeatableRead, true, 1},
		{txn.Serializable, false, 1000},
		{txn.Serializable, true, 1},
	} {
		_, err := f.Admin(t).Exec(t.Context(), "update accounts set balance = 1000 where id = 1")
		require.NoError(t, err)
		d := poolOfOne(t, f, txn.Config{})
		pid := backend(t, d)
		seen := make(chan int64, 1)
		result := make(chan error, 1)
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Locks: []txn.Key{key}}, func(ctx context.Context, holder *txn.Tx) error {
			_, err := holder.Exec(ctx, "update accounts set balance = 1 where id = 1")
			require.NoError(t, err)
			go func() {
				opts := txn.Options{Isolation: c.isolation}
				if c.option {
					opts.Locks = []txn.Key{key}
				}
				result <- txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
					if !c.option {
						if err := tx.AdvisoryLock(ctx, key); err != nil {
							return err
						}
					}
					var balance int64
					err := tx.QueryRow(ctx, "select balance from accounts where id = 1").Scan(&balance)
					seen <- balance
					return err
				})
			}()
			txntest.WaitBlocked(t, f.Admin(t), pid)
			return nil
		}))
		require.NoError(t, <-result)
		require.Equal(t, c.want, <-seen, "%s, by option: %v", c.isolation, c.option)
	}
}

func backend(t *testing.T, d *txn.DB) int {
	t.Helper()
	pid, err := txn.WithTxValue(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) (int, error) {
		return ask[int](t, ctx, tx, "select pg_backend_pid()"), nil
	})
	require.NoError(t, err)
	return pid
}

// Sixty at once read a number and write it back, one higher: none is lost, and none has to
// be repeated. At SERIALIZABLE a few may have to be: the server releases a transaction's locks
// a moment before it notes for others of that level that the transaction is over.
func TestLocksSerializeIncrements(t *testing.T) {
	f := setup(t, txn.Config{})
	key := txn.NewKey("account", 1)
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable} {
		_, err := f.Admin(t).Exec(t.Context(), "update accounts set balance = 0 where id = 1")
		require.NoError(t, err)
		const goroutines, each = 60, 5
		attempts := 1
		if isolation == txn.Serializable {
			attempts = 10
		}
		var all sync.WaitGroup
		var failures atomic.Int64
		for range goroutines {
			all.Go(func() {
				for range each {
					err := txn.WithTx(t.Context(), f.db, txn.Options{Isolation: isolation, Locks: []txn.Key{key}, MaxAttempts: attempts},
						func(ctx context.Context, tx *txn.Tx) error {
							var n int64
							if err := tx.QueryRow(ctx, "select balance from accounts where id = $1", 1).Scan(&n); err != nil {
								return err
							}
							_, err := tx.Exec(ctx, "update accounts set balance = $1 where id = 1", n+1)
							return err
						})
					if err != nil {
						failures.Add(1)
						t.Log(err)
					}
				}
			})
		}
		all.Wait()
		require.Zero(t, failures.Load(), "%s", isolation)
		var n int
		require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select balance from accounts where id = 1").Scan(&n))
		require.Equal(t, goroutines*each, n, "%s", isolation)
	}
	require.Empty(t, held(t, f.Admin(t)))
}

// Everybody takes locks in one order, in whichever they were asked for.
func TestLocksDoNotDeadlock(t *testing.T) {
	f := setup(t, txn.Config{})
	keys := []txn.Key{txn.NewKey("a"), txn.NewKey("b"), txn.NewKey("c")}
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
		for _, joined := range []bool{false, true} {
			if joined && isolation != txn.ReadCommitted {
				continue
			}
			var all sync.WaitGroup
			var failures atomic.Int64
			for g := range 8 {
				all.Go(func() {
					for i := range 25 {
						n := (g + i) % 3
						opts := txn.Options{Isolation: isolation, MaxAttempts: 1}
						locks := []txn.Key{keys[n], keys[(n+1+g%2)%3], keys[(n+2-g%2)%3]}
						run := touch
						if joined {
							inner := run
							run = func(ctx context.Context, tx *txn.Tx) error {
								return txn.WithTx(ctx, tx, txn.Options{Locks: locks}, inner)
							}
						} else {
							opts.Locks = locks
						}
						if err := txn.WithTx(t.Context(), f.db, opts, run); err != nil {
							failures.Add(1)
							t.Log(err)
						}
					}
				})
			}
			all.Wait()
			require.Zero(t, failures.Load(), "%s, joined: %v", isolation, joined)
		}
	}
	require.Empty(t, held(t, f.Admin(t)))
}

func TestSharedLocksRunTogether(t *testing.T) {
	f := setup(t, txn.Config{})
	key := txn.NewKey("a")
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
		together := txntest.NewBarrier(2)
		var all sync.WaitGroup
		var failures atomic.Int64
		for range 2 {
			all.Go(func() {
				err := txn.WithTx(t.Context(), f.db, txn.Options{Isolation: isolation, Locks: []txn.Key{key.Shared()}}, func(ctx context.Context, tx *txn.Tx) error {
					if err := touch(ctx, tx); err != nil {
						return err
					}
					return together.Wait(ctx)
				})
				if err != nil {
					failures.Add(1)
				}
			})
		}
		all.Wait()
		require.Zero(t, failures.Load(), "%s", isolation)
	}
}

// While the lock is waited for nothing is held, and afterwards nothing stays: not the lock,
// not the place in its queue, not the connection.
func TestNothingIsLeftAfterWaitingInVain(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	free, taken := txn.NewKey("free"), txn.NewKey("taken")
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable} {
		d := poolOfOne(t, f, txn.Config{})
		pid := backend(t, d)
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Locks: []txn.Key{taken}}, func(ctx context.Context, holder *txn.Tx) error {
			require.NoError(t, touch(ctx, holder))
			locks := held(t, admin)
			require.Len(t, locks, 1)

			// Both orders are tried, so that one of them waits with the free one held.
			for _, locks := range [][]txn.Key{{free, taken}, {taken, txn.NewKey("another")}, {taken.Shared()}} {
				opts := txn.Options{Isolation: isolation, Locks: locks}
				opts.LockTimeout = 20 * time.Millisecond
				ran := 0
				err := txn.WithTx(txn.Detach(ctx), d, opts, func(ctx context.Context, tx *txn.Tx) error {
					ran++
					return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") })
				})
				require.ErrorIs(t, err, txn.ErrLockNotAvailable)
				require.Equal(t, "55P03", txn.SQLState(err))
				require.Equal(t, 1, ran, "not retried, unless asked for")
			}
			require.Equal(t, locks, held(t, admin), "%s: after the lock timeout", isolation)

			opts := txn.Options{Isolation: isolation, Locks: []txn.Key{free, taken}}
			giveUp, cancel := context.WithCancel(txn.Detach(ctx))
			result := make(chan error, 1)
			go func() {
				result <- txn.WithTx(giveUp, d, opts, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") })
			}()
			txntest.WaitBlocked(t, admin, pid)
			cancel()
			err := <-result
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, locks, held(t, admin), "%s: after a cancelled context", isolation)

			opts.Timeout = 50 * time.Millisecond
			err = txn.WithTx(txn.Detach(ctx), d, opts, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "undone") })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, locks, held(t, admin), "%s: after the timeout", isolation)
			return nil
		}))
		require.Equal(t, pid, backend(t, d), "%s: the connection survives", isolation)
		require.Empty(t, held(t, admin))
		require.Empty(t, f.notes(t))
	}
}

// On a pool that was not prepared for it a cancelled context costs the connection, and the
// server lets go of the lock with the session.
func TestNothingIsLeftOnAPlainPool(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	pc := plainConfig(t, f.AppURL())
	pc.MaxConns = 1
	d := openConfig(t, pc)
	pid := backend(t, d)
	free, taken := txn.NewKey("free"), txn.NewKey("taken")
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Locks: []txn.Key{taken}}, func(ctx context.Context, holder *txn.Tx) error {
		require.NoError(t, touch(ctx, holder))
		giveUp, cancel := context.WithCancel(txn.Detach(ctx))
		result := make(chan error, 1)
		go func() {
			result <- txn.WithTx(giveUp, d, txn.Options{Isolation: txn.RepeatableRead, Locks: []txn.Key{free, taken}}, writes("undone"))
		}()
		txntest.WaitBlocked(t, admin, pid)
		cancel()
		require.ErrorIs(t, <-result, context.Canceled)
		return nil
	}))
	waitGone(t, admin, pid)
	require.Empty(t, held(t, admin))
}

// touch is a first statement.
func touch(ctx context.Context, tx *txn.Tx) error {
	_, err := tx.Exec(ctx, "select 1")
	return err
}

func writes(body string) func(context.Context, *txn.Tx) error {
	return func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, body) }
}

// waitGone returns when the session has ended.
func waitGone(t *testing.T, admin *pgxpool.Pool, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		var there bool
		require.NoError(t, admin.QueryRow(t.Context(), "select exists (select from pg_stat_activity where pid = $1) from pg_sleep(0.005)", pid).Scan(&there))
		if !there {
			return
		}
		require.True(t, time.Now().Before(deadline), "the session lives on: %s", txntest.Sessions(t.Context(), admin))
	}
}

// Whichever statement around the handover the server refuses, the session keeps nothing and
// the connection goes on.
func TestNothingIsLeftWhenAStepFails(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	p := txntest.NewProxy(t, f.AppURL())
	pc := poolConfig(t, p.URL())
	pc.MaxConns = 1
	d := openConfig(t, pc)
	opts := txn.Options{
		Isolation: txn.RepeatableRead, LockTimeout: time.Minute, DeferConstraints: true,
		Locks: []txn.Key{txn.NewKey("a"), txn.NewKey("b"), txn.NewKey("c").Shared()},
	}
	pid := backend(t, d)
	for _, step := range []string{
		"set local lock_timeout",
		"select pg_advisory_lock($1)",
		"select pg_advisory_lock_shared($1)",
		"commit",
		"begin isolation level repeatable read read write",
		"set constraints all deferred",
		"select pg_advisory_xact_lock($1), pg_advisory_unlock($1)",
		"select pg_advisory_xact_lock_shared($1), pg_advisory_unlock_shared($1)",
		"insert into notes",
	} {
		for _, queued := range []bool{false, true} {
			refused := p.Arm(faultproxy.Fault{SQL: "^" + regexp.QuoteMeta(step), Do: faultproxy.Fail{SQLState: "42501"}})
			err := txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
				if queued {
					tx.Queue("insert into notes (body) values ('undone')")
					return nil
				}
				_, err := tx.Exec(ctx, "insert into notes (body) values ('undone')")
				return err
			})
			require.Equal(t, "42501", txn.SQLState(err), "%s: %v", step, err)
			require.Equal(t, 1, refused.Fired(), step)
			require.Empty(t, held(t, admin), step)
			require.Equal(t, pid, backend(t, d), "%s: the connection survives", step)
		}
	}
	require.Empty(t, f.notes(t))

	// The server's own refusal of a value, between BEGIN and the handover.
	opts.Settings = map[string]string{"work_mem": "nonsense"}
	err := txn.WithTx(t.Context(), d, opts, writes("undone"))
	require.Equal(t, "22023", txn.SQLState(err))
	require.Empty(t, held(t, admin))

	// A session that ends while it waits: another one waits in its place.
	opts.Settings = nil
	result := make(chan error, 1)
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Locks: opts.Locks[:1]}, func(ctx context.Context, holder *txn.Tx) error {
		require.NoError(t, touch(ctx, holder))
		go func() { result <- txn.WithTx(t.Context(), d, opts, writes("kept")) }()
		txntest.WaitBlocked(t, admin, pid)
		_, err := admin.Exec(ctx, "select pg_terminate_backend($1)", pid)
		require.NoError(t, err)
		waitGone(t, admin, pid)
		return nil
	}))
	require.NoError(t, <-result)
	require.Empty(t, held(t, admin))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

// Retried, the next attempt takes the locks anew.
func TestLocksOfARepeatedAttempt(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
		runs := 0
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Isolation: isolation, Locks: []txn.Key{txn.NewKey("a")}}, func(ctx context.Context, tx *txn.Tx) error {
			require.Len(t, held(t, tx), 1)
			if runs++; runs < 3 {
				return fail(ctx, tx, "40001")
			}
			return nil
		}))
		require.Empty(t, held(t, f.Admin(t)))
	}
}

func TestLocksOfAJoinedCall(t *testing.T) {
	f := setup(t, txn.Config{})
	a, b := txn.NewKey("a"), txn.NewKey("b")
	join := func(outer, inner txn.Options, fn func(context.Context, *txn.Tx) error) error {
		return txn.WithTx(t.Context(), f.db, outer, func(ctx context.Context, tx *txn.Tx) error { return txn.WithTx(ctx, tx, inner, fn) })
	}
	count := func(n int) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error {
			require.Len(t, held(t, tx), n)
			return nil
		}
	}
	require.NoError(t, join(txn.Options{}, txn.Options{Locks: []txn.Key{a, b}}, count(2)))
	require.NoError(t, join(txn.Options{Locks: []txn.Key{a}}, txn.Options{Locks: []txn.Key{a, b}}, count(2)))
	for _, isolation := range []txn.Isolation{txn.RepeatableRead, txn.Serializable} {
		outer := txn.Options{Isolation: isolation, Locks: []txn.Key{a, b.Shared()}}
		err := join(outer, txn.Options{Locks: []txn.Key{txn.NewKey("c")}}, nothing)
		require.ErrorIs(t, err, txn.ErrOptionsConflict)
		require.ErrorContains(t, err, "Locks")
		require.ErrorIs(t, join(outer, txn.Options{Locks: []txn.Key{b}}, nothing), txn.ErrOptionsConflict, "held, but shared")
		for _, locks := range [][]txn.Key{{a}, {a.Shared()}, {b.Shared(), a}} {
			require.NoError(t, join(outer, txn.Options{Locks: locks}, count(2)), "held since before the snapshot")
		}
	}
	require.Empty(t, held(t, f.Admin(t)))

	// The inner call's lock timeout holds for its locks, the outer one's afterwards.
	d := poolOfOne(t, f, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Locks: []txn.Key{a}}, func(ctx context.Context, holder *txn.Tx) error {
		require.NoError(t, touch(ctx, holder))
		return txn.WithTx(txn.Detach(ctx), d, txn.Options{LockTimeout: time.Minute}, func(ctx context.Context, tx *txn.Tx) error {
			patience, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			err := tx.Savepoint(patience, func(ctx context.Context, tx *txn.Tx) error {
				return txn.WithTx(ctx, tx, txn.Options{Locks: []txn.Key{a}, LockTimeout: 10 * time.Millisecond}, touch)
			})
			require.ErrorIs(t, err, txn.ErrLockNotAvailable)
			require.Equal(t, "1min", ask[string](t, ctx, tx, "show lock_timeout"))
			return nil
		})
	}))
}

// A session that waits for a lock is seen under its transaction's name, and under its
// limits.
func TestWaitingSessionIsLabelled(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	d := poolOfOne(t, f, txn.Config{LabelAppName: true})
	pid := backend(t, d)
	key := txn.NewKey("a")
	for _, isolation := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
		result := make(chan error, 1)
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Locks: []txn.Key{key}}, func(ctx context.Context, holder *txn.Tx) error {
			require.NoError(t, touch(ctx, holder))
			go func() {
				opts := txn.Options{Label: "wait for a", Isolation: isolation, Locks: []txn.Key{key}}
				result <- txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error { return touch(ctx, tx) })
			}()
			txntest.WaitBlocked(t, admin, pid)
			var name string
			require.NoError(t, admin.QueryRow(ctx, "select application_name from pg_stat_activity where pid = $1", pid).Scan(&name))
			require.Equal(t, "wait for a", name)
			return nil
		}))
		require.NoError(t, <-result)
	}
}

// FuzzLocks: whatever keys are asked for, in whatever order and form, the transaction holds
// each name once, in its strongest form, and afterwards the session holds nothing.
func FuzzLocks(f *testing.F) {
	f.Add([]byte{}, byte(0), false)
	f.Add([]byte{3, 1, 2, 1}, byte(0), false)
	f.Add([]byte{3, 11, 3, 11}, byte(1), true) // one name in both forms
	f.Add([]byte{8, 0, 9, 2, 10, 4}, byte(2), false)
	x := setupFuzz(f, txn.Config{}, func(cfg *pgxpool.Config) { cfg.MaxConns = 1 })
	const held = "select mode from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() order by mode"
	f.Fuzz(func(t *testing.T, list []byte, level byte, undone bool) {
		list = list[:min(len(list), 32)]
		keys := make([]txn.Key, len(list))
		strongest := map[byte]string{}
		for i, b := range list {
			keys[i] = txn.NewKey("fuzz", b&7)
			if shared := b&8 != 0; !shared {
				strongest[b&7] = "ExclusiveLock"
			} else if keys[i] = keys[i].Shared(); strongest[b&7] == "" {
				strongest[b&7] = "ShareLock"
			}
		}
		want := slices.Sorted(maps.Values(strongest))
		opts := txn.Options{Locks: keys, Isolation: txn.ReadCommitted + txn.Isolation(level%3)}
		err := txn.WithTx(t.Context(), x.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			rows, err := tx.Query(ctx, held)
			require.NoError(t, err)
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			require.ElementsMatch(t, want, got)
			if undone {
				return errBusiness
			}
			return nil
		})
		if undone {
			require.ErrorIs(t, err, errBusiness)
		} else {
			require.NoError(t, err)
		}
		rows, err := x.db.Pool().Query(t.Context(), held)
		require.NoError(t, err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Empty(t, got)
	})
}
