package lockorder_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// root is the repository's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	return dir
}

// bank makes a module of testdata that requires what the library does.
func bank(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "bank"))))
	library := filepath.Join(root(t), "txn")
	text, err := os.ReadFile(filepath.Join(library, "go.mod"))
	require.NoError(t, err)
	module := regexp.MustCompile(`(?m)^module (.*)$`)
	path := module.FindSubmatch(text)[1]
	mod := module.ReplaceAllLiteralString(string(text), "module example.com/bank") +
		"\nrequire " + string(path) + " v0.0.0\n\nreplace " + string(path) + " => " + library + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	sum, err := os.ReadFile(filepath.Join(library, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
	return dir
}

// makeTest runs make test, on that module alone.
func makeTest(t *testing.T, module, flags string) (output string, err error) {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), "make", "test", "MODULES="+module, "TESTFLAGS="+flags)
	c.Dir = root(t)
	// What an outer make was told is not for this one.
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "TESTFLAGS", "MODULES"}, name)
	})
	c.Env = append(c.Env, "INTERLOCK_TEST_DATABASE_URL="+server.AdminURL("postgres"))
	out, err := c.CombinedOutput()
	return string(out), err
}

// Two packages pass, and make test does not: together they have a cycle.
func TestMakeFindsCyclesOfSeveralPackages(t *testing.T) {
	t.Parallel()
	module := bank(t)
	out, err := makeTest(t, module, "-run='TestClose|TestRename'")
	require.Error(t, err, out)
	for _, says := range []string{
		"ok  	example.com/bank/closing",
		"ok  	example.com/bank/renaming",
		"txntest: lock order: cycle: accounts, users are locked in orders",
		"of the tests of example.com/bank/closing\n",
		"of the tests of example.com/bank/renaming\n",
		"\t\t\texample.com/bank/closing.Close (" + filepath.Join(module, "closing", "closing.go") + ":",
		"\t\t\texample.com/bank/renaming.Rename (" + filepath.Join(module, "renaming", "renaming.go") + ":",
	} {
		require.Contains(t, out, says)
	}

	// The results were kept, and are not used again: their files are gone.
	again, err := makeTest(t, module, "-run='TestClose|TestRename'")
	require.Error(t, err, again)
	require.Contains(t, again, "txntest: lock order: cycle")

	// One of the two halves is none.
	out, err = makeTest(t, module, "-run=TestClose")
	require.NoError(t, err, out)
	require.Contains(t, out, "lock order: no cycle between the tests of 2 packages: closing renaming")

	// And a test that fails is one, whatever the orders are.
	out, err = makeTest(t, module, "-run=TestBroken")
	require.Error(t, err, out)
	require.Contains(t, out, "FAIL: TestBroken")
	require.NotContains(t, out, "lock order: cycle")
}
