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

	"github.com/interlock-go/interlock/schema"
	"github.com/interlock-go/interlock/txn/txntest"
)

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

// Migrated is the schema after all migrations.
var Migrated txntest.Schema = migrated{}

type migrated struct{}

// Key hashes the migrations' names and texts.
func (migrated) Key() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(schema.FS, ".", func(path string, d fs.DirEntry, err error) error {
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

// Apply runs the migrations.
func (migrated) Apply(ctx context.Context, ownerURL string) error {
	return WithProvider(ownerURL, func(p *goose.Provider) error {
		_, err := p.Up(ctx)
		return err
	})
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
