package txntest_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

var schema = txntest.SQL(
	"create table counters (id int primary key, n int not null)",
	"insert into counters values (1, 0)",
	"create sequence numbers",
	"create function double(n int) returns int language sql as 'select 2 * n'",
)

func TestEachTestHasItsOwn(t *testing.T) {
	t.Parallel()
	for range 3 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := txntest.NewDatabase(t, schema).Pool(t)
			var n int
			require.NoError(t, pool.QueryRow(t.Context(), "update counters set n = n + 1 returning n").Scan(&n))
			require.Equal(t, 1, n)
		})
	}
}

func TestDroppedAtTheEnd(t *testing.T) {
	t.Parallel()
	var dsn string
	t.Run("test", func(t *testing.T) {
		database := txntest.NewDatabase(t, schema)
		dsn = database.AppURL()
		require.NoError(t, database.Pool(t).Ping(t.Context()))
	})
	_, err := pgx.Connect(t.Context(), dsn)
	require.Equal(t, "3D000", sqlState(err), "invalid_catalog_name: %v", err)
}

func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func TestOrdinaryRole(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, schema)
	pool := database.Pool(t)
	for _, sql := range []string{
		"insert into counters values (2, 0)", "update counters set n = 1", "delete from counters where id = 2",
		"select nextval('numbers')", "select double(2)",
	} {
		_, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	for _, sql := range []string{
		"create table x ()", "drop table counters", "truncate counters", "alter table counters add x int",
		"create temporary table x ()", "create schema x", "set role postgres", "create database x",
		"select setval('numbers', 1)", "alter function double set work_mem = '1MB'",
	} {
		_, err := pool.Exec(t.Context(), sql)
		require.Equal(t, "42501", sqlState(err), "insufficient_privilege: %s: %v", sql, err)
	}
	_, err := database.Admin(t).Exec(t.Context(), "create table x ()")
	require.NoError(t, err)
}

func TestPoolAsConfigured(t *testing.T) {
	t.Parallel()
	pool := txntest.NewDatabase(t, schema).Pool(t, func(cfg *pgxpool.Config) { cfg.MaxConns = 3 })
	require.EqualValues(t, 3, pool.Config().MaxConns)
}

// counted is a schema that tells how often it was applied, and changes with its key.
type counted struct {
	txntest.Schema
	key string
	mu  sync.Mutex
	n   int
}

func (c *counted) Key() (string, error) { return c.key, nil }

func (c *counted) Apply(ctx context.Context, ownerURL string) error {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Schema.Apply(ctx, ownerURL)
}

func TestSchemaIsAppliedOncePerKey(t *testing.T) {
	t.Parallel()
	first := &counted{Schema: schema, key: "first " + t.Name()}
	second := &counted{Schema: txntest.SQL("create table others (id int)"), key: "second " + t.Name()}
	t.Run("tests", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				_, err := txntest.NewDatabase(t, first).Pool(t).Exec(t.Context(), "select from counters")
				require.NoError(t, err)
				_, err = txntest.NewDatabase(t, second).Pool(t).Exec(t.Context(), "select from others")
				require.NoError(t, err)
			})
		}
	})
	require.Equal(t, 1, first.n)
	require.Equal(t, 1, second.n)
}

func TestKeyOfStatements(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range []txntest.Schema{
		txntest.SQL(), txntest.SQL(""), txntest.SQL("a"), txntest.SQL("a", "b"), txntest.SQL("ab"), txntest.SQL("b", "a"),
	} {
		key, err := s.Key()
		require.NoError(t, err)
		require.False(t, seen[key])
		seen[key] = true
	}
}

// A server of the test's own may be crashed; the database is still checked and dropped.
func TestOnAServerOfItsOwn(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	database := txntest.NewDatabaseOn(t, server, schema)
	_, err = database.Pool(t).Exec(t.Context(), "update counters set n = 7")
	require.NoError(t, err)
	require.NoError(t, server.Crash(t.Context()))
	var n int
	require.NoError(t, database.Pool(t).QueryRow(t.Context(), "select n from counters").Scan(&n))
	require.Equal(t, 7, n)
}

