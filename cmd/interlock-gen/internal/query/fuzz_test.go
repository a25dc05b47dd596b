package query_test

import (
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// folder has further statements to look at: sqlc's own test queries, for instance, or
// PostgreSQL's regression tests.
var folder = flag.String("sql", "", "a folder whose .sql files FuzzClassify begins with, too")

// FuzzClassify looks for statements that the analysis cannot take, and for some that lock or
// write and are taken for reads.
func FuzzClassify(f *testing.F) {
	for _, s := range statements {
		f.Add(s.sql)
	}
	for _, pattern := range []string{"../../../../queries/*.sql", "../check/testdata/cases/*/query.sql"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files, pattern)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(f, err)
			for _, sql := range strings.Split(string(source), ";\n") {
				f.Add(sql)
			}
		}
	}
	if *folder != "" {
		files := 0
		require.NoError(f, filepath.WalkDir(*folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".sql" || d.IsDir() {
				return err
			}
			files++
			source, err := os.ReadFile(path)
			for _, sql := range strings.Split(string(source), ";\n") {
				f.Add(sql)
			}
			return err
		}))
		require.NotZero(f, files, *folder)
	}
	catalog := setup(f)
	f.Fuzz(func(t *testing.T, sql string) {
		facts, err := query.Classify(sql, catalog)
		if err != nil {
			_, _ = query.Examine(sql, catalog)
			_, _ = query.Locks(":exec", sql, "", catalog)
			return
		}
		for _, kind := range kinds(t, sql) {
			switch kind {
			case "LockingClause", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "LockStmt":
				require.NotEqual(t, query.Read, facts.Class, "%s in %q", kind, sql)
			}
		}
		shape, err := query.Examine(sql, catalog)
		require.NoError(t, err)
		for _, touch := range shape.Touches {
			require.NotEqual(t, query.Read, facts.Class, "%v in %q", touch, sql)
			require.True(t, touch.Ordered || !touch.One, "%v in %q", touch, sql)
		}
		again, err := query.Examine(sql, catalog)
		require.NoError(t, err)
		require.Equal(t, shape, again)
		_, err = query.Version(sql, "version", catalog)
		require.NoError(t, err)
		_, err = query.Locks(":exec", sql, "", catalog)
		require.NoError(t, err)
		require.NotEmpty(t, facts.String())
	})
}

// kinds are those of the nodes in the tree of a statement, wherever they are.
func kinds(t *testing.T, sql string) (names []string) {
	t.Helper()
	text, err := query.ParseJSON(sql)
	require.NoError(t, err)
	var tree any
	require.NoError(t, json.Unmarshal([]byte(text), &tree))
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				look(item)
			}
		case map[string]any:
			for key, value := range v {
				names = append(names, key)
				look(value)
			}
		}
	}
	look(tree)
	return names
}
