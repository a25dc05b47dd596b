package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// A stage is where a demonstration takes place: a private server with a migrated database.
type stage struct {
	server *pgserver.Server
	proxy  *faultproxy.Proxy // between the application and the server
	app    *pgxpool.Pool     // the application's, as the ordinary role
	admin  *pgxpool.Pool     // the superuser's, who kills sessions and audits the books

	commitCuts atomic.Int64 // of cutCommitting, so far

	striking sync.RWMutex // held for reading by what ends a connection, for writing by what stops the server
}

// stageDatabase is the database's name.
const stageDatabase = "interlock"

// deadlockTimeout is how long a deadlock lasts until the server looks for it. The default of a
// second is for servers where deadlocks are rare.
const deadlockTimeout = 20 * time.Millisecond

// spareConnections are those that the application may use besides one for each worker: what
// several connections read from one snapshot needs some beside the one that holds it.
const spareConnections = 4

// openStage starts the server, with as many connections for the application as there are
// workers, and migrates.
func openStage(ctx context.Context, postgres string, workers int) (*stage, error) {
	server, err := pgserver.Start(ctx, pgserver.Config{
		Version: postgres,
		Settings: map[string]string{
			// Besides the application's there are the superuser's, and some that are just ending.
			"max_connections":  strconv.Itoa(workers + spareConnections + crewConnections + 30),
			"deadlock_timeout": deadlockTimeout.String(),
		},
	})
	if err != nil {
		return nil, err
	}
	s := &stage{server: server}
	if err := s.prepare(ctx, workers); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) prepare(ctx context.Context, workers int) (err error) {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if s.proxy, err = faultproxy.Start(ctx, s.server.AppURL(stageDatabase)); err != nil {
		return err
	}
	cfg, err := pgxpool.ParseConfig(s.proxy.URL())
	if err != nil {
		return err
	}
	cfg.MaxConns = int32(workers + spareConnections)
	txn.ConfigurePool(cfg)
	if s.app, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return err
	}
	s.admin, err = pgxpool.New(ctx, s.server.AdminURL(stageDatabase))
	return err
}

// migrate makes the database, and gives the ordinary role what an application needs in it.
func (s *stage) migrate(ctx context.Context) error {
	for _, step := range []struct{ database, sql string }{
		{"postgres", "create database " + stageDatabase},
		{stageDatabase, "alter default privileges grant select, insert, update, delete on tables to " + pgserver.AppRole},
		{stageDatabase, "alter default privileges grant usage, select on sequences to " + pgserver.AppRole},
	} {
		if err := s.asOwner(ctx, step.database, step.sql); err != nil {
			return err
		}
	}
	cfg, err := pgx.ParseConfig(s.server.OwnerURL(stageDatabase))
	if err != nil {
		return err
	}
	for _, set := range sets {
		if _, err := set.migrate(ctx, cfg, target{}, migrator.up); err != nil {
			return err
		}
	}
	return s.asOwner(ctx, stageDatabase, "grant usage on schema interlock, "+jobs.Schema+" to "+pgserver.AppRole)
}

func (s *stage) asOwner(ctx context.Context, database, sql string) error {
	c, err := pgx.Connect(ctx, s.server.OwnerURL(database))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, sql)
	return errors.Join(err, c.Close(ctx))
}

func (s *stage) version() string {
	n := s.server.VersionNum()
	return fmt.Sprintf("%d.%d", n/10000, n%10000)
}

// settle ends the application's part. A session whose connection broke may still be on its
// way to the end of its transaction, and is waited for.
func (s *stage) settle(ctx context.Context) error {
	s.app.Close()
	const sql = `
		select count(*) from pg_stat_activity, pg_sleep(0.01)
		where usename = $1 and datname = current_database()`
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for n := 1; n > 0; {
		if err := s.admin.QueryRow(ctx, sql, pgserver.AppRole).Scan(&n); err != nil {
			return fmt.Errorf("demo: wait for the application's sessions to end: %w", err)
		}
	}
	return nil
}

const settlePatience = 30 * time.Second

// close stops the server and removes its data.
func (s *stage) close() error {
	for _, pool := range []*pgxpool.Pool{s.app, s.admin} {
		if pool != nil {
			pool.Close()
		}
	}
	if s.proxy != nil {
		s.proxy.Close()
	}
	return s.server.Stop()
}
