package generate_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/generate"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

var update = flag.Bool("update", false, "write what is generated into testdata")

// workerArgument makes a run of this test binary the worker of another.
const workerArgument = "act-as-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		os.Exit(generate.Worker(os.Stdin, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestCases generates each folder of testdata/cases, and expects what is in its folder
// want, or the message in error.txt and nothing else.
func TestCases(t *testing.T) {
	t.Parallel()
	cases, err := os.ReadDir("testdata/cases")
	require.NoError(t, err)
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join("testdata/cases", c.Name())
			dir, opts := setup(t, folder)
			before := tree(t, dir)
			_, err := generate.Generate(t.Context(), opts)
			made := tree(t, dir)
			for name := range before {
				require.Equal(t, before[name], made[name], "changed %s", name)
				delete(made, name)
			}
			message := ""
			if err != nil {
				require.Empty(t, made, "a failed run wrote files")
				message = err.Error() + "\n"
			} else {
				leaveOutSums(t, made)
			}
			if *update {
				write(t, folder, message, made)
			}
			want, err := os.ReadFile(filepath.Join(folder, "error.txt"))
			if !errors.Is(err, fs.ErrNotExist) {
				require.NoError(t, err)
			}
			require.Equal(t, string(want), message)
			wantTree := map[string]string{}
			if message == "" {
				wantTree = tree(t, filepath.Join(folder, "want"))
			}
			require.Equal(t, wantTree, made)
		})
	}
}

// leaveOutSums leaves out the files of hashes, which would change with each of the others.
// TestVerifyOffline looks at them.
func leaveOutSums(t *testing.T, made map[string]string) {
	t.Helper()
	left := 0
	for name := range made {
		if filepath.Base(name) == "interlock.sum" {
			delete(made, name)
			left++
		}
	}
	require.NotZero(t, left)
}

func write(t *testing.T, folder, message string, made map[string]string) {
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "want")))
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "error.txt")))
	if message != "" {
		made = map[string]string{"../error.txt": message}
	}
	for name, content := range made {
		put(t, filepath.Join(folder, "want"), name, content)
	}
}

func TestGenerateTwiceIsTheSame(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	names, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	require.NotEmpty(t, names)
	first := tree(t, dir)

	names, err = generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	require.Empty(t, names, "files that need not change were written")
	require.Equal(t, first, tree(t, dir))
}

func TestRemovedQueriesLeaveNothing(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	put(t, dir, "queries/extra.sql", "-- name: Extra :one\nSELECT id, note FROM audit WHERE id = $1;\n")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	require.Contains(t, tree(t, dir), "db/internal/sqlcgen/extra.sql.go")
	require.Contains(t, tree(t, dir)["db/queries.go"], "Extra(")
	put(t, dir, "db/mine.go", "package db\n")

	require.NoError(t, os.Remove(filepath.Join(dir, "queries/extra.sql")))
	names, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	require.Contains(t, names, "db/internal/sqlcgen/extra.sql.go")
	after := tree(t, dir)
	require.Contains(t, after, "db/mine.go", "a file that was not generated was removed")
	delete(after, "db/mine.go")
	for name, content := range after {
		require.NotContains(t, content, "Extra", name)
	}
}

