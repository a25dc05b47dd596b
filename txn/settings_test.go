package txn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Rule: what Options set holds for the transaction alone; the next borrower of the
// connection sees the server's settings.

// settingNames are those that Options and Config have fields for, and some of Settings.
var settingNames = []string{
	"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout",
	"synchronous_commit", "application_name", "work_mem", "timezone", "app.tenant", "app.user",
}

// settingsOf are the values that the session has now, "" for those it does not know.
func settingsOf(t *testing.T, ctx context.Context, r txn.Reads) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range settingNames {
		values[name] = ask[string](t, ctx, r, "select coalesce(current_setting($1, true), '')", name)
	}
	return values
}

func TestSettingsHoldForTheTransactionAlone(t *testing.T) {
	f := setup(t, txn.Config{})
	d := poolOfOne(t, f, txn.Config{LabelAppName: true})
	var defaults map[string]string
	pid := 0
	look := func() (now map[string]string) {
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
			now = settingsOf(t, ctx, tx)
			// Nor are constraints deferred any more.
			require.Equal(t, "23505", txn.SQLState(tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "insert into lines (seat) values (1), (1)")
				return err
			})))
			return nil
		}))
		return now
	}
	defaults = look()
	session := pid
	want := map[string]string{
		"lock_timeout": "1500ms", "statement_timeout": "45s", "idle_in_transaction_session_timeout": "50s",
		"transaction_timeout": "", "synchronous_commit": "off", "application_name": "account: transfer",
		"work_mem": "12345kB", "timezone": "Asia/Tokyo", "app.tenant": "a", "app.user": "u",
	}
	if f.Server().VersionNum() >= 170000 {
		want["transaction_timeout"] = "61s"
	}
	opts := txn.Options{
		Label: "account: transfer", LockTimeout: 1500 * time.Millisecond, StatementTimeout: 45 * time.Second,
		IdleTimeout: 50 * time.Second, Timeout: time.Minute, SynchronousCommit: txn.SyncOff, DeferConstraints: true,
		MaxAttempts: 1,
		Settings:    map[string]string{"work_mem": "12345kB", "TimeZone": "Asia/Tokyo", "app.tenant": "a", "App.User": "u"},
	}
	for name, end := range map[string]func(context.Context, *txn.Tx) error{
		"commit":         func(ctx context.Context, tx *txn.Tx) error { return nil },
		"rollback":       func(ctx context.Context, tx *txn.Tx) error { return errBusiness },
		"server error":   func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "23505") },
		"commit failing": func(ctx context.Context, tx *txn.Tx) error { tx.Queue("select fail('23505')"); return nil },
		"panic":          func(ctx context.Context, tx *txn.Tx) error { panic("boom") },
		"Goexit":         func(ctx context.Context, tx *txn.Tx) error { runtime.Goexit(); return nil },
		"cancel": func(ctx context.Context, tx *txn.Tx) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			_, err := tx.Exec(ctx, "select pg_sleep(60)")
			return err
		},
		"set in a savepoint": func(ctx context.Context, tx *txn.Tx) error {
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "set local work_mem = '1MB'")
				return err
			})
		},
	} {
		elsewhere(func() {
			defer func() { _ = recover() }()
			_ = txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
				require.Equal(t, want, settingsOf(t, ctx, tx), name)
				_, err := tx.Exec(ctx, "insert into lines (seat) values (1), (1)")
				require.NoError(t, err, "constraints are deferred")
				_, err = tx.Exec(ctx, "delete from lines")
				require.NoError(t, err)
				return end(ctx, tx)
			})
		})
		require.Equal(t, defaults, look(), name)
		require.Equal(t, session, pid, "%s: the test is about one connection", name)
	}
	require.NoError(t, txn.WithReadTx(t.Context(), d, opts, func(ctx context.Context, rx *txn.ReadTx) error {
		require.Equal(t, want, settingsOf(t, ctx, rx))
		return nil
	}))
	require.Equal(t, defaults, look())
}

// Nothing may take the snapshot before the locks are held, nor wait without its limits; the
// rest has an order so that it is one text for the same options.
func TestOrderOfWhatBelongsToBegin(t *testing.T) {
	f := setup(t, txn.Config{})
	tr := &queryTracer{}
	pc, err := pgxpool.ParseConfig(f.AppURL())
	require.NoError(t, err)
	pc.MaxConns = 1
	pc.ConnConfig.Tracer = tr
	d := openConfig(t, pc, txn.Config{LabelAppName: true, ResolveCommits: txn.ResolveNever})
	backend(t, d) // the server's version is known from now on
	limits := []string{
		"set local transaction_timeout = 61000", "set local lock_timeout = 1000", "set local statement_timeout = 2000",
		"set local idle_in_transaction_session_timeout = 3001", "set local application_name = E'transfer'",
	}
	if f.Server().VersionNum() < 170000 {
		limits = limits[1:]
	}
	rest := []string{
		"set local synchronous_commit = off", "set constraints all deferred",
		`set local "app"."a" = E'1'`, `set local "app"."b" = E'2'`,
	}
	join := func(parts ...[]string) (all []string) {
		for _, part := range parts {
			all = append(all, part...)
		}
		return all
	}
	for _, c := range []struct {
		isolation txn.Isolation
		want      []string
	}{
		{txn.ReadCommitted, join(
			[]string{"begin isolation level read committed read write"}, limits, rest,
			[]string{"select pg_advisory_xact_lock($1)", "select pg_advisory_xact_lock_shared($1)"},
		)},
		{txn.Serializable, join(
			[]string{"begin"}, limits, []string{"select pg_advisory_lock($1)", "select pg_advisory_lock_shared($1)", "commit"},
			[]string{"begin isolation level serializable read write"}, limits, rest,
			[]string{
				"select pg_advisory_xact_lock($1), pg_advisory_unlock($1)",
				"select pg_advisory_xact_lock_shared($1), pg_advisory_unlock_shared($1)",
			},
		)},
	} {
		tr.take(t)
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{
			Label: "transfer", Isolation: c.isolation, Timeout: time.Minute, LockTimeout: time.Second,
			StatementTimeout: 2 * time.Second, IdleTimeout: 3*time.Second + time.Microsecond,
			SynchronousCommit: txn.SyncOff, DeferConstraints: true,
			Settings: map[string]string{"app.b": "2", "app.a": "1"},
			Locks:    []txn.Key{txn.NewKey("b").Shared(), txn.NewKey("a")},
		}, touch))
		require.Equal(t, append(c.want, "select 1", "commit"), tr.take(t))
	}
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, touch))
	require.Equal(t, []string{"begin isolation level read committed read write", "select 1", "commit"}, tr.take(t), "nothing asked for, nothing sent")
}

