//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/cli"
)

// A report is what a script reads of the JSON.
type report struct {
	Seed        uint64
	Asked       int `json:"transfers_asked"`
	Committed   int
	Refused     map[string]int
	GivenUp     map[string]int `json:"given_up"`
	Unknown     map[string]int
	Calls       int
	Replayed    int
	Retries     map[string]int
	Killed      ended `json:"connections_killed"`
	Cut         ended `json:"connections_cut"`
	CommitsLost struct {
		Committed    int
		NotCommitted int `json:"not_committed"`
		Unknown      int
	} `json:"commits_lost"`
	LatencyMS struct{ P50, Max float64 } `json:"latency_ms"`
	Sums      []struct {
		Name  string
		Right bool
		Found string
	}
	Right bool
}

type ended struct{ Connections, Transactions, Commits int }

func total(counts map[string]int) (n int) {
	for _, v := range counts {
		n += v
	}
	return n
}

func TestDemo(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	code := cli.Main(strings.Fields("demo --accounts 40 --transfers 1500 --kills 12 --cuts 12 --commits 5 --workers 16 --seed 7 --json"), &stdout, &stderr)
	require.Zero(t, code, "%s%s", &stdout, &stderr)
	var r report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r), stdout.String())
	require.True(t, r.Right)
	require.Len(t, r.Sums, 9)
	for _, s := range r.Sums {
		require.True(t, s.Right, s)
	}
	require.EqualValues(t, 7, r.Seed)
	require.GreaterOrEqual(t, r.Asked, 1500)
	require.Equal(t, r.Asked, r.Committed+total(r.Refused)+total(r.GivenUp)+total(r.Unknown), "each transfer has one fate")
	require.Positive(t, r.Refused["insufficient funds"])
	require.Positive(t, r.Replayed)
	require.Greater(t, r.Calls, r.Asked/2)
	require.Positive(t, r.Retries["40P01"], "crossed transfers deadlock")
	require.GreaterOrEqual(t, r.Killed.Transactions, 12)
	require.GreaterOrEqual(t, r.Killed.Connections, r.Killed.Transactions)
	require.GreaterOrEqual(t, r.Cut.Transactions, 12)
	require.GreaterOrEqual(t, r.Killed.Commits, 5)
	require.GreaterOrEqual(t, r.Cut.Commits, 5)
	require.Equal(t, r.Killed.Commits+r.Cut.Commits, r.CommitsLost.Committed+r.CommitsLost.NotCommitted)
	require.Zero(t, r.CommitsLost.Unknown)
	require.Empty(t, r.Unknown)
	require.Positive(t, r.LatencyMS.P50)
	require.GreaterOrEqual(t, r.LatencyMS.Max, r.LatencyMS.P50)

	require.Contains(t, stderr.String(), "16 goroutines ask for 1500 transfers (seed 7)\n")
	require.Regexp(t, `(?m)^transfers \d+/1500, \d+/s; connections killed \d+, cut \d+; retries \d+$`, stderr.String())
	require.NotContains(t, stderr.String(), "\r", "this is no terminal")
	require.NotContains(t, stderr.String(), "postgres://")
}

// Faults are certain, however few transfers there are.
func TestDemoGoesOnUntilTheFaultsHaveHit(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	code := cli.Main(strings.Fields("demo --accounts 4 --transfers 1 --kills 20 --cuts 0 --workers 2 --json"), &stdout, &stderr)
	require.Zero(t, code, "%s%s", &stdout, &stderr)
	var r report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r))
	require.GreaterOrEqual(t, r.Killed.Transactions, 20)
	require.Zero(t, r.Cut.Connections)
}

