package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// A Migrator brings River's tables up and down, in Schema. The caller closes it.
type Migrator struct {
	river *rivermigrate.Migrator[pgx.Tx]
	pool  *pgxpool.Pool
}

// OpenMigrator connects as the role that is to own the tables.
func OpenMigrator(ctx context.Context, url string) (*Migrator, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	return NewMigrator(ctx, cfg.ConnConfig)
}

// NewMigrator is OpenMigrator for a configuration.
func NewMigrator(ctx context.Context, conn *pgx.ConnConfig) (*Migrator, error) {
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig = conn.Copy()
	cfg.MaxConns = 2 // for the migration, and for the lock
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m := &Migrator{pool: pool}
	m.river, err = rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{
		Schema: Schema,
		Logger: slog.New(slog.DiscardHandler), // the results say the same
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return m, nil
}

// Close closes the migrator's connections.
func (m *Migrator) Close() { m.pool.Close() }

// Versions lists the migrations that this program has, in order, and which are applied.
func (m *Migrator) Versions(ctx context.Context) (all []rivermigrate.Migration, applied map[int]bool, err error) {
	existing, err := m.river.ExistingVersions(ctx)
	if err != nil {
		return nil, nil, err
	}
	applied = map[int]bool{}
	for _, e := range existing {
		applied[e.Version] = true
	}
	return m.river.AllVersions(), applied, nil
}

// Up applies all migrations that are pending, each in a transaction of its own. It returns
// those that it applied, also when one fails. Several at once wait for one another.
func (m *Migrator) Up(ctx context.Context) ([]rivermigrate.MigrateVersion, error) {
	return m.locked(ctx, func() ([]rivermigrate.MigrateVersion, error) {
		if _, err := m.pool.Exec(ctx, "create schema if not exists "+Schema); err != nil {
			return nil, err
		}
		return m.steps(ctx, rivermigrate.DirectionUp, func(rivermigrate.Migration) bool { return true })
	})
}

// Down takes back the migrations above a version, or, if last is true, the last one alone.
// What their tables hold is lost.
func (m *Migrator) Down(ctx context.Context, version int, last bool) ([]rivermigrate.MigrateVersion, error) {
	return m.locked(ctx, func() ([]rivermigrate.MigrateVersion, error) {
		if last {
			return m.step(ctx, rivermigrate.DirectionDown)
		}
		return m.steps(ctx, rivermigrate.DirectionDown, func(next rivermigrate.Migration) bool { return next.Version > version })
	})
}

// steps goes on while there is a next migration that is wanted.
func (m *Migrator) steps(ctx context.Context, d rivermigrate.Direction, want func(next rivermigrate.Migration) bool) (done []rivermigrate.MigrateVersion, err error) {
	for {
		next, ok, err := m.next(ctx, d)
		if err != nil || !ok || !want(next) {
			return done, err
		}
		step, err := m.step(ctx, d)
		done = append(done, step...)
		if err != nil || len(step) == 0 {
			return done, err
		}
	}
}

// next is the migration that a step would be about.
func (m *Migrator) next(ctx context.Context, d rivermigrate.Direction) (next rivermigrate.Migration, ok bool, err error) {
	all, applied, err := m.Versions(ctx)
	if err != nil {
		return next, false, err
	}
	for _, v := range all {
		switch {
		case d == rivermigrate.DirectionUp && !applied[v.Version]:
			return v, true, nil
		case d == rivermigrate.DirectionDown && applied[v.Version]:
			next, ok = v, true // the last of them
		}
	}
	return next, ok, nil
}

func (m *Migrator) step(ctx context.Context, d rivermigrate.Direction) ([]rivermigrate.MigrateVersion, error) {
	result, err := m.river.Migrate(ctx, d, &rivermigrate.MigrateOpts{MaxSteps: 1})
	if err != nil {
		return nil, err
	}
	return result.Versions, nil
}

// lockKey is the session's advisory lock of migrations of River: the first bytes of "interlock".
const lockKey = 0x696e7465726c6f63

// locked runs do while no other migrator does.
func (m *Migrator) locked(ctx context.Context, do func() ([]rivermigrate.MigrateVersion, error)) (done []rivermigrate.MigrateVersion, err error) {
	c, err := m.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Release()
	if _, err := c.Exec(ctx, "select pg_advisory_lock($1)", int64(lockKey)); err != nil {
		return nil, fmt.Errorf("wait for another migration of River's tables: %w", err)
	}
	defer func() {
		if _, e := c.Exec(context.WithoutCancel(ctx), "select pg_advisory_unlock($1)", int64(lockKey)); e != nil {
			err = errors.Join(err, c.Conn().Close(context.WithoutCancel(ctx))) // the lock ends with the session
		}
	}()
	return do()
}

// ErrNotMigrated is returned when a database lacks a migration of River's tables that this
// program needs: run "interlock migrate up".
var ErrNotMigrated = errors.New("jobs: the database lacks migrations of River's tables")

// Check returns ErrNotMigrated unless the database has River's tables. It only reads.
func Check(ctx context.Context, pool *pgxpool.Pool) error {
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: Schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	result, err := m.Validate(ctx, nil)
	if err != nil {
		return fmt.Errorf("check the migrations of River's tables: %w", err)
	}
	if !result.OK {
		return fmt.Errorf("%w: run interlock migrate up", ErrNotMigrated)
	}
	return nil
}

// Fingerprint changes whenever the migrations do.
func Fingerprint() (string, error) {
	m, err := rivermigrate.New(riverpgxv5.New(nil), &rivermigrate.Config{Schema: Schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, v := range m.AllVersions() {
		fmt.Fprintf(h, "%d\x00%d\x00%s", v.Version, len(v.SQLUp), v.SQLUp)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