func TestSynchronousCommitValues(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, value := range []txn.SynchronousCommit{txn.SyncOff, txn.SyncLocal, txn.SyncRemoteWrite, txn.SyncOn, txn.SyncRemoteApply} {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{SynchronousCommit: value}, func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, string(value), ask[string](t, ctx, tx, "show synchronous_commit"))
			return nil
		}))
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, settings := range []map[string]string{
		{"search_path": "x"}, {"SEARCH_PATH": "x"}, {"role": "postgres"}, {"Role": "none"}, {"session_authorization": "x"},
		{"lock_timeout": "1s"}, {"statement_timeout": "0"}, {"Statement_Timeout": "0"}, {"transaction_timeout": "1"},
		{"idle_in_transaction_session_timeout": "1"}, {"transaction_isolation": "serializable"},
		{"transaction_read_only": "off"}, {"transaction_deferrable": "on"}, {"synchronous_commit": "off"},
		{"standard_conforming_strings": "off"}, {"client_encoding": "SJIS"},
		{"": "x"}, {".": "x"}, {"a.": "x"}, {".a": "x"}, {"1a.b": "x"}, {"app.ten ant": "x"}, {"app.tenant\n": "x"},
		{"app.tenant = 'x'; drop table notes; --": "x"}, {`app"."tenant`: "x"}, {"app.täst": "x"}, {"app.x\x00": "x"},
		{"time zone": "UTC"}, {"session app.tenant": "x"}, {"app." + strings.Repeat("x", 60): "x"},
		{"app.tenant": "a\x00b"}, {"app.tenant": "\xff"},
		{"app.tenant": "a", "APP.tenant": "b"},
	} {
		for name, run := range map[string]func() error{
			"call": func() error { return txn.WithTx(t.Context(), f.db, txn.Options{Settings: settings}, nothing) },
			"config": func() error {
				d := txn.New(f.db.Pool(), txn.Config{Options: txn.Options{Settings: settings}})
				return txn.WithTx(t.Context(), d, txn.Options{}, nothing)
			},
			"SettingsFrom": func() error {
				d := txn.New(f.db.Pool(), txn.Config{SettingsFrom: func(context.Context) map[string]string { return settings }})
				return txn.WithReadTx(t.Context(), d, txn.Options{}, func(context.Context, *txn.ReadTx) error { return nil })
			},
			"autocommit": func() error {
				d := txn.New(f.db.Pool(), txn.Config{SettingsFrom: func(context.Context) map[string]string { return settings }})
				return sqlcbind.AutocommitRead(d).QueryRow(t.Context(), "select 1").Scan(new(int))
			},
		} {
			wrong, ok := errors.AsType[*txn.OptionsError](run())
			require.True(t, ok, "%s %q", name, settings)
			require.Contains(t, wrong.Field, "Settings")
		}
	}
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

// What the server refuses fails the first statement, and says so.
func TestSettingsThatTheServerRefuses(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct{ value, state string }{
		"work_mem":            {"nonsense", "22023"},
		"no_such_setting":     {"x", "42704"},
		"log_statement":       {"none", "42501"},
		"max_connections":     {"1", "55P02"},
		"timezone":            {"Mars/Olympus Mons", "22023"},
		"session_replication": {"x", "42704"},
	} {
		opts := txn.Options{Settings: map[string]string{name: c.value}}
		err := txn.WithTx(t.Context(), f.db, opts, writes("undone"))
		require.Equal(t, c.state, txn.SQLState(err), name)
		_, err = sqlcbind.Autocommit(txn.New(f.db.Pool(), txn.Config{Options: opts})).Exec(t.Context(), "insert into notes (body) values ($1)", "undone")
		require.Equal(t, c.state, txn.SQLState(err), name)
	}
	require.Empty(t, f.notes(t))
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
	require.EqualValues(t, 1, f.db.Pool().Stat().NewConnsCount(), "the connection survives")
}

// Words of SQL are names, too.
func TestSettingsNamedByReservedWords(t *testing.T) {
	f := setup(t, txn.Config{})
	settings := map[string]string{}
	for _, word := range []string{"user", "order", "table", "end", "default", "select", "current_user", "all", "role", "local"} {
		settings["app."+word] = word
		settings[word+".app"] = word
	}
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Settings: settings}, func(ctx context.Context, tx *txn.Tx) error {
		for name, want := range settings {
			require.Equal(t, want, ask[string](t, ctx, tx, "select current_setting($1)", name))
		}
		return nil
	}))
}

