package generate_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/generate"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// TestOutputCompiles builds the output of every case that has one.
func TestOutputCompiles(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/cases/*/want")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, want := range cases {
		folder := filepath.Dir(want)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			dir, _ := setup(t, folder)
			for name, content := range tree(t, want) {
				put(t, dir, name, content)
			}
			asModule(t, dir)
			output, err := goCommand(dir, "vet", "./...").CombinedOutput()
			require.NoError(t, err, "%s", output)
		})
	}
}

// TestOutputRuns generates and runs a program that uses the queries of each class, on each
// handle that has them.
func TestOutputRuns(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	for name, content := range tree(t, "testdata/run") {
		put(t, dir, name, content)
	}
	asModule(t, dir)

	run := goCommand(dir, "run", ".")
	run.Env = append(run.Env, "DATABASE_URL="+bank(t))
	output, err := run.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Equal(t, "ok\n", string(output))
}

// TestGuardsHold generates and runs the tests of queries that must change one row.
func TestGuardsHold(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/guards")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	for name, content := range tree(t, "testdata/guards") {
		put(t, dir, name, content)
	}
	asModule(t, dir)
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	run := goCommand(dir, "test", ".")
	run.Env = append(run.Env, "INTERLOCK_TEST_DATABASE_URL="+server.AdminURL("postgres"))
	output, err := run.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// TestMisuseDoesNotCompile checks what the types are for.
func TestMisuseDoesNotCompile(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	asModule(t, dir)
	for name, c := range map[string]struct{ statement, message string }{
		"lock on the pool":           {"db.Autocommit(d).LockAccount(ctx, 1)", "has no field or method LockAccount"},
		"lock in a read":             {"db.NewRead(rx).LockAccount(ctx, 1)", "has no field or method LockAccount"},
		"write in a read":            {"db.NewRead(rx).CreateAccount(ctx, 1)", "has no field or method CreateAccount"},
		"writing batch on the pool":  {"db.Autocommit(d).AppendAudits(ctx, nil)", "has no field or method AppendAudits"},
		"unknown on the pool":        {"db.Autocommit(d).AuditAll(ctx)", "has no field or method AuditAll"},
		"every query for a read":     {"db.New(rx)", "cannot use rx"},
		"reader as locker":           {"var _ db.LockQuerier = db.NewRead(rx)", "does not implement db.LockQuerier"},
		"pool as locker":             {"var _ db.LockQuerier = db.Autocommit(d)", "does not implement db.LockQuerier"},
		"queued on the pool":         {"db.Autocommit(d).Queued()", "has no field or method Queued"},
		"queued lock in a read":      {"db.NewRead(rx).Queued().LockAccount(1)", "has no field or method LockAccount"},
		"queued write in a read":     {"db.NewRead(tx).Queued().CreateAccount(1)", "has no field or method CreateAccount"},
		"queued COPY":                {"db.New(tx).Queued().CopyAudit(nil)", "has no field or method CopyAudit"},
		"queued batch":               {"db.New(tx).Queued().AppendAudits(nil)", "has no field or method AppendAudits"},
		"queued answer as an answer": {"var _ db.Account = db.New(tx).Queued().LockAccount(1)", "cannot use db.New(tx).Queued()"},
		"sqlc's own package":         {"_ = sqlcgen.New", "use of internal package"},
	} {
		t.Run(name, func(t *testing.T) {
			imports := `"context"; "example.com/app/db"; "github.com/interlock-go/interlock/txn"`
			if strings.Contains(c.statement, "sqlcgen") {
				imports += `; "example.com/app/db/internal/sqlcgen"`
			}
			// Another module, for which internal packages are out of reach.
			folder := t.TempDir()
			put(t, folder, "main.go", `package main

import (`+imports+`)

func misuse(ctx context.Context, d *txn.DB, tx *txn.Tx, rx *txn.ReadTx, _ db.Account) {
	`+c.statement+`
}

func main() {}
`)
			asModule(t, folder)
			edit := goCommand(folder, "mod", "edit", "-module=example.com/misuse",
				"-require=example.com/app@v0.0.0", "-replace=example.com/app="+dir)
			output, err := edit.CombinedOutput()
			require.NoError(t, err, "%s", output)
			output, err = goCommand(folder, "vet", ".").CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(output), c.message)
		})
	}
}

// bank returns the URL of a database with the schema of every-class.
func bank(t *testing.T) string {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), server.OwnerURL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "CREATE DATABASE generated_bank")
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.Background() // the test's has ended
		conn, err := pgx.Connect(ctx, server.OwnerURL("postgres"))
		require.NoError(t, err)
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "DROP DATABASE generated_bank WITH (FORCE)")
		require.NoError(t, err)
	})
	url := server.OwnerURL("generated_bank")
	require.NoError(t, scratch.Apply(t.Context(), url, "testdata/cases/every-class", []string{"schema"}, query.Split))
	return url
}

// asModule gives dir the requirements of this module, and the library from this tree.
func asModule(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.Abs("../../../..")
	require.NoError(t, err)
	requirements, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	put(t, dir, "go.mod", strings.NewReplacer(
		"module github.com/interlock-go/interlock\n", "module example.com/app\n",
		"=> ./", "=> "+root+"/",
	).Replace(string(requirements)))
	put(t, dir, "go.sum", string(sums))
	// What another process compiles is not seen by the cache of test results: reading it is.
	require.NotEmpty(t, tree(t, filepath.Join(root, "txn")))
}

func goCommand(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	return cmd
}
