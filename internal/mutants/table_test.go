package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the table changes is there, and so are the tests it names: a table that has fallen
// behind the code would be noticed only by those who run it.
func TestTable(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	rules := map[string]bool{}
	for _, m := range table {
		if rules[m.rule] {
			t.Errorf("two changes have one rule: %s", m.rule)
		}
		rules[m.rule] = true
		text, err := os.ReadFile(filepath.Join(root, m.file))
		if err == nil {
			_, err = m.applied(string(text))
		}
		if err != nil {
			t.Errorf("%s: %v: take the line as it is now, or remove the change with the rule", m.rule, err)
		}
		if !declares(t, filepath.Join(root, m.folder()), m.function()) {
			t.Errorf("%s: package %s has no test %s: name the one that notices", m.rule, m.folder(), m.function())
		}
	}
}

func declares(t *testing.T, folder, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	pattern := regexp.MustCompile(`(?m)^func ` + function + `\(t \*testing\.T\)`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if pattern.Match(text) {
			return true
		}
	}
	return false
}
