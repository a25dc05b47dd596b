package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Roles of every server, besides the superuser.
const (
	OwnerRole = "interlock_owner" // makes databases and migrates: LOGIN, CREATEDB
	AppRole   = "interlock_app"   // runs programs and tests: LOGIN, nothing else
)

const superuser = "postgres"

// How long things may take before they are given up.
const (
	startPatience = 60 * time.Second
	stopPatience  = 20 * time.Second
	portAttempts  = 5
)

// Config says which server Start makes. The zero value is a durable server of the first
// PostgreSQL found, with its default settings.
type Config struct {
	// Version is which PostgreSQL: "installed", "npm", a major version such as "15", or an
	// absolute directory of binaries. Default: INTERLOCK_TEST_POSTGRES of the environment,
	// else the first found.
	Version string

	// BinDir is the directory of binaries to use, before Version.
	BinDir string

	// Settings are for postgresql.conf, such as {"max_prepared_transactions": "10"}.
	Settings map[string]string

	// NoSync turns off fsync and full_page_writes: quicker, and nothing survives a crash of
	// the machine. A crash of the server alone (Crash) is survived. For tests.
	NoSync bool
}

// A Server is a running PostgreSQL server. Its methods are safe for concurrent use.
type Server struct {
	bin      binaries
	account  account
	dir      string
	owner    *os.File
	watchdog *watchdog
	password string
	port     int
	version  int

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has ended
	stopped bool
	base    *url.URL // of a server that was not started here
}

// Start makes and starts a server. It takes about a second and a half, most of it initdb.
// Stop it when it is no longer needed. The error is *NotFoundError if there is no
// PostgreSQL.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	a, err := serverAccount()
	if err != nil {
		return nil, err
	}
	bin, err := find(ctx, cfg)
	if err != nil {
		return nil, err
	}
	sweep(bin, a)
	s := &Server{bin: bin, account: a, password: rand.Text()}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Stop()
		}
	}()
	if err := s.initdb(ctx, cfg); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.launch(ctx); err == nil {
			break
		}
		if attempt == portAttempts || ctx.Err() != nil || !s.portTaken() {
			return nil, err
		}
	}
	return s, s.createRoles(ctx)
}

// prepare makes the private directory and has it watched.
func (s *Server) prepare() (err error) {
	s.dir, err = os.MkdirTemp("", dirPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(s.dir)
		}
	}()
	if s.owner, err = claim(s.dir); err != nil {
		return err
	}
	if err = s.account.own(s.dir); err != nil {
		return err
	}
	s.watchdog, err = watch(s.account, s.bin, s.dir)
	return err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

func (s *Server) initdb(ctx context.Context, cfg Config) error {
	pwfile := filepath.Join(s.dir, "pw")
	if err := os.WriteFile(pwfile, []byte(s.password), 0o600); err != nil {
		return err
	}
	if err := s.account.own(pwfile); err != nil {
		return err
	}
	defer os.Remove(pwfile)
	args := []string{
		"-D", s.data(), "-U", superuser, "--pwfile", pwfile, "--encoding", "UTF8", "--locale", "C",
		"--no-sync", "--no-instructions",
	}
	// The password is random and the connection local: what a derivation of it costs at
	// each connect would protect nothing.
	if s.bin.major >= 16 {
		args = append(args, "-A", "scram-sha-256", "--set", "scram_iterations=1")
	} else {
		args = append(args, "-A", "md5")
	}
	cmd := s.account.command(s.dir, s.bin.path("initdb"), args...)
	if out, err := output(ctx, cmd); err != nil {
		return fmt.Errorf("pgserver: initdb: %w: %s", err, out)
	}
	return s.configure(cfg)
}

func (s *Server) configure(cfg Config) error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"max_connections":         "300",
		"shared_buffers":          "64MB",
	}
	if cfg.NoSync {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, cfg.Settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text.String())
	return errors.Join(err, f.Close())
}

// launch starts the server on s.port and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.account.command(s.dir, s.bin.path("postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	return s.ready(ctx, exited)
}