var hostileValues = []string{
	"", " ", "'", "''", `\`, `\\`, `\'`, `'\''`, `\\'; drop table notes; --`, `'; drop table notes; --`,
	"a\nb", "a\r\nb", "\t", "$$", "$1", "E'x'", "{}", "ü€𝄞", "\u202e", "\u00a0", `\u0041`, `\x41`, `\101`, `\n`,
	"--", "/*", "*/", ";", `"`, "default", "null", "%s%d", strings.Repeat("x", 10_000), strings.Repeat(`\'`, 1000),
	"\x01\x02\x7f", "\ufeff", "\ufffd",
}

// Values arrive as they were given, whatever they are made of, on a role for which a
// backslash in an ordinary literal is an escape, and in every way that statements are sent.
func TestHostileSettingValues(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, conforming := range []string{"on", "off"} {
		_, err := f.Admin(t).Exec(t.Context(), fmt.Sprintf(`do $$ begin
			execute format('alter role interlock_app in database %%I set standard_conforming_strings = %s', current_database()); end $$`, conforming))
		require.NoError(t, err)
		for _, mode := range execModes {
			if mode == pgx.QueryExecModeSimpleProtocol && conforming == "off" {
				continue // pgx refuses it
			}
			pc, err := pgxpool.ParseConfig(f.AppURL())
			require.NoError(t, err)
			pc.ConnConfig.DefaultQueryExecMode = mode
			pc.MaxConns = 1
			var value string
			d := openConfig(t, pc, txn.Config{SettingsFrom: func(context.Context) map[string]string { return map[string]string{"app.tenant": value} }})
			for _, value = range hostileValues {
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Settings: map[string]string{"app.other": value}}, func(ctx context.Context, tx *txn.Tx) error {
					require.Equal(t, conforming, ask[string](t, ctx, tx, "show standard_conforming_strings"))
					require.Equal(t, value, ask[string](t, ctx, tx, "select current_setting('app.tenant')"), "%s", mode)
					require.Equal(t, value, ask[string](t, ctx, tx, "select current_setting('app.other')"), "%s", mode)
					return nil
				}), "%q", value)
				var got string
				require.NoError(t, sqlcbind.AutocommitRead(d).QueryRow(t.Context(), "select current_setting('app.tenant')").Scan(&got))
				require.Equal(t, value, got, "%s", mode)
			}
			d.Close()
		}
	}
	require.Empty(t, f.notes(t), "the table is there")
}

// In some encodings a character's second byte may be a backslash, which then escapes
// nothing: UTF-8 that is taken for such an encoding would be read as another value.
func TestSettingsInAnUnsafeEncoding(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, encoding := range []string{"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"} {
		pc, err := pgxpool.ParseConfig(f.AppURL())
		require.NoError(t, err)
		pc.ConnConfig.RuntimeParams["client_encoding"] = encoding
		d := openConfig(t, pc)
		// "ā" ends in the byte 0x81, which begins a character of two bytes.
		opts := txn.Options{Settings: map[string]string{"app.tenant": `ā\', "app"."tenant" = 'b`}}
		err = txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error { return touch(ctx, tx) })
		_, ok := errors.AsType[*txn.OptionsError](err)
		require.True(t, ok, "%v", err)
		_, err = sqlcbind.Autocommit(txn.New(d.Pool(), txn.Config{Options: opts})).Exec(t.Context(), "select 1")
		_, ok = errors.AsType[*txn.OptionsError](err)
		require.True(t, ok, "%v", err)
		require.Zero(t, d.Pool().Stat().AcquiredConns())
		opts.Settings["app.tenant"] = `ascii \'`
		require.NoError(t, txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, `ascii \'`, ask[string](t, ctx, tx, "select current_setting('app.tenant')"))
			return nil
		}))
	}
}

// Settings go over one another by name: those of the call over the Config's, these over
// what SettingsFrom returns.
func TestSettingsPrecedence(t *testing.T) {
	f := setup(t, txn.Config{})
	d := txn.New(f.db.Pool(), txn.Config{
		SettingsFrom: func(context.Context) map[string]string {
			return map[string]string{"app.a": "from", "app.b": "from", "app.c": "from"}
		},
		Options: txn.Options{Settings: map[string]string{"app.b": "config", "app.c": "config"}},
	})
	given := map[string]string{"app.c": "call"}
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Settings: given}, func(ctx context.Context, tx *txn.Tx) error {
		for name, want := range map[string]string{"app.a": "from", "app.b": "config", "app.c": "call"} {
			require.Equal(t, want, ask[string](t, ctx, tx, "select current_setting($1)", name))
		}
		// A joined call may ask for what the transaction has, however it got it.
		require.NoError(t, txn.WithTx(ctx, tx, txn.Options{Settings: map[string]string{"app.a": "from"}}, nothing))
		require.ErrorIs(t, txn.WithTx(ctx, tx, txn.Options{Settings: map[string]string{"app.a": "other"}}, nothing), txn.ErrOptionsConflict)
		require.ErrorIs(t, txn.WithTx(ctx, tx, txn.Options{Settings: map[string]string{"app.d": ""}}, nothing), txn.ErrOptionsConflict)
		return nil
	}))
	require.Equal(t, map[string]string{"app.c": "call"}, given, "the caller's map is the caller's")
}

