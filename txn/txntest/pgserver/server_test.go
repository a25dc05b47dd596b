//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The test binary starts itself again as a process that starts a server and ends in the
// way that the environment asks for.
func TestMain(m *testing.M) {
	how := os.Getenv("PGSERVER_TEST_CHILD")
	if how == "" {
		os.Exit(m.Run())
	}
	if how == "shared" {
		server, err := pgserver.Shared(context.Background())
		report(server, err)
		os.Exit(0)
	}
	server, err := pgserver.Start(context.Background(), pgserver.Config{NoSync: true})
	if how == "standby" && err == nil {
		server, err = pgserver.StartStandby(context.Background(), server, pgserver.Config{})
	}
	report(server, err)
	switch how {
	case "panic":
		panic("boom")
	case "exit":
		os.Exit(3)
	case "abandon":
		if err := pgserver.KillWatchdog(server); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case "stop":
		if err := server.Stop(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	select {} // until a signal comes
}

// report says what came of a start, on a line of the child's output.
func report(server *pgserver.Server, err error) {
	if missing, ok := errors.AsType[*pgserver.NotFoundError](err); ok {
		fmt.Printf("not found %q: %v\n", missing.Wanted, missing.Tried)
		os.Exit(1)
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println(server.AdminURL("postgres"))
}

func start(t *testing.T, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	cfg.NoSync = true
	server, err := pgserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func TestRolesAndSettings(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{Settings: map[string]string{"max_prepared_transactions": "7", "cluster_name": `it's a \ here`}})
	var user, setting, name string
	var super, bypass, createdb bool
	const who = `select rolname, rolsuper, rolbypassrls, rolcreatedb, current_setting('max_prepared_transactions'), current_setting('cluster_name')
		from pg_roles where rolname = current_user`
	for url, role := range map[string]string{
		server.AppURL("postgres"):   pgserver.AppRole,
		server.OwnerURL("postgres"): pgserver.OwnerRole,
	} {
		require.NoError(t, connect(t, url).QueryRow(t.Context(), who).Scan(&user, &super, &bypass, &createdb, &setting, &name))
		require.Equal(t, role, user)
		require.False(t, super)
		require.False(t, bypass)
		require.Equal(t, role == pgserver.OwnerRole, createdb)
		require.Equal(t, "7", setting)
		require.Equal(t, `it's a \ here`, name)
	}
	require.NoError(t, connect(t, server.AdminURL("postgres")).QueryRow(t.Context(), who).Scan(&user, &super, &bypass, &createdb, &setting, &name))
	require.True(t, super)
	require.Greater(t, server.VersionNum(), 140000)

	cfg, err := pgx.ParseConfig(server.AppURL("postgres"))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", cfg.Host)
	cfg.Password = "wrong"
	_, err = pgx.ConnectConfig(t.Context(), cfg)
	require.Error(t, err, "nobody on this machine gets in without the password")
}

func TestProgram(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{NoSync: true})
	path := server.Program("postgres")
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), strconv.Itoa(server.VersionNum()/10000)+".")
	require.Empty(t, server.Program("no-such-program"))
}

func TestSeveralAtOnce(t *testing.T) {
	t.Parallel()
	a, b := start(t, pgserver.Config{}), start(t, pgserver.Config{})
	require.NotEqual(t, a.AdminURL("postgres"), b.AdminURL("postgres"))
	require.NoError(t, connect(t, a.AdminURL("postgres")).Ping(t.Context()))
	require.NoError(t, connect(t, b.AdminURL("postgres")).Ping(t.Context()))
}

func TestRestartAndCrash(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{})
	url := server.AdminURL("postgres")
	c := connect(t, url)
	_, err := c.Exec(t.Context(), "create table kept as select 1 as n")
	require.NoError(t, err)
	for name, again := range map[string]func(context.Context) error{"restart": server.Restart, "crash": server.Crash} {
		require.NoError(t, again(t.Context()), name)
		require.Equal(t, url, server.AdminURL("postgres"))
		require.Error(t, c.Ping(t.Context()), "all sessions have ended")
		c = connect(t, url)
		var n int
		require.NoError(t, c.QueryRow(t.Context(), "select n from kept").Scan(&n))
	}
	require.NoError(t, server.Stop())
	require.NoError(t, server.Stop(), "twice is once")
}

