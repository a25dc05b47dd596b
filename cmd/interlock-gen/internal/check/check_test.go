package check_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/annotation"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/check"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/scratch"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// TestCases checks the queries of each folder of testdata/cases, and expects what is in its
// want.txt: nothing, where the name ends with ok.
func TestCases(t *testing.T) {
	t.Parallel()
	shared := setup(t, "testdata/schema.sql")
	for _, folder := range cases(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			db := shared
			if _, err := os.Stat(filepath.Join(folder, "schema.sql")); !errors.Is(err, fs.ErrNotExist) {
				db = setup(t, filepath.Join(folder, "schema.sql"))
			}
			found, err := db.check(t, filepath.Join(folder, "query.sql"), check.Rules{})
			require.NoError(t, err)
			lines := ""
			for _, f := range found {
				lines += f.String() + "\n"
			}
			want := filepath.Join(folder, "want.txt")
			if *update {
				require.NoError(t, os.WriteFile(want, []byte(lines), 0o666))
			}
			text, err := os.ReadFile(want)
			require.NoError(t, err)
			require.Equal(t, string(text), lines)
		})
	}
}

// TestEachCheckFindsAndPasses holds the cases to be complete: each check has some that it
// finds, and one of what it must not find.
func TestEachCheckFindsAndPasses(t *testing.T) {
	t.Parallel()
	finding := map[string]int{}
	passing := map[string]bool{}
	for _, folder := range cases(t) {
		text, err := os.ReadFile(filepath.Join(folder, "want.txt"))
		require.NoError(t, err)
		name := filepath.Base(folder)
		passed, ok := strings.CutSuffix(name, "-ok")
		require.Equal(t, ok, len(text) == 0, name)
		if ok {
			passing[passed] = true
			continue
		}
		for _, c := range check.Names() {
			if strings.HasPrefix(name, c) && strings.Contains(string(text), " ["+c+"]\n") {
				finding[c]++
			}
		}
	}
	total := 0
	for _, name := range check.Names() {
		require.NotZero(t, finding[name], "no case finds %s", name)
		require.True(t, passing[name], "no folder %s-ok", name)
		total += finding[name]
	}
	require.GreaterOrEqual(t, total, 60)
}

func cases(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob("testdata/cases/*")
	require.NoError(t, err)
	require.NotEmpty(t, folders)
	return folders
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, yaml, err string }{
		{"nothing", "", ""},
		{"all", "{warnings: error, checks: {offset: off, row-count: warn, optimistic: error}}", ""},
		{"unknown setting", "{warning: error}", "options.interlock: yaml: unmarshal errors:\n  line 1: field warning not found in type check.Rules"},
		{"level of all", "{warnings: off}", `options.interlock: warnings is "off": it can be warn or error`},
		{"level of one", "{checks: {offset: loud}}", `options.interlock: checks: offset is "loud": it can be off, warn or error`},
		{"misspelt", "{checks: {ofset: off}}", "options.interlock: checks: there is no check ofset: offset was meant"},
		{"less than an error", "{checks: {optimistic: warn}}", "options.interlock: checks: optimistic is always an error, since what it finds cannot be right: remove the line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := check.ReadRules(document(t, c.yaml))
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	db := setup(t, "testdata/schema.sql")
	for _, c := range []struct {
		name, yaml string
		levels     map[string]check.Level
	}{
		{"by default", "", map[string]check.Level{"lock-strength": check.Warn, "row-count": check.Warn, "optimistic": check.Error}},
		{"warnings as errors", "{warnings: error}", map[string]check.Level{"lock-strength": check.Error, "row-count": check.Error, "optimistic": check.Error}},
		{"some otherwise", "{warnings: error, checks: {lock-strength: off, row-count: warn}}", map[string]check.Level{"row-count": check.Warn, "optimistic": check.Error}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := check.ReadRules(document(t, c.yaml))
			require.NoError(t, err)
			found, err := db.check(t, "testdata/levels.sql", rules)
			require.NoError(t, err)
			levels := map[string]check.Level{}
			for _, f := range found {
				levels[f.Check] = f.Level
			}
			require.Equal(t, c.levels, levels)
		})
	}
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	known, err := check.LoadBaseline(dir)
	require.NoError(t, err)
	require.Nil(t, known)

	warnings := []check.Finding{
		{Package: "db", Query: "LockTwo", Check: "lock-order", Table: "accounts", Position: "a.sql:1"},
		{Package: "db", Query: "LockTwo", Check: "lock-order", Table: "users", Position: "a.sql:1"},
		{Package: "db", Query: "ListUsers", Check: "offset", Position: "a.sql:9"},
	}
	file := filepath.Join(dir, check.BaselineName)
	require.NoError(t, os.WriteFile(file, check.FormatBaseline(warnings), 0o666))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, `# Warnings that are known. Those that are not here fail.
# Written by interlock-gen baseline; remove a line when its warning is gone.
db.ListUsers offset
db.LockTwo lock-order accounts
db.LockTwo lock-order users
`, string(text))

	known, err = check.LoadBaseline(dir)
	require.NoError(t, err)
	fresh, stale := known.Split(warnings)
	require.Empty(t, fresh)
	require.Empty(t, stale)

	moved := warnings[0]
	moved.Position = "b.sql:7"
	added := check.Finding{Package: "db", Query: "LockThree", Check: "lock-order", Table: "accounts"}
	fresh, stale = known.Split([]check.Finding{moved, added})
	require.Equal(t, []check.Finding{added}, fresh)
	require.Equal(t, []string{"db.ListUsers offset", "db.LockTwo lock-order users"}, stale)

	for _, line := range []string{"db.ListUsers", "db.ListUsers no-such-check", "db.ListUsers offset users again"} {
		require.NoError(t, os.WriteFile(file, []byte("\n"+line+" # why\n"), 0o666))
		_, err = check.LoadBaseline(dir)
		require.EqualError(t, err, `interlock.baseline:2: "`+line+` " is no warning, such as db.LockUsers lock-order users: interlock-gen baseline writes the file`)
	}
}