// A session setting in a text would be the next borrower's: on the pool it is refused, and
// after a transaction the connection is given up.
func TestSessionSettingsAsText(t *testing.T) {
	f := setup(t, txn.Config{})
	d := poolOfOne(t, f, txn.Config{})
	for _, sql := range []string{
		"set app.tenant = 'leaked'", "SET SESSION app.tenant = 'leaked'", " -- c\nset app.tenant to 'leaked'",
		"reset app.tenant", "discard all",
	} {
		for _, settings := range []map[string]string{nil, {"app.other": "x"}} {
			a := sqlcbind.Autocommit(txn.New(d.Pool(), txn.Config{Options: txn.Options{Settings: settings}}))
			_, err := a.Exec(t.Context(), sql)
			require.Error(t, err, sql)
			require.Empty(t, txn.SQLState(err), "it was not sent")
			b := &pgx.Batch{}
			b.Queue("select 1")
			b.Queue(sql)
			require.Error(t, a.SendBatch(t.Context(), b).Close(), sql)
		}
	}
	pid := backend(t, d)
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "set app.tenant = 'leaked'")
		return err
	}))
	require.NotEqual(t, pid, backend(t, d))
	var tenant string
	require.NoError(t, sqlcbind.AutocommitRead(d).QueryRow(t.Context(), "select coalesce(current_setting('app.tenant', true), '')").Scan(&tenant))
	require.Empty(t, tenant)
}

// tenants is a table whose rows belong to tenants, which even its owner sees only as one of
// them.
var tenants = txntest.SQL(`
	create table rows (tenant text not null, body text not null)`, `
	alter table rows enable row level security`, `
	alter table rows force row level security`, `
	create policy own on rows using (tenant = nullif(current_setting('app.tenant', true), ''))`, `
	create function add(who text) returns void language sql as
	$$ select set_config('app.tenant', who, true); insert into rows values (who, 'first') $$`, `
	select add('a')`, `
	select add('b')`)

type tenantKey struct{}

// Two tenants share a pool of one connection with calls that name none, and each sees its
// own rows, whatever becomes of the calls before: those without a tenant see nothing.
func TestTenantsOnOneConnection(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, tenants)
	f := &fixture{Database: database}
	d := poolOfOne(t, f, txn.Config{
		LabelAppName: true, AcquireTimeout: time.Minute,
		SettingsFrom: func(ctx context.Context) map[string]string {
			if tenant, ok := ctx.Value(tenantKey{}).(string); ok {
				return map[string]string{"app.tenant": tenant}
			}
			return nil
		},
	})
	const rounds, goroutines = 10_000, 4
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var all sync.WaitGroup
	var mu sync.Mutex
	kinds := map[string]int{}
	for g := range goroutines {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			for range rounds / goroutines {
				tenant := []string{"a", "b", ""}[r.IntN(3)]
				ctx := t.Context()
				if tenant != "" {
					ctx = context.WithValue(ctx, tenantKey{}, tenant)
				}
				c := &tenantCall{t: t, d: d, tenant: tenant, r: r}
				kind := tenantKinds[r.IntN(len(tenantKinds))]
				elsewhere(func() {
					defer func() { _ = recover() }()
					kind.run(c, ctx)
				})
				mu.Lock()
				if c.seen {
					kinds[kind.name]++
				}
				wrong := c.wrong
				mu.Unlock()
				if wrong != "" {
					t.Errorf("%s as %q: %s", kind.name, tenant, wrong)
					return
				}
			}
		})
	}
	all.Wait()
	require.Len(t, kinds, len(tenantKinds), "all have looked: %v", kinds)
	require.Less(t, d.Pool().Stat().NewConnsCount(), int64(rounds/100), "few cancellations cost the connection: it had many users")
}

// A tenantCall is one call of the test, and what it saw.
type tenantCall struct {
	t      *testing.T
	d      *txn.DB
	tenant string
	r      *rand.Rand
	seen   bool
	wrong  string
}

const tenantsSQL = "select coalesce(string_agg(distinct tenant, ' '), '') from rows"

// look notes whose rows are seen.
func (c *tenantCall) look(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) {
	var who string
	if err := q.QueryRow(ctx, tenantsSQL).Scan(&who); err != nil {
		c.wrong = err.Error()
		return
	}
	c.saw(who)
}

func (c *tenantCall) saw(who string) {
	c.seen = true
	if who != c.tenant {
		c.wrong = fmt.Sprintf("saw the rows of %q", who)
	}
}

// add writes a row, as the tenant may and nobody else: then the error is the row security's.
func (c *tenantCall) add(ctx context.Context, tx *txn.Tx) error {
	_, err := tx.Exec(ctx, "insert into rows values ($1, 'another')", c.tenant)
	switch {
	case c.tenant != "" && err != nil:
		c.wrong = err.Error()
	case c.tenant == "" && txn.SQLState(err) != "42501":
		c.wrong = fmt.Sprintf("insert without a tenant: %v", err)
	}
	return err
}

