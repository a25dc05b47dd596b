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
	"github.com/interlock-go/interlock/internal/invariant"
)

// A report is what a script reads of the JSON.
type report struct {
	Seed uint64
	figures
	Scenes []struct {
		Scene string
		figures
	}
	Killed  ended `json:"connections_killed"`
	Cut     ended `json:"connections_cut"`
	Stopped struct {
		ended
		Times   int
		Seconds float64
	} `json:"server_stopped"`
	Sums []struct {
		Scene, Name string
		Right       bool
		Found       string
	}
	Right bool
}

type figures struct {
	Asked      int
	Committed  int
	Refused    map[string]int
	GivenUp    map[string]int `json:"given_up"`
	Unknown    map[string]int
	Calls      int
	Replayed   int
	AskedAgain struct {
		Unknown, Done int
		NoServer      int `json:"no_server"`
	} `json:"asked_again"`
	Retries     map[string]int
	CommitsLost struct {
		Committed    int
		NotCommitted int `json:"not_committed"`
		Unknown      int
	} `json:"commits_lost"`
	LatencyMS struct{ P50, Max float64 } `json:"latency_ms"`
}

type ended struct{ Connections, Transactions, Commits int }

// played runs a demonstration whose books must be right.
func played(t *testing.T, args string) (r report, stderr string) {
	t.Helper()
	var out, told bytes.Buffer
	code := cli.Main(strings.Fields("demo --json "+args), &out, &told)
	require.Zero(t, code, "%s%s", &out, &told)
	require.NoError(t, json.Unmarshal(out.Bytes(), &r), out.String())
	require.True(t, r.Right)
	for _, s := range r.Sums {
		require.True(t, s.Right, s)
	}
	for _, f := range append([]figures{r.figures}, scenesOf(r)...) {
		require.Equal(t, f.Asked, f.Committed+total(f.Refused)+total(f.GivenUp)+total(f.Unknown), "each request has one fate")
		require.Empty(t, f.Unknown)
		require.Positive(t, f.LatencyMS.P50)
		require.GreaterOrEqual(t, f.LatencyMS.Max, f.LatencyMS.P50)
	}
	return r, told.String()
}

func scenesOf(r report) (all []figures) {
	for _, s := range r.Scenes {
		all = append(all, s.figures)
	}
	return all
}

func total(counts map[string]int) (n int) {
	for _, v := range counts {
		n += v
	}
	return n
}

func TestDemo(t *testing.T) {
	t.Parallel()
	r, stderr := played(t, "--scene accounts --accounts 40 --requests 1500 --faults --kills 12 --cuts 12 --commits 5 --restarts 0 --workers 16 --seed 7")
	require.Len(t, r.Sums, 7+3+2+len(invariant.Account))
	require.EqualValues(t, 7, r.Seed)
	require.GreaterOrEqual(t, r.Asked, 1500)
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
	require.Zero(t, r.AskedAgain, "the server was there all the time")
	require.Zero(t, r.Stopped)
	require.Equal(t, r.figures, r.Scenes[0].figures)

	require.Contains(t, stderr, "16 goroutines ask for accounts: 1500 requests; seed 7\n")
	require.Regexp(t, `(?m)^100%: requests \d+, \d+/s; killed \d+, cut \d+, restarted 0; retries \d+$`, stderr)
	require.NotContains(t, stderr, "\r", "this is no terminal")
	require.NotContains(t, stderr, "postgres://")
}

// While the server is stopped, clients get no answer and ask again: nothing is lost or doubled.
func TestDemoWithRestarts(t *testing.T) {
	t.Parallel()
	r, _ := played(t, "--scene accounts --accounts 40 --requests 1500 --faults --kills 0 --cuts 0 --restarts 2 --workers 16 --seed 7")
	require.Equal(t, 2, r.Stopped.Times)
	require.Positive(t, r.Stopped.Seconds)
	require.Positive(t, r.Stopped.Transactions)
	require.Positive(t, r.AskedAgain.NoServer)
	require.Equal(t, r.AskedAgain.Unknown, r.CommitsLost.Unknown, "clients who were told that it is unknown asked again")
	require.LessOrEqual(t, r.AskedAgain.Done, r.AskedAgain.Unknown)
	require.Empty(t, r.GivenUp)
	require.Zero(t, r.Killed)
	require.Zero(t, r.Cut)
}

// Faults are for those who ask for them.
func TestDemoWithoutFaults(t *testing.T) {
	t.Parallel()
	r, stderr := played(t, "--accounts 40 --requests 1500 --workers 8 --seed 7")
	require.Zero(t, r.Killed)
	require.Zero(t, r.Cut)
	require.Zero(t, r.Stopped)
	require.Zero(t, r.AskedAgain)
	require.Empty(t, r.GivenUp)
	require.NotContains(t, r.Retries, "57P01")
	require.NotContains(t, r.Retries, "connection lost")
	require.NotContains(t, stderr, "killed")
	for _, s := range r.Scenes {
		require.Positive(t, s.Committed, s.Scene)
		if s.Scene != "reports" { // which nobody refuses
			require.Positive(t, total(s.Refused), s.Scene)
		}
	}
}

