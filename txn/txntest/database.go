package txntest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// A Database is a test's own database. Its URLs may be used from any goroutine; its other
// methods belong to the test's.
type Database struct {
	name       string
	server     *pgserver.Server
	invariants []invariant
}

// NewDatabase makes a database for t with the schema, on the server of pgserver.Shared. When
// t and its cleanups are over, it is checked (see the package documentation) and dropped;
// after a failure it is kept.
func NewDatabase(t testing.TB, schema Schema) *Database {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	return NewDatabaseOn(t, server, schema)
}

// NewDatabaseOn is NewDatabase on a server of the caller's, for tests that restart it or
// need settings of their own. The server must still run when t ends.
func NewDatabaseOn(t testing.TB, server *pgserver.Server, schema Schema) *Database {
	t.Helper()
	ctx := t.Context()
	d := &Database{name: databaseName(t.Name()), server: server}
	require.NoError(t, connected(ctx, server.AdminURL("postgres"), func(admin *pgx.Conn) error {
		template, err := ensureTemplate(ctx, admin, server, schema)
		if err != nil {
			return err
		}
		return create(ctx, admin, d.name, template)
	}))
	t.Cleanup(func() { d.finish(t) })
	return d
}

// databaseName tells whose database it is, within PostgreSQL's 63 bytes.
func databaseName(test string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, test)
	return "interlock_test_" + clean[:min(len(clean), 36)] + "_" + strings.ToLower(rand.Text()[:10])
}

// ensureTemplate returns the name of the schema's template, and makes it if this is the
// first test on the server that needs it.
func ensureTemplate(ctx context.Context, admin *pgx.Conn, server *pgserver.Server, schema Schema) (string, error) {
	key, err := schema.Key()
	if err != nil {
		return "", fmt.Errorf("txntest: key of the schema: %w", err)
	}
	// What prepare does is part of the state, on a server that outlives this version of it.
	sum := sha256.Sum256([]byte(prepareSQL + "\x00" + key))
	name := "interlock_template_" + hex.EncodeToString(sum[:10])
	if ready, err := exists(ctx, admin, name); err != nil || ready {
		return name, err
	}
	// Of several test processes on one server the first builds, the others wait for it. The
	// lock ends with the connection, should this process die.
	if _, err := admin.Exec(ctx, "select pg_advisory_lock(hashtextextended($1, 0))", name); err != nil {
		return "", err
	}
	defer func() { _, _ = admin.Exec(ctx, "select pg_advisory_unlock(hashtextextended($1, 0))", name) }()
	if ready, err := exists(ctx, admin, name); err != nil || ready {
		return name, err
	}
	return name, build(ctx, admin, server, schema, name)
}

func exists(ctx context.Context, admin *pgx.Conn, name string) (found bool, err error) {
	err = admin.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", name).Scan(&found)
	return found, err
}

