package annotation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pgquery "github.com/wasilibs/go-pgquery"
)

// FuzzScan compares the cuts with those of PostgreSQL's parser, for texts that it takes: sqlc
// gives a comment to the statement in whose part of the text it is.
func FuzzScan(f *testing.F) {
	for _, pattern := range []string{"../../../../queries/*.sql", "../check/testdata/cases/*/query.sql"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files, pattern)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(string(source))
		}
	}
	for _, source := range []string{
		"SELECT ';--', E'\\';', \"a;\"\"\", $$;$$, $a$ $$ ; $a$, $1; SELECT 2 -- ;\n; SELECT /* ; /* ; */ ; */ 3",
		"SELECT E'a'\n'b\\';' ; SELECT U&'\\0061;' UESCAPE '!' ; SELECT a$b$c, B'1', x'f', N';', 1.5e3;;",
		"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 1",
		"SELECT 1 -- ;\r; SELECT 2;\r\nSELECT a-- ;\n;", "SELECT 1+-- ;\n2; SELECT '' ';'", "SELECT e'\\\\'; SELECT E'''\\''';",
	} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if strings.ContainsAny(source, "\x00") || strings.Contains(strings.ToLower(source), "atomic") {
			return // where C ends a text, and functions whose bodies have semicolons
		}
		parsed, err := pgquery.ParseToJSON(source)
		if err != nil {
			return
		}
		var tree struct {
			Stmts []struct {
				Location int `json:"stmt_location"`
				Len      int `json:"stmt_len"`
			}
		}
		require.NoError(t, json.Unmarshal([]byte(parsed), &tree))
		var want, have []string
		for _, s := range tree.Stmts {
			end := s.Location + s.Len
			if s.Len == 0 {
				end = len(source)
			}
			want = append(want, source[s.Location:end])
		}
		for _, s := range scan(source) {
			if s.begun {
				have = append(have, source[s.start:s.end])
			}
		}
		require.Equal(t, want, have)
	})
}
