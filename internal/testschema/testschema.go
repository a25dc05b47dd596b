// Package testschema gives tests databases with the schema of the reference application.
package testschema

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/interlock-go/interlock/internal/invariant"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/schema"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Invariants are what must be true at any moment, in one snapshot.
var Invariants = invariant.All

// NewDatabase makes a database for t with the schema, and the Invariants to hold at the
// test's end.
func NewDatabase(t testing.TB) *txntest.Database {
	t.Helper()
	d := txntest.NewDatabase(t, Migrated)
	for _, i := range Invariants {
		d.Invariant(i.Name, i.SQL)
	}
	return d
}

// NewDatabaseWithRows is NewDatabase with a row or more in every table: the users 1 and 2
// with the accounts 3 and 4 of 900 and 100; transfer 1, the bonus of user 1; transfer 2, of
// 100 from account 3 to account 4, with the key "first".
func NewDatabaseWithRows(t testing.TB) *txntest.Database {
	t.Helper()
	d := NewDatabase(t)
	c, err := pgx.Connect(t.Context(), d.AppURL())
	if err == nil {
		_, err = c.Exec(t.Context(), rows+postRows+orderRows+bookingRows+criticalRecordRows+checkoutRows+reportRows)
		err = errors.Join(err, c.Close(t.Context()))
	}
	if err != nil {
		t.Fatalf("testschema: insert rows: %v", err)
	}
	return d
}

const rows = `
	INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada'), ('bob@example.com', 'Bob');
	INSERT INTO profiles (user_id, display_name) SELECT id, name FROM users;
	INSERT INTO settings (user_id) SELECT id FROM users;
	INSERT INTO accounts (user_id, balance_minor) VALUES (1, 900), (2, 100);
	INSERT INTO transfers (kind, idempotency_key, from_account, to_account, amount_minor)
		VALUES ('welcome_bonus', NULL, 2, 3, 1000), ('transfer', 'first', 3, 4, 100);
	INSERT INTO ledger_entries (transfer_id, account_id, amount_minor)
		VALUES (1, 2, -1000), (1, 3, 1000), (2, 3, -100), (2, 4, 100);
	INSERT INTO welcome_bonuses (user_id, transfer_id) VALUES (1, 1);
	INSERT INTO activity_log (user_id, action, entity) VALUES (1, 'sign_up', 'users:1');`

// Migrated is the schema after all migrations, with River's tables.
var Migrated txntest.Schema = migrated{}

type migrated struct{}

// Key hashes the migrations' names and texts, and River's.
func (migrated) Key() (string, error) {
	h := sha256.New()
	river, err := jobs.Fingerprint()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s\x00", river)
	err = fs.WalkDir(schema.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(schema.FS, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%s\x00%d\x00%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// Apply runs the migrations, and River's. Its tables are in a schema of their own, which the
// ordinary role needs to be let into.
func (migrated) Apply(ctx context.Context, ownerURL string) error {
	if err := WithProvider(ownerURL, func(p *goose.Provider) error {
		_, err := p.Up(ctx)
		return err
	}); err != nil {
		return err
	}
	river, err := jobs.OpenMigrator(ctx, ownerURL)
	if err != nil {
		return err
	}
	defer river.Close()
	if _, err := river.Up(ctx); err != nil {
		return err
	}
	c, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "grant usage on schema "+jobs.Schema+" to "+pgserver.AppRole)
	return errors.Join(err, c.Close(ctx))
}

// WithProvider calls do with goose on the migrations and a database, for tests that migrate
// by themselves.
func WithProvider(url string, do func(*goose.Provider) error) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	conn := stdlib.OpenDB(*cfg)
	p, err := goose.NewProvider(goose.DialectPostgres, conn, schema.FS)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	return errors.Join(do(p), conn.Close())
}
