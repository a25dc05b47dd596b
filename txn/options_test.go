package txn_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

func TestIsolationReachesTheServer(t *testing.T) {
	f := setup(t, txn.Config{})
	_, err := f.Admin(t).Exec(t.Context(), `do $$ begin
		execute format('alter database %I set default_transaction_isolation = serializable', current_database()); end $$`)
	require.NoError(t, err)
	repeatable := txn.New(f.db.Pool(), txn.Config{Options: txn.Options{Isolation: txn.RepeatableRead}})
	for _, c := range []struct {
		db   *txn.DB
		ask  txn.Isolation
		want string
	}{
		{f.db, txn.IsolationUnspecified, "read committed"},
		{f.db, txn.ReadUncommitted, "read uncommitted"},
		{f.db, txn.RepeatableRead, "repeatable read"},
		{f.db, txn.Serializable, "serializable"},
		{repeatable, txn.IsolationUnspecified, "repeatable read"},
		{repeatable, txn.ReadCommitted, "read committed"},
	} {
		require.NoError(t, txn.WithTx(t.Context(), c.db, txn.Options{Isolation: c.ask}, func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, c.want, ask[string](t, ctx, tx, "show transaction_isolation"))
			require.Equal(t, "off", ask[string](t, ctx, tx, "show transaction_read_only"))
			return nil
		}))
		require.NoError(t, txn.WithReadTx(t.Context(), c.db, txn.Options{Isolation: c.ask}, func(ctx context.Context, rx *txn.ReadTx) error {
			require.Equal(t, c.want, ask[string](t, ctx, rx, "show transaction_isolation"))
			require.Equal(t, "on", ask[string](t, ctx, rx, "show transaction_read_only"))
			return nil
		}))
	}
}

// PostgreSQL has no dirty reads, whatever the level is called.
func TestReadUncommittedSeesNothingDirty(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, writer *txn.Tx) error {
		_, err := writer.Exec(ctx, "update accounts set balance = 0")
		require.NoError(t, err)
		return txn.WithReadTx(txn.Detach(ctx), f.db, txn.Options{Isolation: txn.ReadUncommitted}, func(ctx context.Context, rx *txn.ReadTx) error {
			require.EqualValues(t, 4000, ask[int64](t, ctx, rx, "select sum(balance)::bigint from accounts"))
			return nil
		})
	}))
}

func TestDeferrableReads(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithReadTx(t.Context(), f.db, txn.Options{Isolation: txn.Serializable, Deferrable: true}, func(ctx context.Context, rx *txn.ReadTx) error {
		require.Equal(t, "on", ask[string](t, ctx, rx, "show transaction_deferrable"))
		return nil
	}))
}

// Settings end with the transaction: the next borrower of the connection sees the server's.
func TestSettingsDoNotLeakToThePool(t *testing.T) {
	f := setup(t, txn.Config{})
	names := []string{"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "synchronous_commit"}
	read := func(opts txn.Options, fail bool) (pid int, got []string) {
		_ = txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
			for _, name := range names {
				got = append(got, ask[string](t, ctx, tx, "select current_setting($1)", name))
			}
			if fail {
				return errBusiness
			}
			return nil
		})
		return pid, got
	}
	before, defaults := read(txn.Options{}, false)
	opts := txn.Options{
		LockTimeout: 1500 * time.Millisecond, StatementTimeout: 1500 * time.Microsecond, IdleTimeout: time.Minute,
		SynchronousCommit: txn.SyncOff,
	}
	opts.StatementTimeout = 2500 * time.Millisecond
	for _, fail := range []bool{false, true} {
		pid, got := read(opts, fail)
		require.Equal(t, before, pid, "the test is about one connection")
		require.Equal(t, []string{"1500ms", "2500ms", "1min", "off"}, got)
		_, got = read(txn.Options{}, false)
		require.Equal(t, defaults, got)
	}
}

func TestLockTimeout(t *testing.T) {
	f := setup(t, txn.Config{})
	holder, err := f.Admin(t).Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(t.Context()) }()
	_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
	require.NoError(t, err)
	for name, sql := range map[string]string{"timeout": "for update", "nowait": "for update nowait"} {
		runs := 0
		err = txn.WithTx(t.Context(), f.db, txn.Options{LockTimeout: 10 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			_, err := tx.Exec(ctx, "select from accounts where id = 1 "+sql)
			return err
		})
		require.ErrorIs(t, err, txn.ErrLockNotAvailable, name)
		require.Equal(t, "55P03", txn.SQLState(err))
		require.Equal(t, 1, runs)
	}
}

