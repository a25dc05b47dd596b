package txntest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// ofProcess watches the transactions of TestOfAProcess.
var ofProcess = txntest.NewLockOrder(shopQueries)

func TestMain(m *testing.M) {
	if os.Getenv("TXNTEST_TESTS") != "" {
		os.Exit(ofProcess.Run(m))
	}
	_ = os.Unsetenv("INTERLOCK_LOCK_ORDER_DIR") // the orders that the other tests plant are nobody's
	os.Exit(m.Run())
}

// TestOfAProcess is run by the tests below, in processes of their own: the tests of a package
// that do what TXNTEST_TESTS says.
func TestOfAProcess(t *testing.T) {
	do := os.Getenv("TXNTEST_TESTS")
	if do == "" {
		return // on its own there is nothing to show
	}
	database := txntest.NewDatabase(t, shop)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{ofProcess}})
	for what := range strings.FieldsSeq(do) {
		switch what {
		case "close":
			require.NoError(t, closeAccount(t.Context(), d, 1))
		case "allow-close":
			ofProcess.Allow("LockAccount", "LockUser", "nobody else works then")
		case "rename":
			require.NoError(t, renameUser(t.Context(), d, 1))
		case "fail":
			t.Error("as it should")
		}
	}
}

// process runs tests in a process that writes to folder.
func process(t *testing.T, folder, do string, flags ...string) (output string, err error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self, append([]string{"-test.run=^TestOfAProcess$", "-test.v"}, flags...)...)
	c.Env = append(os.Environ(), "TXNTEST_TESTS="+do, "INTERLOCK_LOCK_ORDER_DIR="+folder,
		"INTERLOCK_TEST_DATABASE_URL="+server.AdminURL("postgres"))
	out, err := c.CombinedOutput()
	return string(out), err
}

// processes runs each in a process of its own and merges what they wrote.
func processes(t *testing.T, all ...string) *txntest.MergedLockOrders {
	t.Helper()
	folder := t.TempDir()
	for _, do := range all {
		out, err := process(t, folder, do)
		require.NoError(t, err, out)
	}
	merged, err := txntest.MergeLockOrders(folder)
	require.NoError(t, err)
	return merged
}

// Two processes each have one half of a cycle, and neither finds anything.
func TestMergeLockOrders(t *testing.T) {
	t.Parallel()
	merged := processes(t, "close", "rename")
	require.Equal(t, []string{"github.com/interlock-go/interlock/txn/txntest"}, merged.Packages)
	found := merged.Findings()
	require.Len(t, found, 1)
	require.Equal(t, "cycle of accounts+users: LockAccount FOR NO KEY UPDATE > LockUser FOR NO KEY UPDATE, "+
		"LockUser FOR NO KEY UPDATE > LockAccount FOR NO KEY UPDATE", brief(found[0]))
	for i, function := range []string{"closeAccount", "renameUser"} {
		o := found[0].Orders[i]
		require.Equal(t, merged.Packages[0], o.Tests)
		for _, taken := range []txntest.TakenLock{o.First, o.Second} {
			require.Regexp(t, `txntest_test\.lock \(.*example_lockorder_test\.go:\d+\)$`, taken.Stack[0])
			require.Contains(t, taken.Stack[2], "txntest_test."+function+" (")
		}
		require.Contains(t, merged.Err().Error(), "txntest_test."+function+" (")
	}
	require.Contains(t, merged.Err().Error(), `transaction "close account" of the tests of `+merged.Packages[0]+"\n")

	require.NoError(t, processes(t, "close", "close").Err(), "one order, twice")
	require.NoError(t, processes(t, "allow-close close", "rename").Err(), "what a package allows, the merge allows")
	require.Error(t, processes(t, "allow-close", "close", "rename").Err(), "for its own tests")
	require.Empty(t, processes(t).Packages)
}

// What one process finds by itself it has said, and another one with half of it does not
// make it a finding of both; with the whole of it in halves, it is.
func TestMergeLockOrdersOfOneProcess(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	out, err := process(t, folder, "close rename")
	require.Error(t, err)
	require.Contains(t, out, "txntest: lock order: cycle: accounts, users")
	merged, err := txntest.MergeLockOrders(folder)
	require.NoError(t, err)
	require.NotEmpty(t, merged.Packages, "who found something has written it, too")
	require.NoError(t, merged.Err())

	for _, do := range []string{"close", "rename"} {
		out, err = process(t, folder, do)
		require.NoError(t, err, out)
	}
	out, err = process(t, folder, "close fail")
	require.Error(t, err)
	require.NotContains(t, out, "lock order", "a test failed, and that is enough")
	merged, err = txntest.MergeLockOrders(folder)
	require.NoError(t, err)
	require.Len(t, merged.Findings(), 1)
}

// The same orders, read again, are the same text: names of files are by chance.
func TestMergeLockOrdersIsStable(t *testing.T) {
	t.Parallel()
	first, second := processes(t, "close", "rename"), processes(t, "rename", "close")
	require.Equal(t, first.Err().Error(), second.Err().Error())
}

func TestMergeLockOrdersRefuses(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, err := txntest.MergeLockOrders(filepath.Join(folder, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	for text, says := range map[string]string{
		`{"format": 1, "orders": [`: "unexpected end of JSON input",
		`{"format": 2}`:             "has format 2",
		`{}`:                        "has format 0",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "orders-1.json"), []byte(text), 0o600))
		_, err := txntest.MergeLockOrders(folder)
		require.ErrorContains(t, err, says)
	}
	require.NoError(t, os.Rename(filepath.Join(folder, "orders-1.json"), filepath.Join(folder, "orders-1.part")))
	merged, err := txntest.MergeLockOrders(folder)
	require.NoError(t, err, "what is not whole yet is passed over")
	require.Empty(t, merged.Packages)
}

// Who cannot write fails: orders that are missing would not be missed.
func TestLockOrderRunCannotWrite(t *testing.T) {
	t.Parallel()
	out, err := process(t, filepath.Join(t.TempDir(), "none"), "close")
	require.Error(t, err)
	require.Contains(t, out, "txntest: write lock orders: ")
}

// go test keeps results, and must not keep one whose file another folder is to have: it looks
// at the variables that the tests asked for while they ran.
func TestLockOrderRunIsNotKeptForAnotherFolder(t *testing.T) {
	t.Parallel()
	asked := filepath.Join(t.TempDir(), "asked")
	out, err := process(t, t.TempDir(), "close", "-test.testlogfile="+asked)
	require.NoError(t, err, out)
	text, err := os.ReadFile(asked)
	require.NoError(t, err)
	require.Contains(t, string(text), "getenv INTERLOCK_LOCK_ORDER_DIR\n")
}