func TestDemoFailsWhenTheBooksAreWrong(t *testing.T) {
	t.Parallel()
	tamper := func(ctx context.Context, admin *pgxpool.Pool) error {
		_, err := admin.Exec(ctx, `
			set session_replication_role = replica; -- no trigger, no foreign key
			update accounts set balance_minor = balance_minor + 1 where id = (select min(id) from accounts where kind = 'customer');
			delete from transfers where id = (select min(id) from transfers where kind = 'transfer');
			reset session_replication_role`)
		return err
	}
	var stdout, stderr bytes.Buffer
	args := strings.Fields("demo --accounts 4 --transfers 40 --kills 0 --cuts 0 --workers 4 --seed 1")
	code := cli.Tampered(t.Context(), tamper, args, &stdout, &stderr)
	require.Equal(t, 1, code, "%s%s", &stdout, &stderr)
	require.Contains(t, stderr.String(), "interlock: demo: a sum is wrong")
	require.Regexp(t, `balances constant +NO +40\.01, opened with 40\.00`, stdout.String())
	require.Regexp(t, `ledger equals balances +NO +40\.00; 1 accounts differ`, stdout.String())
	require.Regexp(t, `every acknowledged one exactly once +NO +1 \(demo-1-\d+[ab]?\) are missing`, stdout.String())
	require.Regexp(t, `every request id at most once +yes`, stdout.String())
	require.Regexp(t, `every other one as reported +yes`, stdout.String())
}

// A demonstration in a process of its own, with its directories under dir, in the middle of
// its load.
func running(t *testing.T, dir string) (p *process, postmaster int) {
	t.Helper()
	p = start(t, []string{"TMPDIR=" + dir}, strings.Fields("demo --accounts 4 --transfers 100000000 --workers 4 --kills 1000")...)
	until(t, "transfers are made", p.stderr.has("transfers "))
	files, err := filepath.Glob(filepath.Join(dir, "interlock-pg-*", "data", "postmaster.pid"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	postmaster, err = strconv.Atoi(first)
	require.NoError(t, err)
	return p, postmaster
}

// publicDir is a directory in which everybody may make files: the server does not run as root.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "interlock-cli-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// gone reports whether the server's process has ended and nothing of it is left in dir.
func gone(t *testing.T, dir string, postmaster int) bool {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	return len(left) == 0 && syscall.Kill(postmaster, 0) == syscall.ESRCH
}

func TestInterruptedDemo(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	p, postmaster := running(t, dir)
	p.signal(t, syscall.SIGINT)
	require.Equal(t, 1, p.code())
	require.True(t, gone(t, dir, postmaster), "when the program has ended, so has the server")
	require.Empty(t, p.stdout.String(), "no sums of half a load")
	require.True(t, strings.HasSuffix(p.stderr.String(), "interlock: interrupted\n"), p.stderr.String())
}

func TestDemoInterruptedTwice(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	p, postmaster := running(t, dir)
	// The server cannot stop, so the program would wait for it.
	require.NoError(t, syscall.Kill(postmaster, syscall.SIGSTOP))
	p.signal(t, syscall.SIGINT)
	until(t, "it waits for the server", p.stderr.has("stopping the server"))
	p.signal(t, syscall.SIGINT)
	require.Equal(t, -1, p.code())
	require.Equal(t, syscall.SIGINT, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	require.NoError(t, syscall.Kill(postmaster, syscall.SIGCONT))
	until(t, "nothing is left", func() bool { return gone(t, dir, postmaster) })
}

func TestDemoInterruptedBeforeTheServerIsReady(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	p := start(t, []string{"TMPDIR=" + dir}, "demo")
	until(t, "initdb is at work", func() bool {
		made, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*", "data", "base"))
		return len(made) > 0
	})
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, 1, p.code())
	require.Equal(t, "interlock: interrupted\n", p.stderr.String())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestKilledDemo(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	p, postmaster := running(t, dir)
	p.signal(t, syscall.SIGKILL)
	require.Equal(t, -1, p.code())
	code, stdout, stderr := interlock(t, []string{"TMPDIR=" + dir}, strings.Fields("demo --accounts 4 --transfers 1 --kills 0 --cuts 0")...)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "balances constant")
	until(t, "nothing is left", func() bool { return gone(t, dir, postmaster) })
}