// ready polls: a server has no other way to say that it is.
func (s *Server) ready(ctx context.Context, exited <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.asAdmin(ctx, func(c *pgx.Conn) error {
			return c.QueryRow(ctx, "select current_setting('server_version_num')::int").Scan(&s.version)
		})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-exited:
			return fmt.Errorf("pgserver: the server did not start: %s", s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("pgserver: the server does not answer: %w: %s", err, s.logTail())
		}
	}
}

func (s *Server) asAdmin(ctx context.Context, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, s.AdminURL("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	return do(c)
}

func (s *Server) logTail() string {
	text, _ := os.ReadFile(s.log())
	const most = 2000
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// portTaken reports whether somebody else has taken the port since it was found free.
func (s *Server) portTaken() bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)))
	if err != nil {
		return true
	}
	_ = ln.Close()
	return false
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// createRoles makes the two roles, or gives them the password again. On a server in common
// several processes may do so at once.
func (s *Server) createRoles(ctx context.Context) error {
	return s.asAdmin(ctx, func(c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended('interlock roles', 0))"); err != nil {
				return err
			}
			for role, attributes := range map[string]string{OwnerRole: "login createdb", AppRole: "login"} {
				var exists bool
				if err := tx.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", role).Scan(&exists); err != nil {
					return err
				}
				verb := "create"
				if exists {
					verb = "alter"
				}
				sql := fmt.Sprintf("%s role %s %s password '%s'", verb, role, attributes, s.password)
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// AdminURL is the superuser's connection string for a database. Only what injects faults or
// watches other sessions needs it.
func (s *Server) AdminURL(database string) string {
	if s.base != nil {
		u := *s.base
		u.Path = "/" + database
		return u.String()
	}
	return s.url(superuser, database)
}

// OwnerURL is the connection string of OwnerRole.
func (s *Server) OwnerURL(database string) string { return s.url(OwnerRole, database) }

// AppURL is the connection string of AppRole.
func (s *Server) AppURL(database string) string { return s.url(AppRole, database) }

func (s *Server) url(role, database string) string {
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), RawQuery: "sslmode=disable"}
	if s.base != nil {
		u = *s.base
	}
	u.User = url.UserPassword(role, s.password)
	u.Path = "/" + database
	return u.String()
}

// VersionNum is the server's version as server_version_num has it: 150018 is 15.18.
func (s *Server) VersionNum() int { return s.version }

// Stop stops the server and removes its data. Further calls do nothing. It leaves a server
// alone that was not started here.
func (s *Server) Stop() error {
	s.mu.Lock()
	if s.stopped || s.base != nil {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	s.mu.Unlock()
	err := s.halt(interrupt)
	if rerr := os.RemoveAll(s.dir); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return errors.Join(err, s.watchdog.end(), s.owner.Close())
}

// halt ends the server process, gently first.
func (s *Server) halt(signal func(*os.Process) error) error {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	for _, send := range []func(*os.Process) error{signal, quit, (*os.Process).Kill} {
		if err := send(cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("pgserver: stop: %w", err)
		}
		patience := time.NewTimer(stopPatience)
		select {
		case <-exited:
			patience.Stop()
			return nil
		case <-patience.C:
		}
	}
	return errors.New("pgserver: the server does not stop")
}

// Restart stops the server, which ends all sessions, and starts it on the same port and
// data.
func (s *Server) Restart(ctx context.Context) error { return s.again(ctx, interrupt) }

// Crash ends the server as a failure of its own would, without a checkpoint, and starts it
// again: it recovers from its log, and loses what was not in there.
func (s *Server) Crash(ctx context.Context) error { return s.again(ctx, quit) }

func (s *Server) again(ctx context.Context, signal func(*os.Process) error) error {
	if s.base != nil {
		return errors.New("pgserver: the server was not started here and is left alone")
	}
	if err := s.halt(signal); err != nil {
		return err
	}
	return s.launch(ctx)
}

// output runs cmd, which ends with ctx.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err := cmd.Wait()
	return strings.TrimSpace(out.String()), errors.Join(err, ctx.Err())
}