var tenantKinds = []struct {
	name string
	run  func(*tenantCall, context.Context)
}{
	{"commit", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{Label: "commit"}, func(ctx context.Context, tx *txn.Tx) error { c.look(ctx, tx); return nil })
	}},
	{"write and roll back", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			c.look(ctx, tx)
			_ = c.add(ctx, tx)
			return errBusiness
		})
	}},
	{"read", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithReadTx(ctx, c.d, txn.Options{Isolation: txn.RepeatableRead}, func(ctx context.Context, rx *txn.ReadTx) error { c.look(ctx, rx); return nil })
	}},
	{"panic", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { c.look(ctx, tx); panic("boom") })
	}},
	{"Goexit", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { c.look(ctx, tx); runtime.Goexit(); return nil })
	}},
	{"cancelled while a statement runs", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			c.look(ctx, tx)
			ctx, cancel := context.WithTimeout(ctx, time.Duration(c.r.IntN(2000))*time.Microsecond)
			defer cancel()
			_, err := tx.Exec(ctx, "select pg_sleep(60)")
			return err
		})
	}},
	{"cancelled while it waits", func(c *tenantCall, ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(c.r.IntN(20_000))*time.Microsecond)
		defer cancel()
		_ = txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			var who string
			err := tx.QueryRow(ctx, tenantsSQL).Scan(&who)
			if err == nil {
				c.saw(who)
			}
			return err
		})
	}},
	{"savepoint undone", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				c.look(ctx, tx)
				_ = c.add(ctx, tx)
				return errBusiness
			})
			c.look(ctx, tx)
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { c.look(ctx, tx); return nil })
		})
	}},
	{"queued", func(c *tenantCall, ctx context.Context) {
		var answer *txn.Pending[string]
		err := txn.WithTx(ctx, c.d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			answer = txn.QueueValue(tx, func(q txn.Querier) (who string, err error) {
				err = q.QueryRow(ctx, tenantsSQL).Scan(&who)
				return who, err
			})
			return nil
		})
		if who, verr := answer.Value(); err == nil && verr == nil {
			c.saw(who)
		}
	}},
	{"repeated", func(c *tenantCall, ctx context.Context) {
		_ = txn.WithTx(ctx, c.d, txn.Options{RetryAlso: []string{"22012"}}, func(ctx context.Context, tx *txn.Tx) error {
			c.look(ctx, tx)
			if tx.Attempt() == 1 {
				_, err := tx.Exec(ctx, "select 1 / 0")
				return err
			}
			return nil
		})
	}},
	{"autocommit read", func(c *tenantCall, ctx context.Context) { c.look(ctx, sqlcbind.AutocommitRead(c.d)) }},
	{"autocommit rows closed early", func(c *tenantCall, ctx context.Context) {
		rows, err := sqlcbind.Autocommit(c.d).Query(ctx, "select tenant from rows, generate_series(1, 1000)")
		if err != nil {
			c.wrong = err.Error()
			return
		}
		var who string
		if rows.Next() {
			_ = rows.Scan(&who)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			c.wrong = err.Error()
		}
		c.saw(who)
	}},
	{"autocommit batch", func(c *tenantCall, ctx context.Context) {
		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue(tenantsSQL)
		results := sqlcbind.AutocommitRead(c.d).SendBatch(ctx, b)
		var who string
		_, _ = results.Exec()
		if err := results.QueryRow().Scan(&who); err != nil {
			c.wrong = err.Error()
		}
		_ = results.Close()
		c.saw(who)
	}},
	{"autocommit write", func(c *tenantCall, ctx context.Context) {
		tag, err := sqlcbind.Autocommit(c.d).Exec(ctx, "update rows set body = 'changed' where tenant <> $1", c.tenant)
		if err != nil || tag.RowsAffected() != 0 {
			c.wrong = fmt.Sprintf("%s, %v", tag, err)
		}
		c.look(ctx, sqlcbind.Autocommit(c.d))
	}},
	{"autocommit error", func(c *tenantCall, ctx context.Context) {
		_, _ = sqlcbind.Autocommit(c.d).Exec(ctx, "select 1 / $1::int", 0)
		c.look(ctx, sqlcbind.AutocommitRead(c.d))
	}},
	{"autocommit cancelled", func(c *tenantCall, ctx context.Context) {
		limited, cancel := context.WithTimeout(ctx, time.Duration(c.r.IntN(2000))*time.Microsecond)
		defer cancel()
		_, _ = sqlcbind.Autocommit(c.d).Exec(limited, "select pg_sleep(60)")
		c.look(ctx, sqlcbind.AutocommitRead(c.d))
	}},
	{"autocommit copy", func(c *tenantCall, ctx context.Context) {
		// COPY into a table with row security is refused, with and without a tenant.
		_, err := sqlcbind.Autocommit(c.d).CopyFrom(ctx, pgx.Identifier{"rows"}, []string{"tenant", "body"}, pgx.CopyFromRows([][]any{{"a", "copied"}}))
		if txn.SQLState(err) != "0A000" {
			c.wrong = fmt.Sprintf("copy: %v", err)
		}
		c.look(ctx, sqlcbind.AutocommitRead(c.d))
	}},
}

// A statement of an autocommit handle with settings is one round trip and one transaction:
// what the server refuses leaves nothing, and reads cannot write.
func TestAutocommitWithSettings(t *testing.T) {
	f := setup(t, txn.Config{})
	tenant := "a"
	d := poolOfOne(t, f, txn.Config{SettingsFrom: func(context.Context) map[string]string { return map[string]string{"app.tenant": tenant} }})
	q := sqlcbind.Autocommit(d)
	tag, err := q.Exec(t.Context(), "insert into notes (body) values (current_setting('app.tenant') || $1)", "1")
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	_, err = q.Exec(t.Context(), "insert into notes (body) values (current_setting('app.tenant') || '2')")
	require.NoError(t, err)
	var id int64
	require.NoError(t, q.QueryRow(t.Context(), "insert into notes (body) values (current_setting('app.tenant') || '3') returning id").Scan(&id))
	require.ErrorIs(t, q.QueryRow(t.Context(), "select id from notes where body = 'none'").Scan(&id), txn.ErrNotFound)
	_, err = q.Exec(t.Context(), "insert into notes (body) values ($1)", "a1")
	require.Equal(t, "23505", txn.SQLState(err))
	require.Equal(t, "notes_body_key", txn.ConstraintName(err))
	_, err = q.Exec(t.Context(), "insert into lines (account) values (99)")
	require.Equal(t, "23503", txn.SQLState(err), "what is checked at COMMIT is the statement's error")
	_, err = q.Exec(t.Context(), "select $1::int", make(chan int))
	require.Error(t, err)
	_, err = q.Exec(t.Context(), "commit")
	require.ErrorIs(t, err, txn.ErrManaged)
	n, err := q.CopyFrom(t.Context(), pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"copied"}}))
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	b := &pgx.Batch{}
	b.Queue("insert into notes (body) values ('batch 1')")
	b.Queue("insert into notes (body) values ('batch 2')")
	require.NoError(t, q.SendBatch(t.Context(), b).Close())
	b = &pgx.Batch{}
	b.Queue("insert into notes (body) values ('never')")
	b.Queue("insert into notes (body) values ('a1')")
	require.Equal(t, "23505", txn.SQLState(q.SendBatch(t.Context(), b).Close()), "a batch is one transaction")
	_, err = sqlcbind.AutocommitRead(d).Exec(t.Context(), "insert into notes (body) values ('never')")
	require.Equal(t, "25006", txn.SQLState(err))
	rows, err := q.Query(t.Context(), "select body from notes order by id")
	require.NoError(t, err)
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"a1", "a2", "a3", "copied", "batch 1", "batch 2"}, bodies)
	require.EqualValues(t, 1, d.Pool().Stat().NewConnsCount())
	require.Zero(t, d.Pool().Stat().AcquiredConns())
}

