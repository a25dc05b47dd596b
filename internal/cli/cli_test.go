//go:build unix

package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/cli"
)

// The test binary is the command itself, for tests that need a process of their own.
func TestMain(m *testing.M) {
	if os.Getenv("INTERLOCK_CLI_TEST") == "" {
		os.Exit(m.Run())
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}

// A process is the command at work.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
}

// start starts the command with the variables added to an environment that names no database.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(self, args...)}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DATABASE_URL=") && !strings.HasPrefix(kv, "PG") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(append(p.cmd.Env, "INTERLOCK_CLI_TEST=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

// code waits for the end and returns the exit code; -1 after a signal.
func (p *process) code() int {
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}

// interlock runs the command to its end.
func interlock(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, env, args...)
	code = p.code()
	return code, p.stdout.String(), p.stderr.String()
}

// An output may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) has(text string) func() bool {
	return func() bool { return strings.Contains(o.String(), text) }
}

// until waits for something that only looking can tell.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 10*time.Millisecond, "in vain waited until %s", what)
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{args: "", code: 0, stdout: "Available Commands:"},
		{args: "--help", code: 0, stdout: "Exit codes: 0 done, 1 failed or interrupted, 2 wrong usage"},
		{args: "help demo", code: 0, stdout: "--scene"},
		{args: "--version", code: 0, stdout: "interlock version "},
		{args: "demo --help", code: 0, stdout: "--scene"},
		{args: "migrate down --help", code: 0, stdout: "--database-url"},
		{args: "serve --help", code: 0, stdout: "--listen"},
		{args: "serve here", code: 2, stderr: "interlock serve takes no argument"},
		{args: "dmeo", code: 2, stderr: `unknown command "dmeo"`},
		{args: "--fast", code: 2, stderr: "unknown flag: --fast"},
		{args: "demo accounts", code: 2, stderr: "interlock demo takes no argument"},
		{args: "demo --accounts 3", code: 2, stderr: "--accounts must be at least 4"},
		{args: "demo --accounts many", code: 2, stderr: `invalid argument "many"`},
		{args: "demo --requests 0", code: 2, stderr: "--requests must be at least 1"},
		{args: "demo --requests -1", code: 2, stderr: "--requests must be at least 1"},
		{args: "demo --duration 0s", code: 2, stderr: "--duration must be positive"},
		{args: "demo --duration 1s --requests 1", code: 2, stderr: "exclude one another"},
		{args: "demo --scene accounts,kitchen", code: 2, stderr: `no scene "kitchen": there are accounts`},
		{args: "demo --workers 0", code: 2, stderr: "--workers must be 1 to"},
		{args: "demo --workers 100000", code: 2, stderr: "--workers must be 1 to"},
		{args: "demo --faults --kills -1", code: 2, stderr: "must not be negative"},
		{args: "demo --faults --cuts -1", code: 2, stderr: "must not be negative"},
		{args: "demo --faults --commits -1", code: 2, stderr: "must not be negative"},
		{args: "demo --faults --restarts -1", code: 2, stderr: "must not be negative"},
		{args: "demo --kills 3", code: 2, stderr: "--kills is for --faults"},
		{args: "demo --restarts 0", code: 2, stderr: "--restarts is for --faults"},
		{args: "demo --postgres 99", code: 1, stderr: "PostgreSQL (99) was not found"},
		{args: "migrate", code: 2, stderr: "say up, down or status"},
		{args: "migrate sideways", code: 2, stderr: `unknown command "sideways"`},
		{args: "migrate up 3", code: 2, stderr: "Run 'interlock --help' for usage."},
		{args: "migrate down --to -1", code: 2, stderr: "not a version"},
		{args: "migrate postgres://owner:s3cret@host/db", code: 2, stderr: "interlock migrate takes no argument of this kind"},
		{args: "migrate password=s3cret", code: 2, stderr: "interlock migrate takes no argument of this kind"},
		{args: "migrate up postgres://owner:s3cret@host/db", code: 2, stderr: "interlock migrate up takes no argument of this kind"},
		{args: "migrate up -dpostgres://owner:s3cret@host/db", code: 2, stderr: "interlock: unknown flag: -d\n"},
		{args: "migrate up --databaseurl=postgres://owner:s3cret@host/db", code: 2, stderr: "unknown flag: --databaseurl"},
		{args: "postgres://owner:s3cret@host/db", code: 2, stderr: "interlock takes no argument of this kind"},
		{args: "migrate up --to 3", code: 2, stderr: "unknown flag: --to"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := cli.Main(strings.Fields(c.args), &stdout, &stderr)
			require.Equal(t, c.code, code, "%s%s", &stdout, &stderr)
			require.Contains(t, stdout.String(), c.stdout)
			require.Contains(t, stderr.String(), c.stderr)
			require.NotContains(t, stderr.String(), "s3cret")
			if c.code == 0 {
				require.Empty(t, stderr.String())
			} else {
				require.Empty(t, stdout.String())
			}
		})
	}
}