func document(t *testing.T, text string) yaml.Node {
	t.Helper()
	var n yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &n))
	if n.IsZero() {
		return n
	}
	return *n.Content[0]
}

// A database has a schema, and a connection for one goroutine.
type database struct {
	conn    *pgx.Conn
	catalog *query.Catalog
}

func setup(t *testing.T, schema string) *database {
	t.Helper()
	shared, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	server, err := scratch.Start(t.Context(), shared.OwnerURL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	url, err := server.Create(t.Context())
	require.NoError(t, err)
	require.NoError(t, scratch.Apply(t.Context(), url, ".", []string{schema}, query.Split))
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(t.Context())) })
	catalog, err := query.LoadCatalog(t.Context(), conn)
	require.NoError(t, err)
	return &database{conn, catalog}
}

// check classifies the queries of a file, and runs the checks on them, as a run of the
// generator does.
func (d *database) check(t *testing.T, file string, rules check.Rules) (found []check.Finding, err error) {
	t.Helper()
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	queries, err := annotation.Parse(filepath.Base(file), string(source))
	require.NoError(t, err)
	var statements []*check.Statement
	for _, q := range queries {
		statements = append(statements, &check.Statement{Query: q, SQL: q.Source})
	}
	early := check.Early(statements, d.catalog)
	for _, s := range statements {
		_, err := query.Of(s.Cmd, s.SQL, "", s.Reads, d.catalog)
		var refused *query.RefusedError
		if errors.As(err, &refused) {
			found = append(found, check.Refused(s, refused))
			continue
		}
		require.NoError(t, err)
	}
	all, err := check.Run(t.Context(), d.conn, d.catalog, statements, rules)
	for _, f := range early {
		require.True(t, slices.Contains(all, f), "%s is found early alone", f)
	}
	return append(found, all...), err
}

// TestDocumentation holds docs/checks.md to have a section for each check, with an example,
// and none for anything else.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../../docs/checks.md")
	require.NoError(t, err)
	_, sections, _ := strings.Cut(string(text), "\n## Errors\n")
	sections, _, _ = strings.Cut(sections, "\n## Limits\n")
	var names []string
	for _, section := range strings.Split(sections, "\n### ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		names = append(names, name)
		require.Contains(t, body, "```sql\n", "%s has no example", name)
	}
	require.Equal(t, check.Names(), names)
}
