package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// StartStandby makes a hot standby of the primary from a base backup, starts it, and returns
// when it streams: what is committed on the primary from then on arrives by itself, a moment
// later. The standby is a server of its own, with its own port and life, and the primary's
// version, databases, roles and passwords. The primary must be Private and running, and have
// wal_level and max_wal_senders as they are by default.
//
// Of cfg, Settings and NoSync are added to what the primary has; Version and BinDir must be
// empty.
func StartStandby(ctx context.Context, primary *Server, cfg Config) (*Server, error) {
	switch {
	case !primary.Private():
		return nil, errors.New("pgserver: the primary was not started here and is left alone")
	case cfg.Version != "" || cfg.BinDir != "":
		return nil, errors.New("pgserver: a standby has the version of its primary")
	}
	s := &Server{
		bin: primary.bin, account: primary.account,
		password: primary.password, roles: primary.roles, version: primary.version,
	}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	if err := s.startStandby(ctx, primary, cfg); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) startStandby(ctx context.Context, primary *Server, cfg Config) error {
	if err := s.backUp(ctx, primary); err != nil {
		return fmt.Errorf("pgserver: back up the primary: %w", err)
	}
	settings := maps.Clone(cfg.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	if cfg.NoSync {
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	settings["primary_conninfo"] = fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s sslmode=disable application_name=standby",
		primary.port, superuser, primary.password)
	if err := s.set(settings); err != nil {
		return err
	}
	if err := s.write("standby.signal", ""); err != nil {
		return err
	}
	if err := s.launchFirst(ctx); err != nil {
		return err
	}
	return s.streaming(ctx)
}

// streaming polls until the standby receives what the primary writes.
func (s *Server) streaming(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return s.asAdmin(ctx, func(c *pgx.Conn) error {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var streams bool
			err := c.QueryRow(ctx, "select exists (select from pg_stat_wal_receiver where status = 'streaming')").Scan(&streams)
			if err != nil || streams {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("pgserver: the standby does not stream: %w: %s", ctx.Err(), s.logTail())
			}
		}
	})
}

// Promote makes a standby a primary of its own, and returns when it accepts writes. It does
// not look at the old primary, which may still run: whoever writes there writes in vain.
func (s *Server) Promote(ctx context.Context) error {
	if !s.Private() {
		return errors.New("pgserver: the server was not started here and is left alone")
	}
	var promoted bool
	err := s.asAdmin(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "select pg_promote(true, $1)", int(startPatience/time.Second)).Scan(&promoted)
	})
	if err == nil && !promoted {
		err = fmt.Errorf("in vain: %s", s.logTail())
	}
	if err != nil {
		return fmt.Errorf("pgserver: promote: %w", err)
	}
	return nil
}

// backUp copies the primary's data as pg_basebackup does, which not every distribution has.
// The log written meanwhile is streamed later.
func (s *Server) backUp(ctx context.Context, primary *Server) error {
	start, stop := "select pg_backup_start('standby', true)", "select labelfile from pg_backup_stop(false)"
	if primary.bin.major < 15 {
		start, stop = "select pg_start_backup('standby', true, false)", "select labelfile from pg_stop_backup(false, false)"
	}
	return primary.asAdmin(ctx, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, start); err != nil {
			return err
		}
		if err := s.copyData(ctx, primary.data()); err != nil {
			return err
		}
		var label string
		if err := c.QueryRow(ctx, stop).Scan(&label); err != nil {
			return err
		}
		return s.write("backup_label", label)
	})
}

// What a backup leaves out, as the manual's chapter on it says: directories that the server
// fills again, and files of a running server.
var (
	emptyDirs = map[string]bool{
		"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true,
		"pg_serial": true, "pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true,
	}
	leftOut = map[string]bool{
		"postmaster.pid": true, "postmaster.opts": true, "pg_internal.init": true,
		"backup_label": true, "standby.signal": true,
	}
)

func (s *Server) copyData(ctx context.Context, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // dropped meanwhile
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case leftOut[d.Name()], strings.HasPrefix(d.Name(), "pgsql_tmp"):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			to := filepath.Join(s.data(), name)
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
			if err := s.account.own(to); err != nil {
				return err
			}
			if emptyDirs[name] {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is no file; tablespaces are not supported", name)
		}
		in, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer in.Close()
		return s.writeFrom(name, in)
	})
}

// write writes a file of the data directory.
func (s *Server) write(name, text string) error { return s.writeFrom(name, strings.NewReader(text)) }

func (s *Server) writeFrom(name string, r io.Reader) error {
	path := filepath.Join(s.data(), name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close(), s.account.own(path))
}