// Each fault below is a test of its own in a process of its own, which must fail and say
// why. Without a fault it passes.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	for fault, says := range map[string]string{
		"none":            "",
		"session":         "left open in the database:",
		"transaction":     "idle in transaction, in a transaction for 00:0",
		"row lock":        "lock relation RowExclusiveLock counters of session",
		"advisory lock":   "lock advisory ExclusiveLock 0,42,1 of session",
		"prepared":        "prepared transaction left over of interlock_app",
		"prepared lock":   "lock advisory ExclusiveLock 0,43,1 of a prepared transaction",
		"connection":      "1 connections of the pool were not given back",
		"invariant":       "invariant \"nothing negative\" does not hold:\n        \t1 -1",
		"bad invariant":   "SQLSTATE 42P01",
		"in between":      "left open in the database:",
		"never blocked":   "did not come to wait for a lock:",
		"for its reasons": "for its own reasons",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			self, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFault$", "-test.v")
			cmd.Env = append(os.Environ(), "TXNTEST_FAULT="+fault, "INTERLOCK_TEST_DATABASE_URL="+server.AdminURL("postgres"))
			out, err := cmd.CombinedOutput()
			name := regexp.MustCompile(`interlock_test_\w+`).FindString(string(out))
			if fault == "none" {
				require.NoError(t, err, "%s", out)
				require.Empty(t, name, "%s", out)
				return
			}
			require.Error(t, err, "the faulty test must fail: %s", out)
			require.Contains(t, string(out), says)
			looksKept(t, server, string(out), name)
		})
	}
}

// looksKept connects to the database of a failed test as its log says.
func looksKept(t *testing.T, server *pgserver.Server, out, name string) {
	t.Helper()
	u, err := url.Parse(server.AdminURL(name))
	require.NoError(t, err)
	u.RawQuery = ""
	require.Contains(t, out, "the database is kept: "+u.Redacted())
	password, _ := u.User.Password()
	require.NotContains(t, out, password)
	admin, err := pgx.Connect(t.Context(), server.AdminURL(name))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "select from counters")
	require.NoError(t, err)
	// What was prepared would stay for ever.
	var gid *string
	require.NoError(t, admin.QueryRow(t.Context(), "select max(gid) from pg_prepared_xacts where database = current_database()").Scan(&gid))
	if gid != nil {
		_, err = admin.Exec(t.Context(), "rollback prepared '"+*gid+"'")
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(t.Context()))
	admin, err = pgx.Connect(t.Context(), server.AdminURL("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "drop database "+name+" with (force)")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))
}

// On a private server the whole URL is shown: its password opens nothing else.
func TestKeptOnAPrivateServer(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFault$", "-test.v")
	cmd.Env = append(os.Environ(), "TXNTEST_FAULT=for its reasons", "INTERLOCK_TEST_DATABASE_URL=")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `the database is kept: postgres://postgres:[A-Z2-7]{26}@127\.0\.0\.1:\d+/interlock_test_testfault_`, string(out))
}

// TestFault is run by TestFaultsAreFound.
func TestFault(t *testing.T) {
	fault := os.Getenv("TXNTEST_FAULT")
	if fault == "" {
		return // on its own there is nothing to show
	}
	database := txntest.NewDatabase(t, schema)
	ctx := context.Background()
	session := func(statements ...string) {
		c, err := pgx.Connect(ctx, database.AppURL())
		require.NoError(t, err)
		for _, sql := range statements {
			_, err := c.Exec(ctx, sql)
			require.NoError(t, err)
		}
		if strings.HasPrefix(fault, "prepared") {
			require.NoError(t, c.Close(ctx))
		}
	}
	switch fault {
	case "none":
		_, err := database.Pool(t).Exec(ctx, "update counters set n = 1")
		require.NoError(t, err)
		database.Invariant("nothing negative", "select id from counters where n < 0")
		txntest.CheckClean(t, database.Server().AdminURL("template1"))
	case "session":
		session("select 1")
	case "transaction":
		session("begin", "select 1")
	case "row lock":
		session("begin", "update counters set n = 1")
	case "advisory lock":
		session("select pg_advisory_lock(42)")
	case "prepared":
		session("begin", "prepare transaction 'left over'")
	case "prepared lock":
		session("begin", "select pg_advisory_xact_lock(43)", "prepare transaction 'left over lock'")
	case "connection":
		_, err := database.Pool(t).Acquire(ctx)
		require.NoError(t, err)
	case "invariant":
		database.Invariant("nothing negative", "select id, n from counters where n < 0")
		_, err := database.Pool(t).Exec(ctx, "update counters set n = -1")
		require.NoError(t, err)
	case "bad invariant":
		database.Invariant("of nothing", "select from nothing")
	case "in between":
		c, err := pgx.Connect(ctx, database.AppURL())
		require.NoError(t, err)
		database.Check(t)
		require.NoError(t, c.Close(ctx))
	case "never blocked":
		c, err := pgx.Connect(ctx, database.AppURL())
		require.NoError(t, err)
		defer c.Close(ctx)
		txntest.WaitBlocked(t, database.Admin(t), int(c.PgConn().PID()))
	default:
		t.Error("for its own reasons")
	}
}