func TestFailureChangesNothing(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	for name, c := range map[string]struct{ file, content, message string }{
		"sqlc":       {"queries/bad.sql", "-- name: Bad :one\nSELECT nothing FROM nowhere;\n", "queries/bad.sql:2:21: relation \"nowhere\" does not exist"},
		"refusal":    {"queries/bad.sql", "\n-- name: Bad :exec\nSELECT pg_advisory_lock(1);\n", "queries/bad.sql:2: Bad: pg_advisory_lock() locks for the session"},
		"schema":     {"schema/00002_bad.sql", "-- +goose Up\nCREATE TABLE (;\n", "apply the schema: schema: partial migration error (type:sql,version:2): ERROR: syntax error"},
		"small name": {"queries/bad.sql", "-- name: bad :one\nSELECT 1;\n", "queries/bad.sql:1: bad begins with a small letter"},
		"own method": {"queries/bad.sql", "-- name: Queued :one\nSELECT 1;\n", "the query Queued has the name of a method that is generated"},
		"in the way": {"db/read.go", "package db\n", "db/read.go is in the way: it was not generated"},
	} {
		t.Run(name, func(t *testing.T) {
			old, hadOld := tree(t, dir)[c.file]
			put(t, dir, c.file, c.content)
			t.Cleanup(func() {
				require.NoError(t, os.Remove(filepath.Join(dir, c.file)))
				if hadOld {
					put(t, dir, c.file, old)
				}
			})
			before := tree(t, dir)
			_, err := generate.Generate(t.Context(), opts)
			require.ErrorContains(t, err, c.message)
			require.NotContains(t, err.Error(), os.TempDir(), "a path of the temporary folder")
			require.NotContains(t, err.Error(), "../", "a path from the temporary folder")
			require.Equal(t, before, tree(t, dir))
		})
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	differences, err := generate.Verify(t.Context(), opts)
	require.NoError(t, err)
	require.Contains(t, differences, "db/queries.go: is missing")
	require.NotContains(t, tree(t, dir), "db/queries.go", "verify wrote")

	_, err = generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	differences, err = generate.Verify(t.Context(), opts)
	require.NoError(t, err)
	require.Empty(t, differences)

	put(t, dir, "db/queries.go", tree(t, dir)["db/queries.go"]+"\n")
	put(t, dir, "db/internal/sqlcgen/old.sql.go", "// Code generated by sqlc. DO NOT EDIT.\n\npackage sqlcgen\n")
	put(t, dir, "db/old.go", "// Code generated by interlock-gen v0.0.1. DO NOT EDIT.\n\npackage db\n")
	put(t, dir, "db/mine.go", "package db\n")
	require.NoError(t, os.Remove(filepath.Join(dir, "db/read.go")))
	differences, err = generate.Verify(t.Context(), opts)
	require.NoError(t, err)
	require.Equal(t, []string{
		"db/internal/sqlcgen/old.sql.go: is generated from nothing any more",
		"db/old.go: is generated from nothing any more",
		"db/queries.go: differs from what would be generated",
		"db/read.go: is missing",
	}, differences)
}

// TestWarnings shows what becomes of warnings: told at first, known once they are written
// down, and errors if they are new then.
func TestWarnings(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	var told []string
	opts.Notice = func(line string) { told = append(told, line) }
	put(t, dir, "queries/warned.sql", "-- name: PageAudit :many\nSELECT id FROM audit ORDER BY id OFFSET $1;\n")
	const offset = "queries/warned.sql:1: PageAudit: OFFSET reads what it skips, and misses or repeats rows when others come and go: " +
		"begin behind the last key of the page before, WHERE id > sqlc.arg(after_id) ORDER BY id [offset]"

	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	require.Contains(t, told, offset)

	n, err := generate.Baseline(t.Context(), opts)
	require.NoError(t, err)
	require.Equal(t, len(told), n)
	require.Contains(t, tree(t, dir)["interlock.baseline"], "\ndb.PageAudit offset\n")

	told = nil
	_, err = generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	differences, err := generate.Verify(t.Context(), opts)
	require.NoError(t, err)
	require.Empty(t, differences)
	require.Empty(t, told)

	put(t, dir, "queries/warned.sql", "-- name: PageMore :many\nSELECT id FROM audit ORDER BY id OFFSET $1;\n")
	before := tree(t, dir)
	_, err = generate.Generate(t.Context(), opts)
	require.EqualError(t, err, strings.ReplaceAll(offset, "PageAudit", "PageMore"))
	require.Equal(t, before, tree(t, dir))
	require.Equal(t, []string{"interlock.baseline: db.PageAudit offset: there is no such warning any more: remove the line"}, told)
	_, err = generate.Verify(t.Context(), opts)
	require.EqualError(t, err, strings.ReplaceAll(offset, "PageAudit", "PageMore"))
}

// TestOneSchemaForTwoBlocks has a schema that cannot be applied twice on a server, and needs
// more than the rights of an ordinary role.
func TestOneSchemaForTwoBlocks(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/two-blocks")
	put(t, dir, "a/schema.sql", "CREATE ROLE clerk; CREATE TABLE drawers (id bigint PRIMARY KEY); GRANT SELECT ON drawers TO clerk;")
	put(t, dir, "a/queries.sql", "-- name: GetDrawer :one\nSELECT id FROM drawers WHERE id = $1;\n")
	put(t, dir, "b/queries.sql", "-- name: AddDrawer :exec\nINSERT INTO drawers (id) VALUES ($1);\n")
	config := tree(t, dir)["sqlc.yaml"]
	put(t, dir, "sqlc.yaml", strings.ReplaceAll(config, "schema: b/schema.sql", "schema: a/schema.sql"))
	opts.DatabaseURL = "" // a private server
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	files := tree(t, dir)
	require.Contains(t, files["adb/queries.go"], "GetDrawer")
	require.Contains(t, files["bdb/queries.go"], "AddDrawer")
}

// TestVerifyOffline changes one thing after another, and back.
func TestVerifyOffline(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/two-blocks")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	opts.DatabaseURL, opts.Worker = "postgres://nobody@127.0.0.1:1/x", []string{"/nowhere"}
	verify := func() []string {
		differences, err := generate.VerifyOffline(opts)
		require.NoError(t, err)
		return differences
	}
	require.Empty(t, verify())
	put(t, dir, "adb/mine.go", "package adb\n")
	require.Empty(t, verify(), "a file that was not generated")

	files := tree(t, dir)
	for name, c := range map[string]struct {
		file, content string // "": remove it
		want          []string
	}{
		"query":            {"a/queries.sql", files["a/queries.sql"] + "\n", []string{"a/queries.sql: has changed since the last generation"}},
		"schema":           {"b/schema.sql", files["b/schema.sql"] + "-- x", []string{"b/schema.sql: has changed since the last generation"}},
		"configuration":    {"sqlc.yaml", files["sqlc.yaml"] + "# x", []string{"sqlc.yaml: has changed since the last generation"}},
		"module":           {"go.mod", "module example.com/other\n", []string{"the import path: has changed since the last generation"}},
		"output":           {"adb/queries.go", files["adb/queries.go"] + "\n", []string{"adb/queries.go: differs from what was generated"}},
		"header of output": {"adb/queries.go", "package adb\n", []string{"adb/queries.go: differs from what was generated"}},
		"missing output":   {"bdb/internal/gen/models.go", "", []string{"bdb/internal/gen/models.go: is missing"}},
		"left over output": {"bdb/old.go", "// Code generated by interlock-gen v0.0.1. DO NOT EDIT.\n", []string{"bdb/old.go: is generated from nothing any more"}},
		"missing sums":     {"adb/interlock.sum", "", []string{"adb/interlock.sum: is missing"}},
		"other version":    {"adb/interlock.sum", strings.Replace(files["adb/interlock.sum"], "v0.0.0-test", "v9", 1), []string{"adb/interlock.sum: was written by another version of interlock-gen"}},
		"broken sums":      {"adb/interlock.sum", files["adb/interlock.sum"] + "x\n", []string{"adb/interlock.sum: differs from what would be generated"}},
	} {
		if c.content == "" {
			require.NoError(t, os.Remove(filepath.Join(dir, c.file)), name)
		} else {
			put(t, dir, c.file, c.content)
		}
		require.Equal(t, c.want, verify(), name)
		if files[c.file] == "" {
			require.NoError(t, os.Remove(filepath.Join(dir, c.file)), name)
		} else {
			put(t, dir, c.file, files[c.file])
		}
		require.Empty(t, verify(), name)
	}
}

// TestVerifyOfflineSeesFiles adds and removes files in folders of the configuration.
func TestVerifyOfflineSeesFiles(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	put(t, dir, "queries/extra.sql", "-- name: Extra :one\nSELECT id FROM audit WHERE id = $1;\n")
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	put(t, dir, "schema/00002_more.sql", "-- +goose Up\nSELECT 1;\n")
	require.NoError(t, os.Remove(filepath.Join(dir, "queries/extra.sql")))
	differences, err := generate.VerifyOffline(opts)
	require.NoError(t, err)
	require.Equal(t, []string{
		"queries/extra.sql: was removed since the last generation",
		"schema/00002_more.sql: is new since the last generation",
	}, differences)

	_, err = generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	for name, content := range tree(t, dir) {
		require.NotContains(t, content, "extra", name)
	}
	differences, err = generate.VerifyOffline(opts)
	require.NoError(t, err)
	require.Empty(t, differences)
}

// TestScratchDatabasesAreDropped counts them on a server that stays.
func TestScratchDatabasesAreDropped(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	dir, opts := setup(t, "testdata/cases/every-class")
	opts.DatabaseURL = server.OwnerURL("postgres")
	_, err = generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	put(t, dir, "schema/00002_bad.sql", "-- +goose Up\nCREATE TABLE (;\n")
	_, err = generate.Generate(t.Context(), opts)
	require.Error(t, err)

	conn, err := pgx.Connect(t.Context(), server.AdminURL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname LIKE 'interlock_gen_%'").Scan(&left))
	require.Zero(t, left)
}

// TestPrivateServer generates without a server given.
func TestPrivateServer(t *testing.T) {
	t.Parallel()
	dir, opts := setup(t, "testdata/cases/every-class")
	opts.DatabaseURL = ""
	_, err := generate.Generate(t.Context(), opts)
	require.NoError(t, err)
	require.Contains(t, tree(t, dir), "db/queries.go")
}

const defaultConfig = `version: "2"
sql:
  - engine: postgresql
    schema: schema
    queries: queries
    gen:
      go:
        package: sqlcgen
        out: db/internal/sqlcgen
        sql_package: pgx/v5
        emit_pointers_for_null_types: true
        emit_all_enum_values: true
        query_parameter_limit: 1
`

// setup copies what a case is made from to a module of its own.
func setup(t *testing.T, folder string) (dir string, opts generate.Options) {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	dir = t.TempDir()
	put(t, dir, "sqlc.yaml", defaultConfig)
	put(t, dir, "go.mod", "module example.com/app\n\ngo 1.26\n")
	for name, content := range tree(t, folder) {
		if name != "error.txt" && !strings.HasPrefix(name, "want/") {
			put(t, dir, name, content)
		}
	}
	return dir, generate.Options{
		Config:      filepath.Join(dir, "sqlc.yaml"),
		DatabaseURL: server.OwnerURL("postgres"),
		Version:     "v0.0.0-test",
		Worker:      []string{os.Args[0], workerArgument},
	}
}

// tree is the contents of all files below dir by their slash-separated names.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[filepath.ToSlash(rel)] = string(content)
		return err
	}))
	return files
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o666))
}