// A server is down for as long as it is told to be, and comes back unless nobody waits for it.
func TestOutage(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{})
	url := server.AdminURL("postgres")
	const down = 300 * time.Millisecond
	for _, crash := range []bool{false, true} {
		since := time.Now()
		require.NoError(t, server.Outage(t.Context(), pgserver.Outage{Crash: crash, For: down}))
		require.GreaterOrEqual(t, time.Since(since), down)
		require.NoError(t, connect(t, url).Ping(t.Context()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- server.Outage(ctx, pgserver.Outage{For: time.Hour}) }()
	until(t, "the server is down", func() bool {
		c, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = c.Close(t.Context())
		}
		return err != nil
	})
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	_, err := pgx.Connect(t.Context(), url)
	require.Error(t, err)
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, connect(t, url).Ping(t.Context()))
}

func TestRestartWhileOthersStop(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{})
	done := make(chan error, 3)
	for _, do := range []func() error{
		func() error { return server.Restart(context.Background()) },
		func() error { return server.Crash(context.Background()) },
		server.Stop,
	} {
		go func() { done <- do() }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			require.ErrorContains(t, err, "is stopped")
		}
	}
	_, err := pgx.Connect(t.Context(), server.AdminURL("postgres"))
	require.Error(t, err, "stopped is stopped")
}

// A server that another kills comes back all the same.
func TestRestartAfterKill(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{})
	c := connect(t, server.AdminURL("postgres"))
	_, err := c.Exec(t.Context(), "create table kept as select 1 as n")
	require.NoError(t, err)
	require.NoError(t, pgserver.KillServer(server))
	require.NoError(t, server.Restart(t.Context()))
	var n int
	require.NoError(t, connect(t, server.AdminURL("postgres")).QueryRow(t.Context(), "select n from kept").Scan(&n))
}

// A client that is given the server's port as its own could keep it from restarting.
func TestPortIsNoClients(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip("the range of the clients' ports is not known here")
	}
	var first int
	_, err = fmt.Sscan(string(text), &first)
	require.NoError(t, err)
	if first < 16384 {
		t.Skipf("clients may have all ports from %d on", first)
	}
	u, err := url.Parse(start(t, pgserver.Config{}).AdminURL("postgres"))
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	require.Less(t, port, first)
}

// However the process ends that started it, the server ends too and its data are removed.
func TestServerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(*os.Process) error{
		"stop":    nil,
		"exit":    nil,
		"panic":   nil,
		"SIGINT":  func(p *os.Process) error { return p.Signal(syscall.SIGINT) },
		"SIGTERM": func(p *os.Process) error { return p.Signal(syscall.SIGTERM) },
		"SIGKILL": func(p *os.Process) error { return p.Kill() },
		"standby": func(p *os.Process) error { return p.Kill() },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := publicDir(t)
			c := child(t, how, dir)
			if end != nil {
				require.NoError(t, end(c.cmd.Process))
			}
			_ = c.cmd.Wait()
			gone(t, c.said, dir)
		})
	}
}

// Also while initdb is still making files.
func TestKilledWhileStarting(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	c := launch(t, "wait", dir)
	until(t, "initdb is at work", func() bool {
		made, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*", "data", "base"))
		return len(made) > 0
	})
	require.NoError(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
	until(t, "nothing is left", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*"))
		return len(left) == 0
	})
}