// Each scene stands all faults, in a process that prints nothing but its result.
func TestScenesWithFaults(t *testing.T) {
	t.Parallel()
	for _, scene := range []string{"seats", "shop", "blog", "reports"} {
		t.Run(scene, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := interlock(t, nil, "demo", "--json", "--scene", scene, "--requests", "300", "--workers", "16",
				"--seed", "7", "--faults", "--kills", "8", "--cuts", "6", "--commits", "3", "--restarts", "1")
			require.Zero(t, code, "%s%s", stdout, stderr)
			var r report
			require.NoError(t, json.Unmarshal([]byte(stdout), &r), stdout)
			require.True(t, r.Right)
			require.GreaterOrEqual(t, r.Killed.Transactions, 8)
			require.GreaterOrEqual(t, r.Cut.Transactions, 6)
			require.Equal(t, 1, r.Stopped.Times)
			require.Positive(t, r.AskedAgain.NoServer)
			require.Positive(t, r.Committed)
			require.Empty(t, r.Unknown)
		})
	}
}

// Faults are certain, however few requests there are.
func TestDemoGoesOnUntilTheFaultsHaveHit(t *testing.T) {
	t.Parallel()
	r, _ := played(t, "--scene accounts --accounts 4 --requests 1 --faults --kills 20 --cuts 0 --restarts 0 --workers 2")
	require.GreaterOrEqual(t, r.Killed.Transactions, 20)
	require.Zero(t, r.Cut.Connections)
}

// Each scene looks at its own books.
func TestDemoFailsWhenTheBooksAreWrong(t *testing.T) {
	t.Parallel()
	tamper := func(ctx context.Context, admin *pgxpool.Pool) error {
		_, err := admin.Exec(ctx, `
			set session_replication_role = replica; -- no trigger, no foreign key
			update accounts set balance_minor = balance_minor + 1 where id = (select min(id) from accounts where kind = 'customer');
			delete from transfers where id = (select min(id) from transfers where kind = 'transfer');
			update seats set status = 'free' where id = (select min(id) from seats where status = 'booked');
			update bookings set status = 'cancelled' where id = (select min(id) from bookings where idempotency_key is null);
			update products set stock = stock + 1 where id = (select max(id) from products where stock < received);
			update orders set idempotency_key = 'order-nobody' where id = (select min(id) from orders where idempotency_key like 'order-%');
			update author_counters set posts = posts + 1 where user_id = (select min(user_id) from author_counters);
			delete from river.river_job where id = (select min(id) from river.river_job where kind = 'blog.index_post');
			update posts set version = version + 1 where id = (select min(id) from posts where title like 'edit-%');
			update reports set balances_minor = balances_minor + 1 where way = 'repeatable_read';
			insert into reports (kind, request_key, way, users, active_users, accounts, balances_minor, entries_minor, transfers, posts, published_posts, read_at)
				select 'demo', 'report-nobody', way, users, active_users, accounts, balances_minor, entries_minor, transfers, posts, published_posts, read_at
				from reports where id = (select min(id) from reports);
			reset session_replication_role`)
		return err
	}
	var stdout, stderr bytes.Buffer
	args := strings.Fields("demo --accounts 4 --requests 400 --workers 4 --seed 1")
	code := cli.Tampered(t.Context(), tamper, args, &stdout, &stderr)
	require.Equal(t, 1, code, "%s%s", &stdout, &stderr)
	require.Contains(t, stderr.String(), "interlock: demo: a sum is wrong")
	for _, sum := range []string{
		`every request id at most once +yes`,
		`every acknowledged one exactly once +NO +\d+ \(book-1-\d+-\d+, order-1-\d+, transfer-1-\d+[ab]?\) are missing`,
		`every other one as reported +NO +0 are there though refused or given up; 2 \(order-nobody, report-nobody\) were never asked for`,
		`balances constant +NO +40\.01, opened with 40\.00`,
		`ledger equals balances +NO +40\.00; 1 accounts differ`,
		`each balance is the sum of the account's entries +NO +1 \(account \d+: balance \d+, entries \d+\) exceptions`,
		`no balance is negative +yes`,
		`each seat says what its live booking says +NO`,
		`each seat that several wanted has one owner +yes`,
		`stock is what was received, without what orders and active reservations hold +NO`,
		`each author's counters are the author's posts +NO`,
		`each published version has its job for the index, once +NO`,
		`each edited version has one edit +NO`,
		`each report of one moment is consistent +NO`,
	} {
		require.Regexp(t, sum, stdout.String())
	}
}

// A demonstration in a process of its own, with its directories under dir, in the middle of
// its load.
func running(t *testing.T, dir string) (p *process, postmaster int) {
	t.Helper()
	p = start(t, []string{"TMPDIR=" + dir}, strings.Fields("demo --scene accounts --accounts 4 --requests 100000000 --workers 4 --faults --kills 1000")...)
	until(t, "requests are served", p.stderr.has("%: requests "))
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
	code, stdout, stderr := interlock(t, []string{"TMPDIR=" + dir}, strings.Fields("demo --scene accounts --accounts 4 --requests 1")...)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "balances constant")
	until(t, "nothing is left", func() bool { return gone(t, dir, postmaster) })
}
