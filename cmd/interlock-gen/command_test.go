package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// TestMain lets this test binary be the worker that the commands start.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerCommand {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestExitCodes(t *testing.T) {
	dir := setup(t)
	empty := t.TempDir()
	for _, c := range []struct {
		name   string
		in     string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{name: "verify offline before generate", in: dir, args: []string{"verify", "--offline"}, code: exitFailed, stderr: "db/interlock.sum: is missing\n"},
		{name: "verify before generate", in: dir, args: []string{"verify"}, code: exitFailed, stderr: "db/queries.go: is missing\n"},
		{name: "no command generates, from a subfolder", in: filepath.Join(dir, "queries"), code: exitOK, stdout: "db/queries.go\n"},
		{name: "generate again", in: dir, args: []string{"generate"}, code: exitOK},
		{name: "verify", in: dir, args: []string{"verify"}, code: exitOK},
		{name: "verify offline", in: dir, args: []string{"verify", "--offline", "--database-url", "postgres://nobody@127.0.0.1:1/x"}, code: exitOK},
		{name: "baseline", in: dir, args: []string{"baseline"}, code: exitOK, stdout: "interlock.baseline: 0 warnings\n"},
		{name: "locks", in: dir, args: []string{"locks"}, code: exitOK, stdout: "# Locks\n"},
		{name: "graph of the locks", in: dir, args: []string{"locks", "--mermaid"}, code: exitOK, stdout: "flowchart LR\n"},
		{name: "verify from elsewhere", in: empty, args: []string{"verify", "--config", filepath.Join(dir, "sqlc.yaml")}, code: exitOK},
		{name: "no configuration", in: empty, args: []string{"generate"}, code: exitFailed, stderr: "interlock-gen: no sqlc.yaml in "},
		{name: "configuration that is not there", in: empty, args: []string{"-c", "nowhere.yaml"}, code: exitFailed, stderr: "nowhere.yaml: no such file"},
		{name: "database that is not there", in: dir, args: []string{"--database-url", "postgres://nobody@127.0.0.1:1/x"}, code: exitFailed, stderr: "create a scratch database: failed to connect"},
		{name: "database URL that is none", in: dir, args: []string{"--database-url", "postgres://nobody:secret@:x"}, code: exitFailed, stderr: "cannot be parsed (not shown"},
		{name: "version", in: empty, args: []string{"version"}, code: exitOK, stdout: "interlock-gen " + version + "\n"},
		{name: "help", in: empty, args: []string{"--help"}, code: exitOK, stdout: "Exit codes:"},
		{name: "unknown command", in: empty, args: []string{"generat"}, code: exitUsage, stderr: `unknown command "generat"`},
		{name: "unknown flag", in: empty, args: []string{"verify", "--fast"}, code: exitUsage, stderr: "unknown flag: --fast"},
		{name: "argument", in: empty, args: []string{"verify", "db"}, code: exitUsage, stderr: "Run 'interlock-gen --help' for usage."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(c.in)
			var stdout, stderr bytes.Buffer
			code := run(c.args, nil, &stdout, &stderr)
			require.Equal(t, c.code, code, "%s%s", &stdout, &stderr)
			require.Contains(t, stdout.String(), c.stdout)
			require.Contains(t, stderr.String(), c.stderr)
			require.NotContains(t, stderr.String(), "secret")
			if c.stderr == "" {
				require.Empty(t, stderr.String())
			}
		})
	}
}

// setup makes a module with one table and one query, and has the commands use the server of
// the tests.
func setup(t *testing.T) (dir string) {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	t.Setenv(databaseVariable, server.OwnerURL("postgres"))
	dir = t.TempDir()
	for name, content := range map[string]string{
		"go.mod":            "module example.com/app\n\ngo 1.26\n",
		"schema/schema.sql": "CREATE TABLE items (id bigint PRIMARY KEY);\n",
		"queries/item.sql":  "-- name: GetItem :one\nSELECT id FROM items WHERE id = $1;\n",
		"sqlc.yaml": `version: "2"
sql:
  - engine: postgresql
    schema: schema
    queries: queries
    gen: {go: {package: sqlcgen, out: db/internal/sqlcgen, sql_package: pgx/v5}}
`,
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o666))
	}
	return dir
}