// The watchdog can be killed too. Then the next Start cleans up, and leaves alone what has
// an owner.
func TestNextStartCleansUp(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	owned := child(t, "wait", dir)
	dead := child(t, "abandon", dir)
	require.NoError(t, dead.cmd.Wait())
	left, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*"))
	require.Len(t, left, 2, "nobody was left to clean up")
	require.NoError(t, connect(t, dead.said).Ping(t.Context()))

	next := child(t, "stop", dir)
	require.NoError(t, next.cmd.Wait())
	_, err := pgx.Connect(t.Context(), dead.said)
	require.Error(t, err, "the abandoned server has ended")
	left, _ = filepath.Glob(filepath.Join(dir, "interlock-pg-*"))
	require.Len(t, left, 1)
	require.NoError(t, connect(t, owned.said).Ping(t.Context()))
}

// Processes of a server that was abandoned may be gone, and their ids given to others.
func TestCleaningUpTrustsNoProcessID(t *testing.T) {
	t.Parallel()
	dir := publicDir(t)
	dead := child(t, "abandon", dir)
	require.NoError(t, dead.cmd.Wait())
	admin := connect(t, dead.said)
	left, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*", "data", "postmaster.pid"))
	require.Len(t, left, 1)
	text, err := os.ReadFile(left[0])
	require.NoError(t, err)
	first, rest, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	until(t, "the server's processes have ended", func() bool {
		return admin.Ping(t.Context()) != nil && pgserver.Dead(filepath.Dir(filepath.Dir(left[0])))
	})

	bystander := exec.Command("cat")
	in, err := bystander.StdinPipe()
	require.NoError(t, err)
	bystander.SysProcAttr = pgserver.ServerAttr()
	bystander.Dir = "/"
	require.NoError(t, bystander.Start())
	require.NoError(t, os.WriteFile(left[0], []byte(strconv.Itoa(bystander.Process.Pid)+"\n"+rest), 0o600))
	next := child(t, "stop", dir)
	require.NoError(t, next.cmd.Wait())
	require.NoError(t, in.Close())
	require.NoError(t, bystander.Wait(), "it ends when its input ends, not before")
	gone(t, dead.said, dir)
}

// A process is a child that runs this test binary.
type process struct {
	cmd  *exec.Cmd
	out  *bufio.Scanner
	said string // the first line
}

// child starts a process that starts a server, with its directories under dir, and waits
// until it has.
func child(t *testing.T, how, dir string, change ...func(*exec.Cmd)) *process {
	t.Helper()
	p := launch(t, how, dir, change...)
	require.True(t, p.out.Scan(), "the child said nothing")
	p.said = p.out.Text()
	require.True(t, strings.HasPrefix(p.said, "postgres://"), p.said)
	return p
}

func launch(t *testing.T, how, dir string, change ...func(*exec.Cmd)) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PGSERVER_TEST_CHILD="+how, "TMPDIR="+dir, "HOME="+dir, "INTERLOCK_TEST_DATABASE_URL=")
	if cache, err := os.UserCacheDir(); err == nil && os.Geteuid() != 0 {
		cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+cache) // what was fetched once is there
	}
	for _, f := range change {
		f(cmd)
	}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &process{cmd: cmd, out: bufio.NewScanner(out)}
}

// as runs a child as an ordinary user, who needs a copy of this program to run.
func as(t *testing.T, id uint32) func(*exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	path := filepath.Join(publicDir(t), "program")
	// A process that another test starts while the copy is open for writing has it open too until
	// it is what it shall be, and a file that is written to cannot be run.
	syscall.ForkLock.RLock()
	err = os.WriteFile(path, program, 0o755)
	syscall.ForkLock.RUnlock()
	require.NoError(t, err)
	return func(cmd *exec.Cmd) {
		cmd.Path, cmd.Args = path, []string{path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	}
}

// with changes a child's environment.
func with(env ...string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) }
}

// publicDir is a directory in which everybody may make files: the server does not run as
// root. It is in /tmp because t.TempDir may be closed to others.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// until waits for something that only looking can tell.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// gone waits until the server does not answer and its directory is removed.
func gone(t *testing.T, url, dir string) {
	t.Helper()
	until(t, "the server and its directory are gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*"))
		c, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = c.Close(t.Context())
		}
		return err != nil && len(left) == 0
	})
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else; this run is an ordinary user's")
	}
}