func TestOptionsThatCannotBeRight(t *testing.T) {
	f := setup(t, txn.Config{})
	for field, opts := range map[string]txn.Options{
		"Isolation":         {Isolation: 17},
		"Deferrable":        {Deferrable: true},
		"LockTimeout":       {LockTimeout: -1},
		"StatementTimeout":  {StatementTimeout: 25 * 24 * time.Hour},
		"IdleTimeout":       {IdleTimeout: -time.Second},
		"Timeout":           {Timeout: -time.Second},
		"SynchronousCommit": {SynchronousCommit: "off'; drop table accounts; --"},
		"MaxAttempts":       {MaxAttempts: -1},
		"RetryAlso":         {RetryAlso: []string{"57014"}},
	} {
		for name, run := range map[string]func() error{
			"call": func() error { return txn.WithTx(t.Context(), f.db, opts, nothing) },
			"joined": func() error {
				return txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					return txn.WithTx(ctx, tx, opts, nothing)
				})
			},
			"config": func() error {
				return txn.WithTx(t.Context(), txn.New(f.db.Pool(), txn.Config{Options: opts}), txn.Options{}, nothing)
			},
		} {
			wrong, ok := errors.AsType[*txn.OptionsError](run())
			require.True(t, ok, "%s %s", field, name)
			require.Contains(t, wrong.Field, field)
		}
	}
	_, err := txn.Open(t.Context(), f.AppURL(), txn.Config{BaseDelay: -1})
	require.ErrorContains(t, err, "BaseDelay")
}

// While a connection string cannot be parsed nobody knows where in it the password is.
func TestNoPasswordInErrors(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://user:sec@ret@host:port/db",
		"postgres://user:sec/ret@host:99999999/db",
		"postgres://user:%Secret@host/db",
		"postgres://host/db?password=secret&sslmode=nonsense",
		"host=x password=secret port=abc",
		"host=x password='secret sslmode=nonsense",
		"postgres://user:secret@host:0/db?connect_timeout=x",
		"postgres://user:12/secret@127.0.0.1:1/db",
	} {
		_, err := txn.Open(t.Context(), dsn, txn.Config{})
		require.Error(t, err, dsn)
		require.NotContains(t, err.Error(), "secret", dsn)
		require.NotContains(t, err.Error(), "sec", dsn)
		require.NotContains(t, err.Error(), "ret@", dsn)
	}
}

// FuzzLimits: a limit is refused, or is what the server then has, in milliseconds, rounded up.
func FuzzLimits(f *testing.F) {
	for _, d := range []time.Duration{0, -1, 1, time.Millisecond, time.Second + 1, time.Hour, math.MaxInt32 * time.Millisecond, math.MaxInt64, math.MinInt64} {
		f.Add(int64(d), int64(d), int64(d), int64(d))
	}
	x := setupFuzz(f, txn.Config{})
	f.Fuzz(func(t *testing.T, lock, statement, idle, all int64) {
		limits := map[string]time.Duration{
			"lock_timeout": time.Duration(lock), "statement_timeout": time.Duration(statement),
			"idle_in_transaction_session_timeout": time.Duration(idle), "": time.Duration(all),
		}
		refuse := false
		for name, d := range limits {
			if d > 0 && d < time.Minute && name != "lock_timeout" {
				limits[name] += time.Minute // so that it does not end this very transaction
			}
			refuse = refuse || d < 0 || limits[name] > (math.MaxInt32-1000)*time.Millisecond
		}
		opts := txn.Options{
			LockTimeout: limits["lock_timeout"], StatementTimeout: limits["statement_timeout"],
			IdleTimeout: limits["idle_in_transaction_session_timeout"], Timeout: limits[""],
		}
		err := txn.WithTx(t.Context(), x.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			for name, d := range limits {
				if name == "" {
					continue
				}
				got := ask[int64](t, ctx, tx, "select setting::bigint from pg_settings where name = $1", name)
				want := int64((d + time.Millisecond - 1) / time.Millisecond)
				if all := limits[""]; name != "lock_timeout" && all > 0 && x.Server().VersionNum() < 170000 {
					if most := int64((all + time.Second + time.Millisecond - 1) / time.Millisecond); want == 0 || want > most {
						want = most
					}
				}
				require.Equal(t, want, got, "%s = %s, Timeout = %s", name, d, limits[""])
			}
			return nil
		})
		_, refused := errors.AsType[*txn.OptionsError](err)
		require.Equal(t, refuse, refused, "%v: %v", limits, err)
		if !refuse {
			require.NoError(t, err)
		}
	})
}
