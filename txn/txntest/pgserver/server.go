package pgserver

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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

// roleAttributes are spelled out: on a given server a role may be there with others.
var roleAttributes = map[string]string{
	OwnerRole: "login createdb nosuperuser nobypassrls nocreaterole noreplication",
	AppRole:   "login nocreatedb nosuperuser nobypassrls nocreaterole noreplication",
}

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

	// Settings are for postgresql.conf, such as {"max_prepared_transactions": "10"}. Where
	// the server listens and keeps its files cannot be set. Defaults that differ from
	// PostgreSQL's: max_connections 300, time zone UTC.
	Settings map[string]string

	// NoSync turns off fsync and full_page_writes: quicker, and nothing survives a crash of
	// the machine. A crash of the server alone (Crash) is survived, which is why
	// synchronous_commit stays on; without fsync it costs next to nothing. For tests.
	NoSync bool
}

// A Server is a running PostgreSQL server. Its methods are safe for concurrent use.
type Server struct {
	base    *url.URL // of a server that was not started here; of what follows it has roles and version alone
	roles   string   // password of the two roles
	version int

	password string // of the superuser
	bin      binaries
	account  account
	dir      string
	owner    *os.File // locked as long as this process lives
	watchdog *watchdog
	port     int

	mu      sync.Mutex // held while the server starts or stops
	proc    *process   // nil before the first start
	stopped bool
}

// Start makes and starts a server, which takes a second or so, most of it initdb. The server
// outlives ctx; Stop it when it is no longer needed. The error is *NotFoundError if there is
// no PostgreSQL.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	bin, err := find(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, account: account, password: crand.Text()}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	if err := s.startFirst(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) startFirst(ctx context.Context, cfg Config) error {
	if err := s.initdb(ctx, cfg); err != nil {
		return err
	}
	if err := s.launchFirst(ctx); err != nil {
		return err
	}
	if err := s.createRoles(ctx); err != nil {
		return fmt.Errorf("pgserver: create roles: %w", err)
	}
	return nil
}

// launchFirst launches the server on a port that it finds free.
func (s *Server) launchFirst(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
		if err = s.launch(ctx); err == nil || attempt == portAttempts || ctx.Err() != nil || !portTaken(port) {
			return err
		}
	}
}