// A write with settings whose answer was lost may have been committed, too.
func TestAutocommitWithSettingsLostAnswer(t *testing.T) {
	f := setup(t, txn.Config{})
	settings := txn.Config{Options: txn.Options{Settings: map[string]string{"app.tenant": "a"}}}
	for name, after := range map[string]bool{"before": false, "after": true} {
		p := txntest.NewProxy(t, f.AppURL())
		d := openConfig(t, poolConfig(t, p.URL()), settings)
		cut := p.Arm(cutAt("^insert into", after))
		_, err := sqlcbind.Autocommit(d).Exec(t.Context(), "insert into notes (body) values ('"+name+"')")
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%v", err)
		require.NoError(t, cut.WaitSession(t.Context()))
	}
	require.Equal(t, []string{"after"}, f.notes(t))
}

// Limits of joined calls hold inside and nowhere else: not for what was queued before or
// after, not past a savepoint, and not for what is checked at COMMIT.
func TestJoinedLimitsOfQueuedStatementsAndCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	_, err := f.Admin(t).Exec(t.Context(), `
		create function note() returns trigger language plpgsql security definer as $$ begin
			if new.account is not null then
				insert into notes (body) values ('commit ' || new.seat || ' ' || current_setting('lock_timeout'));
			end if;
			return null; end $$;
		create constraint trigger note after insert on lines deferrable initially deferred for each row execute function note()`)
	require.NoError(t, err)
	seat := 0
	for name, outer := range map[string]txn.Options{"limits outside": {LockTimeout: 2 * time.Second}, "none outside": {}} {
		for _, began := range []bool{false, true} {
			for _, savepoint := range []bool{false, true} {
				seat++
				note := func(tx *txn.Tx, what string) {
					tx.Queue("insert into notes (body) values ($1 || ' ' || $2::text || ' ' || current_setting('lock_timeout'))", what, fmt.Sprint(seat))
				}
				require.NoError(t, txn.WithTx(t.Context(), f.db, outer, func(ctx context.Context, tx *txn.Tx) error {
					if began {
						require.NoError(t, touch(ctx, tx))
					}
					note(tx, "before")
					inner := func(ctx context.Context, tx *txn.Tx) error {
						return txn.WithTx(ctx, tx, txn.Options{LockTimeout: time.Second}, func(ctx context.Context, tx *txn.Tx) error {
							note(tx, "inner")
							return txn.WithTx(ctx, tx, txn.Options{LockTimeout: 500 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
								note(tx, "innermost")
								return nil
							})
						})
					}
					if savepoint {
						require.NoError(t, tx.Savepoint(ctx, inner))
					} else {
						require.NoError(t, inner(ctx, tx))
					}
					note(tx, "after")
					return txn.WithTx(ctx, tx, txn.Options{LockTimeout: time.Second}, func(ctx context.Context, tx *txn.Tx) error {
						_, err := tx.Exec(ctx, "insert into lines (account, seat) values (1, $1)", seat)
						return err
					})
				}), name)
				own := "0"
				if outer.LockTimeout > 0 {
					own = "2s"
				}
				var got []string
				for _, note := range f.notes(t) {
					if strings.Contains(note, fmt.Sprintf(" %d ", seat)) {
						got = append(got, note)
					}
				}
				require.Equal(t, []string{
					fmt.Sprintf("before %d %s", seat, own), fmt.Sprintf("inner %d 1s", seat), fmt.Sprintf("innermost %d 500ms", seat),
					fmt.Sprintf("after %d %s", seat, own), fmt.Sprintf("commit %d %s", seat, own),
				}, got, "%s, began: %v, savepoint: %v", name, began, savepoint)
			}
		}
	}
}