// build makes a template under another name and renames it when it is complete.
func build(ctx context.Context, admin *pgx.Conn, server *pgserver.Server, schema Schema, name string) error {
	draft := name + "_draft"
	if _, err := admin.Exec(ctx, "drop database if exists "+draft+" with (force)"); err != nil {
		return err
	}
	if err := create(ctx, admin, draft, "template0"); err != nil {
		return err
	}
	if err := connected(ctx, server.AdminURL(draft), func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, prepareSQL)
		return err
	}); err != nil {
		return err
	}
	if err := schema.Apply(ctx, server.OwnerURL(draft)); err != nil {
		return fmt.Errorf("txntest: apply the schema: %w", err)
	}
	// Nobody may connect to a template: it could not be cloned meanwhile. A pool that Apply
	// closed may still be leaving.
	for _, sql := range []string{
		"alter database " + draft + " allow_connections false",
		"select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '" + draft + "'",
		"alter database " + draft + " rename to " + name,
	} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func create(ctx context.Context, admin *pgx.Conn, name, template string) error {
	var strategy string
	if err := admin.QueryRow(ctx, strategySQL).Scan(&strategy); err != nil {
		return err
	}
	for _, sql := range []string{
		"create database " + name + " template " + template + " owner " + pgserver.OwnerRole + strategy,
		"revoke all on database " + name + " from public",
		"grant connect on database " + name + " to " + pgserver.AppRole,
	} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// strategySQL is how to copy a template. Copying its files needs two checkpoints, which cost
// nothing where nothing is synced: it takes a tenth of the time then. Before version 15 there is
// no other way, and no word for it.
const strategySQL = `
	select case when current_setting('server_version_num')::int >= 150000 and current_setting('fsync') = 'off'
		then ' strategy file_copy' else '' end`

// prepareSQL lets the owner create, and the ordinary role use what the owner will create.
const prepareSQL = `
	revoke create on schema public from public;
	grant all on schema public to ` + pgserver.OwnerRole + `;
	grant usage on schema public to ` + pgserver.AppRole + `;
	alter default privileges for role ` + pgserver.OwnerRole + `
		grant select, insert, update, delete on tables to ` + pgserver.AppRole + `;
	alter default privileges for role ` + pgserver.OwnerRole + `
		grant usage, select on sequences to ` + pgserver.AppRole + `;
	alter default privileges for role ` + pgserver.OwnerRole + `
		grant execute on functions to ` + pgserver.AppRole

// Server is the server that the database is on.
func (d *Database) Server() *pgserver.Server { return d.server }

// AppURL connects as the ordinary role, pgserver.AppRole.
func (d *Database) AppURL() string { return d.server.AppURL(d.name) }

// OwnerURL connects as the role that owns the schema, pgserver.OwnerRole.
func (d *Database) OwnerURL() string { return d.server.OwnerURL(d.name) }

// AdminURL connects as the superuser.
func (d *Database) AdminURL() string { return d.server.AdminURL(d.name) }

// Pool is a pool of the ordinary role, of at most 20 connections unless configure says
// otherwise; txn.ConfigurePool is such a function. It is closed at the end of the test,
// which fails if a connection was not given back.
func (d *Database) Pool(t testing.TB, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	return newPool(t, d.AppURL(), 20, configure)
}

// Admin is a pool of the superuser, to inject faults and to watch other sessions.
func (d *Database) Admin(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return newPool(t, d.AdminURL(), 4, nil)
}

// closePatience is how long a pool's connections may take to come back at the end: a
// rollback of a cancelled transaction may still be under way.
const closePatience = 5 * time.Second

func newPool(t testing.TB, dsn string, maxConns int32, configure []func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.MaxConns = maxConns
	for _, f := range configure {
		f(cfg)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { pool.Close(); close(closed) }()
		patience := time.NewTimer(closePatience)
		defer patience.Stop()
		select {
		case <-closed:
		case <-patience.C:
			t.Errorf("txntest: %d connections of the pool were not given back", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

// finishPatience bounds the end of a test: a server that hangs must not hang the test.
const finishPatience = time.Minute

// finish checks the database and drops it, or says how to look at it.
func (d *Database) finish(t testing.TB) {
	d.Check(t)
	if t.Failed() {
		t.Logf("txntest: the database is kept: %s", d.kept())
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), finishPatience)
	defer cancel()
	err := connected(ctx, d.server.AdminURL("postgres"), func(admin *pgx.Conn) error {
		_, err := admin.Exec(ctx, "drop database "+d.name+" with (force)")
		return err
	})
	if err != nil {
		t.Errorf("txntest: drop database %s: %v", d.name, err)
	}
}

// kept says how to connect to the database. The password of a private server opens nothing
// else and ends with it; that of a given server does not belong in logs.
func (d *Database) kept() string {
	if d.server.Private() {
		return d.AdminURL() + " (until this process ends; it stays if INTERLOCK_TEST_DATABASE_URL names the server)"
	}
	u, err := url.Parse(d.AdminURL())
	if err != nil {
		return d.name
	}
	u.RawQuery = "" // may hold a password too
	return u.Redacted()
}
