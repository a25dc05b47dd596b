package scratch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func TestApply(t *testing.T) {
	t.Parallel()
	server := setup(t)
	for _, c := range []struct {
		name   string
		files  map[string]string
		paths  []string
		tables []string // that there must be
		err    string
	}{
		{name: "plain files in order", paths: []string{"schema"}, tables: []string{"a", "b"}, files: map[string]string{
			"schema/1.sql": "CREATE TABLE a (id int PRIMARY KEY); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
			"schema/2.sql": "CREATE TABLE b (id int REFERENCES a);",
			"schema/.sql":  "hidden", "schema/notes.txt": "no SQL",
		}},
		{name: "paths in their order", paths: []string{"z.sql", "more/*.sql"}, tables: []string{"a", "b"}, files: map[string]string{
			"z.sql":      "CREATE TABLE a (id int PRIMARY KEY);",
			"more/1.sql": "CREATE TABLE b (id int REFERENCES a);",
		}},
		{name: "goose", paths: []string{"schema"}, tables: []string{"a", "b"}, files: map[string]string{
			"schema/00002_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE b (id int REFERENCES a);\n-- +goose Down\nDROP TABLE b;",
			"schema/00001_a.sql": "-- +goose Up\nCREATE TABLE a (id int PRIMARY KEY);\n-- +goose Down\nDROP TABLE a;",
			"schema/schema.go":   "package schema",
		}},
		{name: "goose in two folders", paths: []string{"one", "two"}, tables: []string{"a", "b"}, files: map[string]string{
			"one/00001_a.sql": "-- +goose Up\nCREATE TABLE a (id int PRIMARY KEY);",
			"two/00001_b.sql": "-- +goose Up\nCREATE TABLE b (id int REFERENCES a);",
		}},
		{name: "nothing", paths: []string{"schema"}, err: "the schema has no SQL files: schema", files: map[string]string{
			"schema/notes.txt": "no SQL",
		}},
		{name: "missing", paths: []string{"schema"}, err: "no such file", files: map[string]string{}},
		{name: "broken", paths: []string{"schema"}, err: "schema/1.sql: ERROR: syntax error", files: map[string]string{
			"schema/1.sql": "CREATE TABLE (",
		}},
		{name: "golang-migrate", paths: []string{"schema"}, tables: []string{"a", "b"}, files: map[string]string{
			"schema/9_a.up.sql": "CREATE TABLE a (id int PRIMARY KEY);", "schema/9_a.down.sql": "DROP TABLE a;",
			"schema/10_b.up.sql": "CREATE TABLE b (id int REFERENCES a);", "schema/10_b.down.sql": "DROP TABLE b;",
		}},
		{name: "dbmate", paths: []string{"schema"}, tables: []string{"a"}, files: map[string]string{
			"schema/1.sql": "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\nDROP TABLE a;",
		}},
		{name: "tern", paths: []string{"schema"}, tables: []string{"a"}, files: map[string]string{
			"schema/1.sql": "CREATE TABLE a ();\n---- create above / drop below ----\nDROP TABLE a;",
		}},
		{name: "sql-migrate", paths: []string{"schema"}, tables: []string{"a"}, files: map[string]string{
			"schema/1.sql": "-- +migrate Up\nCREATE TABLE a ();\n-- +migrate Down\nDROP TABLE a;",
		}},
		{name: "Atlas", paths: []string{"schema"}, tables: []string{"a"}, files: map[string]string{
			"schema/1.sql": "CREATE TABLE a ();", "schema/atlas.sum": "h1:x",
		}},
		{name: "two formats in a folder", paths: []string{"schema"}, err: "schema/1.sql is plain SQL, and schema/2.sql is a migration for goose", files: map[string]string{
			"schema/1.sql": "CREATE TABLE a ();", "schema/2.sql": "-- +goose Up\nCREATE TABLE b ();",
		}},
		{name: "goose, and plain files on top", paths: []string{"schema", "more"}, tables: []string{"a", "b"}, files: map[string]string{
			"schema/00001_a.sql": "-- +goose Up\nCREATE TABLE a (id int PRIMARY KEY);",
			"more/1.sql":         "CREATE TABLE b (id int REFERENCES a);",
		}},
		{name: "not in a transaction", paths: []string{"schema"}, tables: []string{"a"}, files: map[string]string{
			"schema/1.sql": "CREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY a_id ON a (id);\n",
		}},
		{name: "a new value of an enum", paths: []string{"schema"}, tables: []string{"a"}, files: map[string]string{
			"schema/1.sql": "CREATE TYPE mood AS ENUM ('calm');",
			"schema/2.sql": "ALTER TYPE mood ADD VALUE 'proud';\nCREATE TABLE a (m mood DEFAULT 'proud');",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				file := filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
				require.NoError(t, os.WriteFile(file, []byte(content), 0o666))
			}
			url, err := server.Create(t.Context())
			require.NoError(t, err)
			err = scratch.Apply(t.Context(), url, dir, c.paths, lines)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer conn.Close(t.Context())
			for _, table := range c.tables {
				_, err := conn.Exec(t.Context(), "TABLE "+table)
				require.NoError(t, err)
			}
		})
	}
}

// lines cuts what has a statement on each line.
func lines(sql string) ([]string, error) { return strings.SplitAfter(sql, "\n"), nil }

func setup(t *testing.T) *scratch.Server {
	t.Helper()
	shared, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	server, err := scratch.Start(t.Context(), shared.OwnerURL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}
