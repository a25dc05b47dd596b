package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Go in the documentation is a part of a test, so that it compiles and does what is said:
// each block stands in some test file, but for its indentation. Whole programs, such as the
// one in README.md, are built and run by package readme.
func TestDocumentedGoIsTested(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	var tested strings.Builder
	for _, pattern := range []string{"txn/*_test.go", "service/*/*_test.go", "txn/txntest/*_test.go", "db/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, f := range files {
			tested.WriteString(unindented(t, f))
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	pages = append(pages, filepath.Join(root, "README.md"))
	blocks := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, block := range goBlock.FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(block[1], "package ") {
				continue
			}
			blocks++
			require.Contains(t, tested.String(), lines(block[1]),
				"%s: this block is in no test file: take it from an example, or make it one:\n%s", filepath.Base(page), block[1])
		}
	}
	require.Positive(t, blocks)
}

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

func unindented(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return lines(string(text))
}

// lines is the text without indentation and blank lines.
func lines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
