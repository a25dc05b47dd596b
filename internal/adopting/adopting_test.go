package adopting_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	sqlc "github.com/sqlc-dev/sqlc/pkg/cli"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"github.com/interlock-go/interlock/internal/gomodproxy"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

var update = flag.Bool("update", false, "write the diffs and the figures into the page")

const (
	page    = "../../docs/adopting.md"
	library = "github.com/interlock-go/interlock/txn"
	tool    = "github.com/interlock-go/interlock/cmd/interlock-gen"

	// released stands in the page and in testdata for the version that the proxy serves.
	released = "v0.1.0"
)

// steps are the folders of testdata; the first is the application before it adopts anything.
var steps = []string{"step0", "step1", "step2", "step3"}

// The binary of these tests is also the sqlc that the application generates with: the one
// that interlock-gen links.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sqlc" {
		os.Exit(sqlc.Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// At each step the application is what anybody's would be: the library is a module that the
// go command fetches, the generator is installed, generated code is generated, and the
// application's own tests pass against PostgreSQL.
func TestStepsWork(t *testing.T) {
	t.Parallel()
	proxy := gomodproxy.New(t)
	tools := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(tools, "sqlc")))
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	env := slices.Concat(proxy.Env, []string{
		"GOBIN=" + tools,
		"PATH=" + tools + string(filepath.ListSeparator) + os.Getenv("PATH"),
		"INTERLOCK_GEN_DATABASE_URL=" + server.OwnerURL("postgres"),
	})
	run(t, tools, env, "install", tool+"@"+proxy.Version)

	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", step))))
			goMod := filepath.Join(dir, "go.mod")
			served := strings.ReplaceAll(read(t, goMod), released, proxy.Version)
			write(t, goMod, served)
			run(t, dir, env, "generate", "./...")
			run(t, dir, env, "mod", "tidy")
			require.Equal(t, served, read(t, goMod), "go mod tidy changes testdata/%s/go.mod", step)

			require.DirExists(t, filepath.Join(dir, generated[step]))

			run(t, dir, env, "build", "./...")
			run(t, dir, env, "vet", "./...")
			database := txntest.NewDatabase(t, txntest.SQL(read(t, filepath.Join(dir, "schema.sql"))))
			database.Invariant("each test has the money that it began with", `
				SELECT owner FROM accounts GROUP BY owner HAVING sum(balance) NOT IN (100, 1000)`)
			run(t, dir, slices.Concat(env, []string{"LEDGER_TEST_DATABASE_URL=" + database.AppURL()}), "test", "-count=1", "./...")

			c := exec.CommandContext(t.Context(), filepath.Join(tools, "sqlc"), "diff")
			c.Dir = dir
			difference, err := c.CombinedOutput()
			require.NoError(t, err, "sqlc diff: %s", difference)

			// What the last step is for: a lock that is gone at once, on a connection of the pool.
			write(t, filepath.Join(dir, "careless.go"), strings.ReplaceAll(careless, "PACKAGE", generated[step]))
			out, err := command(t, dir, env, "build", "./...")
			if step == "step3" {
				require.Error(t, err)
				require.Contains(t, out, "use of internal package example.com/ledger/db/internal/sqlcgen not allowed")
			} else {
				require.NoError(t, err, out)
			}
		})
	}
}

const careless = `package ledger

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	sqlcgen "example.com/ledger/PACKAGE"
)

func Careless(ctx context.Context, pool *pgxpool.Pool) ([]sqlcgen.Account, error) {
	return sqlcgen.New(pool).LockAccounts(ctx, sqlcgen.LockAccountsParams{Payer: 1, Payee: 2})
}
`

// generated is where sqlc's own output is.
var generated = map[string]string{"step0": "store", "step1": "store", "step2": "store", "step3": "db/internal/sqlcgen"}

// The first step brings the library to an application that has its pgx, and the others bring
// nothing.
func TestRequirements(t *testing.T) {
	t.Parallel()
	require.Equal(t, requirements(t, "../../txn/go.mod")["github.com/jackc/pgx/v5"],
		requirements(t, "testdata/step0/go.mod")["github.com/jackc/pgx/v5"],
		"an application that has the library's pgx: let testdata require that version")
	want := requirements(t, "testdata/step0/go.mod")
	want[library] = released
	for _, step := range steps[1:] {
		require.Equal(t, want, requirements(t, filepath.Join("testdata", step, "go.mod")), step)
	}
}

// The page shows the steps as they are: each diff, and the figures.
func TestPage(t *testing.T) {
	t.Parallel()
	var diffs []string
	for i := range steps[1:] {
		diffs = append(diffs, diff(t, steps[i], steps[i+1]))
	}
	text := read(t, page)
	blocks := diffBlock.FindAllStringSubmatchIndex(text, -1)
	require.Len(t, blocks, len(diffs), "a block for each step")
	if *update {
		for i, at := range slices.Backward(blocks) {
			text = text[:at[2]] + diffs[i] + text[at[3]:]
		}
		text = figures.ReplaceAllLiteralString(text, table(t, diffs))
		write(t, page, text)
		blocks = diffBlock.FindAllStringSubmatchIndex(text, -1)
	}
	for i, at := range blocks {
		require.Equal(t, diffs[i], text[at[2]:at[3]], "%s: write it with -update", steps[i+1])
	}
	require.Equal(t, table(t, diffs), figures.FindString(text), "the figures: write them with -update")
}

