package readme_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest"
)

const root = "../.."

// A document is a Markdown file of the repository.
type document struct {
	name   string // its path from the root
	text   string
	blocks []block
}

// A block is a fenced one.
type block struct{ language, text string }

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

func read(t *testing.T, name string) document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	d := document{name: name, text: fenced.ReplaceAllString(string(text), "")}
	for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
		d.blocks = append(d.blocks, block{m[1], m[2]})
	}
	return d
}

// documents are all that there are.
func documents(t *testing.T) []document {
	t.Helper()
	found := []document{read(t, "README.md"), read(t, "CHANGELOG.md")}
	require.NoError(t, fs.WalkDir(os.DirFS(root), "docs", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".md" {
			found = append(found, read(t, name))
		}
		return err
	}))
	return found
}

// TestPrograms runs each program of the documents, with the module of the library alone, as
// the ordinary role. The block before it is the schema, the block after it what it prints.
func TestPrograms(t *testing.T) {
	t.Parallel()
	var names []string
	for _, d := range documents(t) {
		for i, b := range d.blocks {
			if b.language != "go" || !strings.HasPrefix(b.text, "package main\n") {
				continue
			}
			names = append(names, d.name)
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				require.Greater(t, i, 0, "a program follows its schema")
				require.Greater(t, len(d.blocks), i+1, "a program is followed by what it prints")
				schema, want := d.blocks[i-1], d.blocks[i+1]
				require.Equal(t, []string{"sql", "text"}, []string{schema.language, want.language})
				require.Equal(t, want.text, run(t, schema.text, b.text))
			})
		}
	}
	require.Equal(t, []string{"README.md", "docs/out-of-scope.md"}, names)
}

// TestQueries looks for the queries that README.md shows: they stand in the reference
// application, though with more comment.
func TestQueries(t *testing.T) {
	t.Parallel()
	var known strings.Builder
	files, err := filepath.Glob(filepath.Join(root, "queries", "*.sql"))
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		known.WriteString(comment.ReplaceAllString(string(text), ""))
	}
	found := 0
	for _, b := range read(t, "README.md").blocks {
		for query := range strings.SplitSeq(b.text, "\n\n") {
			if b.language != "sql" || !strings.HasPrefix(query, "-- name: ") {
				continue
			}
			found++
			require.Contains(t, known.String(), query)
		}
	}
	require.Equal(t, 2, found)
}

// comment is a line of it that sqlc and interlock-gen make nothing of.
var comment = regexp.MustCompile("(?m)^--( ([^n@]|n[^a]).*)?\n")

func run(t *testing.T, schema, program string) string {
	t.Helper()
	database := txntest.NewDatabase(t, txntest.SQL(schema))
	main := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(main, []byte(program), 0o600))
	formatted, err := exec.CommandContext(t.Context(), "gofmt", "-l", main).CombinedOutput()
	require.NoError(t, err, "%s", formatted)
	require.Empty(t, string(formatted), "the program is not as gofmt writes it")

	cmd := exec.CommandContext(t.Context(), "go", "run", main)
	cmd.Dir = filepath.Join(root, "txn")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+database.AppURL(), "GOWORK=off")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return string(output)
}

var (
	link  = regexp.MustCompile(`\[([^\]]*)\]\(([^)]+)\)`)
	test  = regexp.MustCompile("^`(Test\\w+)`$")
	span  = regexp.MustCompile("`([^`\n]+)`")
	title = regexp.MustCompile("(?m)^#+ (.*)$")
	goal  = regexp.MustCompile("(?m)(?:^|`)make ([a-z]+)")
)

// TestLinks follows the links within the repository. One whose text is the name of a test
// leads to the file that has the test; what follows a # is a heading there.
func TestLinks(t *testing.T) {
	t.Parallel()
	tests := 0
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.text, -1) {
			if strings.HasPrefix(m[2], "https://") {
				continue
			}
			file, heading, _ := strings.Cut(m[2], "#")
			target := filepath.Join(root, path.Dir(d.name), file)
			if file == "" {
				target = filepath.Join(root, d.name)
			}
			info, err := os.Stat(target)
			require.NoError(t, err, d.name)
			if info.IsDir() {
				continue
			}
			text, err := os.ReadFile(target)
			require.NoError(t, err, d.name)
			require.True(t, heading == "" || slices.Contains(headings(string(text)), heading), "%s leads to %s, where there is no such heading", d.name, m[2])
			if name := test.FindStringSubmatch(m[1]); name != nil {
				tests++
				there := strings.Contains(string(text), "\nfunc "+name[1]+"(t *testing.T)")
				require.True(t, there, "%s names the test %s, which is not in %s", d.name, name[1], m[2])
			}
		}
	}
	require.Greater(t, tests, 10)
}

// headings are a page's, as links name them.
func headings(page string) (names []string) {
	for _, m := range title.FindAllStringSubmatch(page, -1) {
		kept := strings.Map(func(r rune) rune {
			switch {
			case r == ' ', r == '-':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		names = append(names, kept)
	}
	return names
}

// TestNames looks for the files and folders that README.md names, and for make's targets.
func TestNames(t *testing.T) {
	t.Parallel()
	d := read(t, "README.md")
	paths := 0
	for _, m := range span.FindAllStringSubmatch(d.text, -1) {
		if !strings.Contains(m[1], "/") && path.Ext(m[1]) != ".md" || m[1] == "database/sql" {
			continue
		}
		paths++
		_, err := os.Stat(filepath.Join(root, m[1]))
		require.NoError(t, err)
	}
	require.Greater(t, paths, 10)

	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	targets := goal.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, targets)
	for _, m := range targets {
		there := strings.Contains(string(makefile), "\n"+m[1]+": ## ")
		require.True(t, there, "README.md names the target %s, which is not in the Makefile", m[1])
	}
}