// Limits that were set in a savepoint end with it when it is undone, also where it was
// never sent, and where the failure came before it.
func TestJoinedLimitsInUndoneSavepoints(t *testing.T) {
	f := setup(t, txn.Config{})
	inner := txn.Options{LockTimeout: time.Second, StatementTimeout: 5 * time.Second, IdleTimeout: 7 * time.Second}
	for name, run := range map[string]func(context.Context, *txn.Tx) error{
		"never sent": func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, inner, func(context.Context, *txn.Tx) error { return errBusiness })
		},
		"statement": func(ctx context.Context, tx *txn.Tx) error { _ = txn.WithTx(ctx, tx, inner, touch); return errBusiness },
		"failed statement": func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "23505") })
		},
		"queued": func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error { tx.Queue("select fail('23505')"); return nil })
		},
		"not encoded": func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "select $1::int", make(chan int))
				return err
			})
		},
		"savepoint within": func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error {
				return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { _ = touch(ctx, tx); return errBusiness })
			})
		},
	} {
		for _, began := range []bool{false, true} {
			require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{LockTimeout: 2 * time.Second}, func(ctx context.Context, tx *txn.Tx) error {
				if began {
					require.NoError(t, touch(ctx, tx))
				}
				for range 2 {
					require.Error(t, tx.Savepoint(ctx, run), name)
					require.NoError(t, txn.WithTx(ctx, tx, txn.Options{LockTimeout: time.Second}, func(ctx context.Context, tx *txn.Tx) error {
						require.Equal(t, "1s", ask[string](t, ctx, tx, "show lock_timeout"), name)
						return nil
					}))
					require.Error(t, tx.Savepoint(ctx, run), name)
					require.Equal(t, "2s", ask[string](t, ctx, tx, "show lock_timeout"), name)
					require.Equal(t, "0", ask[string](t, ctx, tx, "show statement_timeout"), name)
					require.Equal(t, "0", ask[string](t, ctx, tx, "show idle_in_transaction_session_timeout"), name)
					require.NoError(t, txn.WithTx(ctx, tx, inner, func(ctx context.Context, tx *txn.Tx) error {
						require.Equal(t, "1s", ask[string](t, ctx, tx, "show lock_timeout"), name)
						return nil
					}))
				}
				return nil
			}), name)
		}
	}
}

// A server ends by itself a transaction whose client died without a word, with what it
// holds. From 17 on transaction_timeout does it, before the limits over statements and
// pauses.
func TestServerEndsTheTransactionOfADeadClient(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	for name, c := range map[string]struct {
		account int // of its own
		last    string
	}{
		"silent":             {1, ""},
		"statement running":  {2, "select pg_sleep(600)"},
		"waiting for a lock": {3, "update accounts set balance = 0 where id = 4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holder, err := admin.Begin(t.Context())
			require.NoError(t, err)
			defer func() { _ = holder.Rollback(context.Background()) }()
			if c.account == 3 {
				_, err = holder.Exec(t.Context(), "select from accounts where id = 4 for update")
				require.NoError(t, err)
			}
			relay := newStaller(t, f.db.Pool().Config())
			pc := relay.config(f.db.Pool().Config())
			pc.MaxConns = 1
			d := openConfig(t, pc, txn.Config{ResolveTimeout: 100 * time.Millisecond})
			backend(t, d) // the server's version is known from now on
			pid := make(chan int, 1)
			result := make(chan error, 1)
			go func() {
				result <- txn.WithTx(t.Context(), d, txn.Options{Timeout: 300 * time.Millisecond, MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
					var p int
					err := tx.QueryRow(ctx, "select pg_backend_pid() from accounts where id = $1 for update", c.account).Scan(&p)
					pid <- p
					if err != nil || c.last == "" {
						relay.stall(0)
						<-ctx.Done()
						return err
					}
					relay.stall(1)
					_, err = tx.Exec(ctx, c.last)
					return err
				})
			}()
			p := <-pid
			require.NotZero(t, p)
			waitUnlocked(t, admin, p)
			_, err = admin.Exec(t.Context(), "select from accounts where id = $1 for update nowait", c.account)
			require.NoError(t, err, "what it held is free")
			if f.Server().VersionNum() >= 170000 {
				waitGone(t, admin, p)
			}
			relay.hangUp()
			require.Error(t, <-result)
		})
	}
}

// waitUnlocked returns when the session holds and awaits no lock, and has no snapshot: gone,
// or in a transaction that the server has aborted.
func waitUnlocked(t *testing.T, admin *pgxpool.Pool, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		var held bool
		require.NoError(t, admin.QueryRow(t.Context(), `
			select exists (select from pg_locks where pid = $1)
				or exists (select from pg_stat_activity where pid = $1 and (backend_xid is not null or backend_xmin is not null))
			from pg_sleep(0.005)`, pid).Scan(&held))
		if !held {
			return
		}
		require.True(t, time.Now().Before(deadline), "the transaction lives on: %s", txntest.Sessions(t.Context(), admin))
	}
}

// A staller stands between a pool and its server and, when told to, lets nothing through any
// more, though the connections stay: as if the client's machine had lost its power.
type staller struct {
	ln     net.Listener
	target string

	mu      sync.Mutex
	stalled bool
	last    int // chunks of the client's that still pass
	conns   []net.Conn
}

func newStaller(t *testing.T, cfg *pgxpool.Config) *staller {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &staller{ln: ln, target: net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port)))}
	t.Cleanup(p.hangUp)
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

func (p *staller) config(cfg *pgxpool.Config) *pgxpool.Config {
	cfg = cfg.Copy()
	addr := p.ln.Addr().(*net.TCPAddr)
	cfg.ConnConfig.Host, cfg.ConnConfig.Port = addr.IP.String(), uint16(addr.Port)
	cfg.ConnConfig.Fallbacks = nil
	cfg.MinConns, cfg.MinIdleConns = 0, 0
	return cfg
}

// stall lets the next n chunks of the client's through, and no answer.
func (p *staller) stall(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled, p.last = true, n
}

func (p *staller) hangUp() {
	_ = p.ln.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func (p *staller) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	pass := func(to, from net.Conn, may func() bool) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if may() {
				_, _ = to.Write(buf[:n])
			}
		}
	}
	go pass(client, server, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.stalled
	})
	pass(server, client, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.last--
		return !p.stalled || p.last >= 0
	})
}