var (
	diffBlock = regexp.MustCompile("(?s)```diff\n(.*?)```")
	figures   = regexp.MustCompile(`(?m)^\| +\| before .*\n(\|.*\n)+`)
)

// table has what the steps cost and what they bring.
func table(t *testing.T, diffs []string) string {
	t.Helper()
	lines := func(name string, of func(file string) bool) string {
		row := "| " + name + " | "
		for _, d := range diffs {
			added, removed := changes(d, of)
			row += fmt.Sprintf(" | +%d −%d", added, removed)
		}
		return row + " |\n"
	}
	isTest := func(file string) bool { return strings.HasSuffix(file, "_test.go") }
	isGo := func(file string) bool { return strings.HasSuffix(file, ".go") }
	var b strings.Builder
	b.WriteString("| | before | step 1 | step 2 | step 3 |\n| --- | --- | --- | --- | --- |\n")
	b.WriteString(lines("lines of `ledger.go`", func(file string) bool { return file == "ledger.go" }))
	b.WriteString(lines("lines of its tests", isTest))
	b.WriteString(lines("lines of SQL, settings and `go:generate`", func(file string) bool {
		return file == "generate.go" || !isGo(file) && file != "go.mod"
	}))
	b.WriteString("| modules new in `go.mod` | ")
	for i := range diffs {
		before := requirements(t, filepath.Join("testdata", steps[i], "go.mod"))
		gained := []string{}
		for path, version := range requirements(t, filepath.Join("testdata", steps[i+1], "go.mod")) {
			if before[path] != version {
				gained = append(gained, "`"+path+"`")
			}
		}
		slices.Sort(gained)
		if len(gained) == 0 {
			gained = []string{"none"}
		}
		b.WriteString(" | " + strings.Join(gained, ", "))
	}
	b.WriteString(" |\n")
	for _, call := range []string{"Transfer", "Pay two people", "Statement"} {
		b.WriteString("| round trips of " + call)
		for _, step := range steps {
			b.WriteString(" | " + roundTrips(t, step, call))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// roundTrips is what the application's test at a step holds a call to.
func roundTrips(t *testing.T, step, call string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\t"` + call + `": +(\d+),$`).
		FindStringSubmatch(read(t, filepath.Join("testdata", step, "roundtrips_test.go")))
	require.NotNil(t, m, "%s: %s", step, call)
	return m[1]
}

// changes counts the lines of a diff that are in certain files.
func changes(diff string, of func(file string) bool) (added, removed int) {
	counts, inHunk := false, false
	for line := range strings.Lines(diff) {
		file, isHeader := strings.CutPrefix(line, "# ")
		switch {
		case isHeader:
			counts, inHunk = of(strings.Fields(file)[0]), false
		case strings.HasPrefix(line, "@@"):
			inHunk = true
		case counts && inHunk && line[0] == '+':
			added++
		case counts && inHunk && line[0] == '-':
			removed++
		}
	}
	return added, removed
}

// diff is how two steps differ, a headline for each file.
func diff(t *testing.T, from, to string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "git", "-c", "core.quotepath=false", "diff", "--no-index",
		"--no-color", "--no-ext-diff", "--no-renames", "--diff-algorithm=histogram", "--unified=1", "--", from, to)
	c.Dir = "testdata"
	c.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit) && exit.ExitCode() == 1, "%s and %s are the same, or: %v: %s", from, to, err, &stderr)

	var b strings.Builder
	inHeader := false
	for line := range strings.Lines(string(out)) {
		if name := headline.FindStringSubmatch(line); name != nil {
			inHeader = true
			b.WriteString("# " + name[1])
		} else if at := hunk.FindString(line); at != "" {
			if inHeader {
				b.WriteString("\n")
			}
			inHeader = false
			b.WriteString(at + "\n") // without the line before, which git guesses
		} else if inHeader {
			if what, _, ok := strings.Cut(line, " file mode"); ok {
				b.WriteString(" (" + what + ")")
			}
		} else {
			b.WriteString(line)
		}
	}
	return b.String()
}

var (
	headline = regexp.MustCompile(`^diff --git a/step\d/(\S+) b/`)
	hunk     = regexp.MustCompile(`^@@ .* @@`)
)

func run(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	out, err := command(t, dir, env, args...)
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), out)
}

// command runs the go command.
func command(t *testing.T, dir string, env []string, args ...string) (output string, err error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", args...)
	c.Dir, c.Env = dir, env
	out, err := c.CombinedOutput()
	return string(out), err
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

// requirements are the versions that a go.mod names.
func requirements(t *testing.T, file string) map[string]string {
	t.Helper()
	mod, err := modfile.Parse(file, []byte(read(t, file)), nil)
	require.NoError(t, err)
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}