// prepare makes the private directory and has it watched.
func (s *Server) prepare() (err error) {
	parent := s.account.tempDir()
	sweep(parent, s.bin, s.account)
	s.dir, err = os.MkdirTemp(parent, dirPrefix)
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
	if err = s.account.own(s.dir); err == nil {
		s.watchdog, err = watch(s.account, s.bin, s.dir)
	}
	if err != nil {
		_ = s.owner.Close()
	}
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

// Settings that make a server private, or that its life depends on.
var fixedSettings = []string{
	"listen_addresses", "port", "unix_socket_directories", "data_directory", "config_file", "hba_file",
	"ident_file", "external_pid_file",
}

var confQuote = strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`)

func (s *Server) configure(cfg Config) error {
	settings := map[string]string{
		"timezone":        "UTC",
		"log_timezone":    "UTC",
		"max_connections": "300",
		"shared_buffers":  "64MB",
	}
	if cfg.NoSync {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, cfg.Settings)
	return s.set(settings)
}

// set adds settings to the server's, over those that are there.
func (s *Server) set(settings map[string]string) error {
	for name := range settings {
		if slices.Contains(fixedSettings, strings.ToLower(name)) {
			return fmt.Errorf("pgserver: %s cannot be set", name)
		}
	}
	settings = maps.Clone(settings)
	settings["listen_addresses"], settings["unix_socket_directories"] = "127.0.0.1", ""
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, confQuote.Replace(settings[name]))
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text.String())
	return errors.Join(err, f.Close())
}

// A process is one run of the server's main process.
type process struct {
	*os.Process
	exited chan struct{}
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
	// All processes of the server inherit the locked file: as long as one lives it is locked.
	alive, err := lockFile(ctx, filepath.Join(s.dir, aliveFile))
	if err != nil {
		return fmt.Errorf("pgserver: processes of the server's last run are left: %w", err)
	}
	defer alive.Close()
	cmd := s.account.command(s.dir, s.bin.path("postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port))
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{alive}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	proc := &process{cmd.Process, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		// Left behind after a crash it would name a process that may be anybody's by then.
		_ = os.Remove(filepath.Join(s.data(), "postmaster.pid"))
		close(proc.exited)
	}()
	s.proc = proc
	return s.ready(ctx)
}

// ready polls: a server has no other way to say that it is.
func (s *Server) ready(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.asAdmin(ctx, func(*pgx.Conn) error { return nil })
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.proc.exited:
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

// portTaken reports whether somebody listens on the port, or is otherwise in its way.
func portTaken(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return true
	}
	_ = ln.Close()
	return false
}

// freePort returns a port that is free at the moment, from below those that the system gives
// to clients. A client that tries to reach the server while it restarts could be given the
// server's own port, connect to itself, and keep the server from coming back.
func freePort() (int, error) {
	const span = 12000
	if first := firstClientPort(); first > 1024+span {
		for range 100 {
			if port := first - 1 - rand.IntN(span); !portTaken(port) {
				return port, nil
			}
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// firstClientPort is the lowest port that the system gives to clients.
func firstClientPort() int {
	first := 32768 // as Linux has it; others begin higher
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &first)
	}
	return first
}

// createRoles makes the two roles, or gives them their attributes and password again, and
// notes the server's version. On a given server several processes may do so at once: all who
// know the superuser's password come to the same one of the roles, however they spell the
// address.
func (s *Server) createRoles(ctx context.Context) error {
	return s.asAdmin(ctx, func(c *pgx.Conn) error {
		var super bool
		if err := c.QueryRow(ctx, "select current_setting('is_superuser')::bool").Scan(&super); err != nil {
			return err
		}
		if !super {
			return errors.New("the role is no superuser")
		}
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended('interlock roles', 0))"); err != nil {
				return err
			}
			var cluster string
			err := tx.QueryRow(ctx, "select system_identifier::text, current_setting('server_version_num')::int from pg_control_system()").
				Scan(&cluster, &s.version)
			if err != nil {
				return err
			}
			sum := sha256.Sum256([]byte(cluster + "\x00" + c.Config().Password))
			s.roles = hex.EncodeToString(sum[:16])
			for role, attributes := range roleAttributes {
				var exists bool
				if err := tx.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", role).Scan(&exists); err != nil {
					return err
				}
				verb := "create"
				if exists {
					verb = "alter"
				}
				if _, err := tx.Exec(ctx, fmt.Sprintf("%s role %s %s password '%s'", verb, role, attributes, s.roles)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Private reports whether the server was started here. It is false for the one that
// INTERLOCK_TEST_DATABASE_URL names, which is not stopped, restarted or crashed.
func (s *Server) Private() bool { return s.base == nil }

// AdminURL is the superuser's connection string for a database. Only what injects faults or
// watches other sessions needs it.
func (s *Server) AdminURL(database string) string {
	if s.base != nil {
		return givenURL(s.base, s.base.User, database)
	}
	return s.url(superuser, s.password, database)
}

// OwnerURL is the connection string of OwnerRole.
func (s *Server) OwnerURL(database string) string { return s.roleURL(OwnerRole, database) }

// AppURL is the connection string of AppRole.
func (s *Server) AppURL(database string) string { return s.roleURL(AppRole, database) }

func (s *Server) roleURL(role, database string) string {
	if s.base != nil {
		return givenURL(s.base, url.UserPassword(role, s.roles), database)
	}
	return s.url(role, s.roles, database)
}

func (s *Server) url(role, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// VersionNum is the server's version as server_version_num has it: 150018 is 15.18.
func (s *Server) VersionNum() int { return s.version }

// Program returns the path of a program of the server's own PostgreSQL, such as pgbench, or ""
// if it is not there: the npm package has few of them, and of a server that was not started
// here nothing is known.
func (s *Server) Program(name string) string {
	if s.base != nil {
		return ""
	}
	path := s.bin.path(name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Stop stops the server, which ends all sessions, and removes its data. Further calls do
// nothing, and so does a call for a server that is not Private.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || !s.Private() {
		return nil
	}
	s.stopped = true
	// The watchdog removes what is left after a failure of the first two.
	return errors.Join(s.halt(interrupt), discard(s.dir), s.watchdog.end(), s.owner.Close())
}

// halt ends the server process, by the signal if that does it.
func (s *Server) halt(signal func(*os.Process) error) error {
	if s.proc == nil {
		return nil
	}
	for _, send := range []func(*os.Process) error{signal, quit, (*os.Process).Kill} {
		if err := send(s.proc.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("pgserver: stop: %w", err)
		}
		patience := time.NewTimer(stopPatience)
		select {
		case <-s.proc.exited:
			patience.Stop()
			return nil
		case <-patience.C:
		}
	}
	return errors.New("pgserver: the server does not stop")
}

// Restart stops the server, which ends all sessions, and starts it on the same port and
// data.
func (s *Server) Restart(ctx context.Context) error { return s.Outage(ctx, Outage{}) }

// Crash ends the server as a failure of its own would, without a checkpoint, and starts it
// again: it recovers from its log, and loses what was not in there.
func (s *Server) Crash(ctx context.Context) error { return s.Outage(ctx, Outage{Crash: true}) }

// An Outage says how a server goes down, and for how long.
type Outage struct {
	Crash bool          // as Crash; else as Restart
	For   time.Duration // it stays stopped for so long
}

// Outage is Restart, or Crash, of a server that does not come back at once. If ctx ends
// meanwhile, it stays stopped.
func (s *Server) Outage(ctx context.Context, o Outage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.Private():
		return errors.New("pgserver: the server was not started here and is left alone")
	case s.stopped:
		return errors.New("pgserver: the server is stopped")
	}
	signal := interrupt
	if o.Crash {
		signal = quit
	}
	if err := s.halt(signal); err != nil {
		return err
	}
	pause := time.NewTimer(o.For)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	// Whoever took the port in the meantime may leave it again.
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for deadline := time.Now().Add(startPatience); ; <-retry.C {
		err := s.launch(ctx)
		if err == nil || ctx.Err() != nil || !portTaken(s.port) || time.Now().After(deadline) {
			return err
		}
	}
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