// FuzzSettings: whatever a setting is called and whatever it is set to, it is that setting
// that gets that value, or the call fails and nothing else happens.
func FuzzSettings(f *testing.F) {
	for _, value := range hostileValues {
		f.Add("app.tenant", value)
	}
	for _, name := range []string{
		"app.user", "App.Tenant", "a.b.c.d", "work_mem", "search_path", "SEARCH_PATH", "_._", "a.$1", "$.a", "a..b",
		`app"."tenant`, "app.tenant'", "app.x; commit", "TimeZone", "app.té", "app.x\n", "\x00",
	} {
		f.Add(name, "x")
	}
	database := txntest.NewDatabase(f, schema)
	pool, err := pgxpool.New(f.Context(), database.AppURL())
	require.NoError(f, err)
	f.Cleanup(pool.Close)
	d := txn.New(pool, txn.Config{})
	f.Fuzz(func(t *testing.T, name, value string) {
		var got, canary string
		var notes int
		err := txn.WithTx(t.Context(), d, txn.Options{Settings: map[string]string{name: value, "canary.a": "1", "canary.z": "2"}, MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
			return tx.QueryRow(ctx, `select current_setting($1), current_setting('canary.a') || current_setting('canary.z'), (select count(*) from notes)`, name).
				Scan(&got, &canary, &notes)
		})
		_, refused := errors.AsType[*txn.OptionsError](err)
		switch {
		case refused:
			return
		case txn.SQLState(err) != "":
			if strings.Contains(name, ".") && !strings.HasPrefix(strings.ToLower(name), "plpgsql.") {
				t.Fatalf("%q = %q: %v", name, value, err)
			}
			if class := txn.SQLState(err)[:2]; class == "42" && txn.SQLState(err) != "42704" && txn.SQLState(err) != "42501" {
				t.Fatalf("%q = %q is not read as one setting: %v", name, value, err)
			}
			return
		case err != nil:
			t.Fatalf("%q = %q: %v", name, value, err)
		}
		if strings.HasPrefix(strings.ToLower(name), "canary.") {
			return
		}
		if canary != "12" || notes != 0 {
			t.Fatalf("%q = %q changed something else: %q, %d", name, value, canary, notes)
		}
		if strings.Contains(name, ".") && got != value {
			t.Fatalf("%q = %q, got %q", name, value, got)
		}
	})
}

// FuzzLabelAppName: a label is seen as application_name, with a question mark for each
// character that this cannot hold, cut at the length that it can.
func FuzzLabelAppName(f *testing.F) {
	for _, label := range hostileValues {
		f.Add(label)
	}
	database := txntest.NewDatabase(f, schema)
	pool, err := pgxpool.New(f.Context(), database.AppURL())
	require.NoError(f, err)
	f.Cleanup(pool.Close)
	d := txn.New(pool, txn.Config{LabelAppName: true})
	f.Fuzz(func(t *testing.T, label string) {
		var want []byte
		for _, r := range label {
			if r < 0x20 || r > 0x7e {
				r = '?'
			}
			want = append(want, byte(r))
		}
		want = want[:min(len(want), 63)]
		err := txn.WithTx(t.Context(), d, txn.Options{Label: label}, func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, string(want), ask[string](t, ctx, tx, "show application_name"))
			return nil
		})
		require.NoError(t, err)
	})
}

// A call for another tenant does not join this one's transaction, and neither does one for
// nobody: it would see and change rows that are not its own.
func TestJoinedCallOfAnotherTenant(t *testing.T) {
	f := setup(t, txn.Config{})
	d := openConfig(t, poolConfig(t, f.AppURL()), txn.Config{
		SettingsFrom: func(ctx context.Context) map[string]string {
			if tenant, ok := ctx.Value(tenantKey{}).(string); ok {
				return map[string]string{"app.tenant": tenant}
			}
			return nil
		},
	})
	as := func(ctx context.Context, tenant string) context.Context {
		return context.WithValue(ctx, tenantKey{}, tenant)
	}
	joins := func(outer context.Context, opts txn.Options, inner func(context.Context) context.Context) error {
		return txn.WithTx(outer, d, opts, func(ctx context.Context, tx *txn.Tx) error {
			write := txn.WithTx(inner(ctx), tx, txn.Options{}, func(context.Context, *txn.Tx) error { return nil })
			read := txn.WithReadTx(inner(ctx), tx, txn.Options{}, func(context.Context, *txn.ReadTx) error { return nil })
			require.Equal(t, write == nil, read == nil)
			return write
		})
	}
	same := func(ctx context.Context) context.Context { return ctx }
	other := func(ctx context.Context) context.Context { return as(ctx, "b") }
	nobody := func(context.Context) context.Context { return t.Context() }
	require.NoError(t, joins(t.Context(), txn.Options{}, same))
	require.NoError(t, joins(as(t.Context(), "a"), txn.Options{}, same))
	require.NoError(t, joins(as(t.Context(), "a"), txn.Options{Settings: map[string]string{"app.tenant": "b"}}, same), "which goes over it")
	require.NoError(t, joins(t.Context(), txn.Options{Settings: map[string]string{"app.tenant": "b"}}, other))
	for name, err := range map[string]error{
		"another's":      joins(as(t.Context(), "a"), txn.Options{}, other),
		"nobody's":       joins(as(t.Context(), "a"), txn.Options{}, nobody),
		"of nobody's":    joins(t.Context(), txn.Options{}, other),
		"beside another": joins(as(t.Context(), "a"), txn.Options{Settings: map[string]string{"app.other": "b"}}, other),
	} {
		require.ErrorIs(t, err, txn.ErrOptionsConflict, name)
		require.ErrorContains(t, err, "app.tenant", name)
	}
}
