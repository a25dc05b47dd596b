package project_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/project"
)

const config = `version: "2"
sql:
  - engine: postgresql
    schema: schema
    queries: [queries, more/*.sql]
    database: {uri: "${SQLC_DATABASE_URL}"}
    rules: [sqlc/db-prepare]
    gen:
      go:
        package: sqlcgen
        out: ./store/db/internal/sqlcgen/
        sql_package: pgx/v5
        overrides: [{db_type: uuid, go_type: github.com/google/uuid.UUID}]
cloud: {project: secret}
`

func TestLoad(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := write(t, root, "app/sqlc.yaml", config)
	p, err := project.Load(file)
	require.NoError(t, err)
	require.Equal(t, []project.Block{{
		Schema:  []string{"schema"},
		Queries: []string{"queries", "more/*.sql"},
		Out:     "store/db/internal/sqlcgen",
		Facade:  "store/db",
		Import:  "example.com/m/app/store/db/internal/sqlcgen",
	}}, p.Blocks)
}

func TestDerive(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	p, err := project.Load(write(t, root, "app/sqlc.yaml", config))
	require.NoError(t, err)
	derived, err := p.Derive(filepath.Join(filepath.Dir(p.Dir), "tmp"), []string{"postgres://here"})
	require.NoError(t, err)
	require.YAMLEq(t, `
version: "2"
sql:
  - engine: postgresql
    schema: [../app/schema]
    queries: [../app/queries, ../app/more/*.sql]
    database: {uri: "postgres://here"}
    gen:
      go:
        package: sqlcgen
        out: ./store/db/internal/sqlcgen/
        sql_package: pgx/v5
        overrides: [{db_type: uuid, go_type: github.com/google/uuid.UUID}]
`, string(derived))
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := write(t, root, "app/sqlc.yaml", config)
	deep := filepath.Join(root, "app", "queries", "deep")
	require.NoError(t, os.MkdirAll(deep, 0o777))
	found, err := project.Find(deep)
	require.NoError(t, err)
	require.Equal(t, file, found)
	_, err = project.Find(root)
	require.ErrorContains(t, err, "no sqlc.yaml in "+root)
}

// TestRefused changes one line of a configuration that is fine.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, message string }{
		{"version 1", `version: "2"`, `version: "1"`, `version is "1"`},
		{"MySQL", "engine: postgresql", "engine: mysql", `sql[0]: engine is "mysql"`},
		{"no schema", "schema: schema", "", "sql[0]: schema is missing"},
		{"no queries", "queries: [queries, more/*.sql]", "", "sql[0]: queries is missing"},
		{"JSON", "    gen:\n", "    gen:\n      json: {out: x}\n", "sql[0]: gen.json would not be run"},
		{"plugin", "    gen:\n", "    codegen: [{plugin: x, out: y}]\n    gen:\n", "sql[0]: codegen would not be run"},
		{"no database", "    gen:\n", "    analyzer: {database: false}\n    gen:\n", "sql[0]: analyzer.database is false"},
		{"database/sql", "sql_package: pgx/v5", "sql_package: database/sql", `gen.go.sql_package is "database/sql"`},
		{"default package", "sql_package: pgx/v5", "", `gen.go.sql_package is ""`},
		{"database arguments", "sql_package: pgx/v5", "sql_package: pgx/v5\n        emit_methods_with_db_argument: true", "gen.go.emit_methods_with_db_argument is not supported"},
		{"prepared queries", "sql_package: pgx/v5", "sql_package: pgx/v5\n        emit_prepared_queries: true", "gen.go.emit_prepared_queries is not supported"},
		{"build tags", "sql_package: pgx/v5", "sql_package: pgx/v5\n        build_tags: x", "gen.go.build_tags"},
		{"no folder to hide in", "./store/db/internal/sqlcgen/", "store/db", "must be of the form db/internal/sqlcgen"},
		{"root package", "./store/db/internal/sqlcgen/", "internal/sqlcgen", "must be of the form db/internal/sqlcgen"},
		{"outside", "./store/db/internal/sqlcgen/", "../db/internal/sqlcgen", "must be of the form db/internal/sqlcgen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(config, c.old, c.new, 1)
			require.NotEqual(t, config, changed)
			_, err := project.Load(write(t, t.TempDir(), "sqlc.yaml", changed))
			require.ErrorContains(t, err, "sqlc.yaml: ")
			require.ErrorContains(t, err, c.message)
		})
	}
}

func TestTwoBlocksInOnePackage(t *testing.T) {
	t.Parallel()
	twice := strings.Replace(config, "cloud:", "  - {engine: postgresql, schema: s, queries: q, gen: {go: {out: store/db/internal/other, sql_package: pgx/v5}}}\ncloud:", 1)
	_, err := project.Load(write(t, t.TempDir(), "sqlc.yaml", twice))
	require.ErrorContains(t, err, "already has a package in store/db")
}

func write(t *testing.T, root, name, content string) (file string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example.com/m\n"), 0o666))
	file = filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o666))
	return file
}
