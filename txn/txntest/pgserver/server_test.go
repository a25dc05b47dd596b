//go:build unix

package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
	server, err := pgserver.Start(context.Background(), pgserver.Config{NoSync: true})
	if err != nil {
		os.Stdout.WriteString("error " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(server.AdminURL("postgres") + "\n")
	switch how {
	case "panic":
		panic("boom")
	case "exit":
		os.Exit(3)
	case "stop":
		if err := server.Stop(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	select {} // until a signal comes
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
	server := start(t, pgserver.Config{Settings: map[string]string{"max_prepared_transactions": "7", "cluster_name": "it's"}})
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
		require.Equal(t, "it's", name)
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
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o777))
			require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
			url, cmd := child(t, how, dir, nil)
			if end != nil {
				require.NoError(t, end(cmd.Process))
			}
			_ = cmd.Wait()
			gone(t, url, dir)
		})
	}
}

// The watchdog can be killed too. Then the next Start cleans up.
func TestNextStartCleansUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	url, cmd := child(t, "wait", dir, nil)
	watchdogs, err := exec.Command("pgrep", "-f", "watchdog .*"+dir).Output()
	if err != nil {
		t.Skip("pgrep is not installed, the watchdog cannot be found to be killed")
	}
	for pid := range strings.FieldsSeq(string(watchdogs)) {
		require.NoError(t, exec.Command("kill", "-9", pid).Run())
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	left, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*"))
	require.Len(t, left, 1, "nobody was left to clean up")
	require.NoError(t, connect(t, url).Ping(t.Context()))

	next, second := child(t, "stop", dir, nil)
	_ = second.Wait()
	require.NotEqual(t, url, next)
	gone(t, url, dir)
}

// child starts a process that starts a server, with its directories under dir.
func child(t *testing.T, how, dir string, credential *syscall.Credential) (url string, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command(executable(t, credential != nil))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PGSERVER_TEST_CHILD="+how, "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "the child said nothing")
	require.True(t, strings.HasPrefix(lines.Text(), "postgres://"), lines.Text())
	return lines.Text(), cmd
}

// executable is this test's own program, as a copy that others can run if public.
func executable(t *testing.T, public bool) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	if !public {
		return self
	}
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "pgserver-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(path, program, 0o755))
	return path
}

// gone waits until the server does not answer and its directory is removed.
func gone(t *testing.T, url, dir string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for {
		left, _ := filepath.Glob(filepath.Join(dir, "interlock-pg-*"))
		c, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = c.Close(t.Context())
		}
		if err != nil && len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("the server is still there: connect %v, directories %v", err, left)
		}
	}
}

// Root is not the only one who can run tests.
func TestAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user")
	}
	dir, err := os.MkdirTemp("", "pgserver-home-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chown(dir, 65534, 65534))
	url, cmd := child(t, "stop", dir, &syscall.Credential{Uid: 65534, Gid: 65534})
	require.NoError(t, cmd.Wait())
	gone(t, url, dir)
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