const nobody = 65534

func TestAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := publicDir(t)
	c := child(t, "SIGKILL", dir, as(t, nobody))
	require.NoError(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
	gone(t, c.said, dir)
}

// Root's own directories are closed to the user whom the server runs as.
func TestRootWithAClosedTemporaryDirectory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := publicDir(t)
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, child(t, "stop", dir).cmd.Wait())
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	_, err := pgserver.Start(t.Context(), pgserver.Config{Version: "99"})
	missing, ok := errors.AsType[*pgserver.NotFoundError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "99", missing.Wanted)
	require.NotEmpty(t, missing.Tried)
	for _, way := range []string{"install PostgreSQL", "npm", "INTERLOCK_TEST_DATABASE_URL"} {
		require.ErrorContains(t, err, way)
	}
	_, err = pgserver.Start(t.Context(), pgserver.Config{Version: "latest"})
	require.ErrorContains(t, err, "major version")
	_, err = pgserver.Start(t.Context(), pgserver.Config{BinDir: t.TempDir()})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A user who has no PostgreSQL of the wanted kind, nothing in the cache and no npm.
func TestNothingToFetchWith(t *testing.T) {
	t.Parallel()
	for _, shared := range []string{"stop", "shared"} {
		t.Run(shared, func(t *testing.T) {
			t.Parallel()
			home := publicDir(t)
			change := []func(*exec.Cmd){with("PATH="+home, "XDG_CACHE_HOME=", "INTERLOCK_TEST_POSTGRES=npm")}
			if os.Geteuid() == 0 {
				change = append(change, as(t, nobody)) // root's cache may hold it
			}
			p := launch(t, shared, home, change...)
			require.True(t, p.out.Scan())
			require.Contains(t, p.out.Text(), `not found "npm": [npm: npm is not installed]`)
		})
	}
}

// The server of INTERLOCK_TEST_DATABASE_URL is used and left alone.
func TestSharedOfTheEnvironment(t *testing.T) {
	t.Parallel()
	server := start(t, pgserver.Config{})
	dir := publicDir(t)
	for range 2 { // the second finds the roles
		c := child(t, "shared", dir, with("INTERLOCK_TEST_DATABASE_URL="+server.AdminURL("template1")))
		require.NoError(t, c.cmd.Wait())
		require.Equal(t, server.AdminURL("postgres"), c.said)
	}
	require.NoError(t, connect(t, server.OwnerURL("postgres")).Ping(t.Context()), "the roles have the same password as before")

	for given, says := range map[string]string{
		server.OwnerURL("postgres"): "superuser",
		"host=secret":               "not of the form",
		"postgres://postgres:secret@127.0.0.1:1/postgres": "connect",
	} {
		p := launch(t, "shared", dir, with("INTERLOCK_TEST_DATABASE_URL="+given))
		require.True(t, p.out.Scan())
		require.Contains(t, p.out.Text(), says)
		require.NotContains(t, p.out.Text(), "secret")
	}
}

func TestFromNPM(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	server := start(t, pgserver.Config{Version: "npm"})
	require.Equal(t, 18, server.VersionNum()/10000)
}

func TestSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	_, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true, Settings: map[string]string{"no_such_setting": "1"}})
	require.ErrorContains(t, err, "no_such_setting")
	_, err = pgserver.Start(t.Context(), pgserver.Config{NoSync: true, Settings: map[string]string{"Listen_Addresses": "*"}})
	require.ErrorContains(t, err, "cannot be set")
}

func BenchmarkStart(b *testing.B) {
	for _, version := range []string{"installed", "npm"} {
		b.Run(version, func(b *testing.B) {
			for b.Loop() {
				server, err := pgserver.Start(b.Context(), pgserver.Config{Version: version, NoSync: true})
				require.NoError(b, err)
				require.NoError(b, server.Stop())
			}
		})
	}
}
