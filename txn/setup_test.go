package txn_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// schema is what most tests of this package run on.
var schema = txntest.SQL(`
	create table accounts (
		id      bigint primary key,
		balance bigint not null check (balance >= 0),
		version bigint not null default 1
	)`, `
	insert into accounts (id, balance) select n, 1000 from generate_series(1, 4) n`, `
	create table notes (id bigint generated always as identity primary key, body text not null unique)`, `
	create table lines (
		account bigint references accounts deferrable initially deferred,
		seat    int,
		constraint one_seat unique (seat) deferrable
	)`, `
	create function fail(code text) returns void language plpgsql as
	$$ begin raise exception 'injected' using errcode = code; end $$`)

var errBusiness = errors.New("business rule")

// a fixture is a database of the test's own, and a DB on it as the ordinary role.
type fixture struct {
	*txntest.Database
	db *txn.DB
}

func setup(t *testing.T, cfg txn.Config) *fixture {
	t.Helper()
	t.Parallel()
	database := txntest.NewDatabase(t, schema)
	return &fixture{Database: database, db: open(t, database.AppURL(), cfg)}
}

// setupFuzz is setup for a fuzz target.
func setupFuzz(f *testing.F, cfg txn.Config, configure ...func(*pgxpool.Config)) *fixture {
	f.Helper()
	database := txntest.NewDatabase(f, schema)
	pool := database.Pool(f, append(configure, txn.ConfigurePool)...)
	return &fixture{Database: database, db: txn.New(pool, cfg)}
}

// setupOn is setup on a server of the test's own.
func setupOn(t *testing.T, server *pgserver.Server, cfg txn.Config) *fixture {
	t.Helper()
	database := txntest.NewDatabaseOn(t, server, schema)
	return &fixture{Database: database, db: open(t, database.AppURL(), cfg)}
}

func open(t *testing.T, url string, cfg txn.Config) *txn.DB {
	t.Helper()
	d, err := txn.Open(t.Context(), url, cfg)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// cutAt is a cut before the server gets a statement, or with its answer, when it has done it.
func cutAt(sql string, done bool) faultproxy.Fault {
	return faultproxy.Fault{SQL: sql, Answer: done, Do: faultproxy.Cut{}}
}

// notes are the bodies that were committed, as another session sees them.
func (f *fixture) notes(t testing.TB) []string {
	t.Helper()
	rows, err := f.db.Pool().Query(context.WithoutCancel(t.Context()), "select body from notes order by id")
	require.NoError(t, err)
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return bodies
}

func write(ctx context.Context, tx *txn.Tx, body string) error {
	_, err := tx.Exec(ctx, "insert into notes (body) values ($1)", body)
	return err
}

func fail(ctx context.Context, tx *txn.Tx, code string) error {
	_, err := tx.Exec(ctx, "select fail($1)", code)
	return err
}

// ask returns the single value of a query.
func ask[T any](t *testing.T, ctx context.Context, r txn.Reads, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, r.QueryRow(ctx, sql, args...).Scan(&v))
	return v
}

// exampleDB is a DB for examples, which have no testing.T, on a database of its own.
func exampleDB(configure ...func(*txn.Config)) (d *txn.DB, done func()) {
	url, drop := exampleDatabase()
	cfg := txn.Config{}
	for _, f := range configure {
		f(&cfg)
	}
	d, err := txn.Open(context.Background(), url, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return d, func() {
		d.Close()
		drop()
	}
}

// exampleDatabase makes a database for an example, with users, wallets and idempotency keys.
// url connects as the ordinary role.
func exampleDatabase() (url string, drop func()) {
	ctx := context.Background()
	server, err := pgserver.Shared(ctx)
	if err != nil {
		log.Fatal(err)
	}
	run := func(url string, statements ...string) {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close(ctx)
		for _, sql := range statements {
			if _, err := c.Exec(ctx, sql); err != nil {
				log.Fatal(err)
			}
		}
	}
	name := "example_" + strings.ToLower(rand.Text())
	run(server.AdminURL("postgres"), "create database "+name+" owner "+pgserver.OwnerRole)
	run(server.OwnerURL(name), `
		create table users (
			id      bigint generated always as identity primary key,
			email   text not null unique,
			version bigint not null default 1
		);
		create table wallets (user_id bigint primary key references users, balance bigint not null check (balance >= 0));
		grant select, insert, update on users, wallets to `+pgserver.AppRole, commitTokenTable(), `
		grant usage on schema interlock to `+pgserver.AppRole+`;
		grant select, insert, update, delete on interlock.commit_token to `+pgserver.AppRole)
	return server.AppURL(name), func() { run(server.AdminURL("postgres"), "drop database "+name+" with (force)") }
}

// commitTokenTable makes the table of idempotency keys.
func commitTokenTable() string {
	text, err := fs.ReadFile(txn.Migrations, "00001_commit_token.sql")
	if err != nil {
		log.Fatal(err)
	}
	up, _, _ := strings.Cut(string(text), "-- +goose Down")
	return up
}
