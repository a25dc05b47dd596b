package txn

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Defaults of Config and Options.
const (
	defaultAttempts       = 3
	defaultAcquireTimeout = 30 * time.Second
	defaultResolveTimeout = 5 * time.Second
	defaultBaseDelay      = 5 * time.Millisecond
	defaultMaxDelay       = time.Second
)

// Config configures a DB. The zero value is right for most programs.
type Config struct {
	// Options are the defaults of every transaction. Deferrable is per call only. For statements
	// that run as transactions of their own only the Settings count.
	Options Options

	// AcquireTimeout bounds the wait for a connection of the pool; past it the error is
	// ErrAcquireTimeout. Default 30 seconds; negative: none, only the context's.
	AcquireTimeout time.Duration

	// ResolveTimeout is how long it may take to find out what became of a COMMIT: from the
	// loss of its answer on, or, if the answer does not come, from the end of the call's
	// context on. In the second case the answer is waited for by itself for a tenth of the
	// time, and then another connection is asked as well. A COMMIT that has not come to an end
	// by the middle of the time is ended, unless it waits for a standby. It is also how long a
	// ROLLBACK may take before the connection is given up instead. Default 5 seconds.
	ResolveTimeout time.Duration

	// ResolveCommits says what is done about a COMMIT whose answer was lost. Default:
	// ResolveByXID.
	ResolveCommits CommitResolution

	// BaseDelay and MaxDelay shape the pause between attempts: a random time between zero
	// and BaseDelay·2ⁿ⁻¹ after the n-th attempt, at most MaxDelay. Defaults 5 milliseconds
	// and 1 second.
	BaseDelay, MaxDelay time.Duration

	// SettingsFrom returns settings for every transaction and every statement that runs as a
	// transaction of its own, from the context of the call: a tenant that a request's
	// middleware put there, for instance. It must be quick and safe for concurrent use. See
	// Options.Settings, which go over it. A call that joins is asked too: if its context stands
	// for other settings than those that the transaction began with, it is ErrOptionsConflict.
	SettingsFrom func(ctx context.Context) map[string]string

	// LabelAppName sets application_name to the label of the call that began the transaction,
	// as long as that runs, so that pg_stat_activity and the server's log show it. What is not
	// printable ASCII becomes question marks, and what is beyond 63 characters is cut.
	LabelAppName bool

	// Observers are told what transactions do; see NewSlogObserver for one.
	Observers []Observer

	// WarnAfter makes observers be warned of a transaction that is open for longer. Default:
	// never.
	WarnAfter time.Duration

	// Pooler says that a connection pooler such as PgBouncer stands between the pool and
	// the server. Open then leaves out what needs the server itself: cancel requests. And what
	// looks like an error of the server's that ended the connection is not taken for proof
	// that COMMIT was not executed: a pooler that lost its server sends the like.
	Pooler bool
}

func (c Config) withDefaults() Config {
	fill(&c.AcquireTimeout, defaultAcquireTimeout)
	fill(&c.ResolveTimeout, defaultResolveTimeout)
	fill(&c.BaseDelay, defaultBaseDelay)
	fill(&c.MaxDelay, defaultMaxDelay)
	return c
}

func (c Config) validate() error {
	if c.Options.IdempotencyKey != "" {
		return &OptionsError{"Config.Options.IdempotencyKey", "is per call only"}
	}
	if c.ResolveCommits > ResolveNever {
		return &OptionsError{"Config.ResolveCommits", "is not one of the constants"}
	}
	if c.Options.Deferrable {
		return &OptionsError{"Config.Options.Deferrable", "is per call only"}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"Config.ResolveTimeout", c.ResolveTimeout}, {"Config.BaseDelay", c.BaseDelay}, {"Config.MaxDelay", c.MaxDelay},
		{"Config.WarnAfter", c.WarnAfter},
	} {
		if f.d < 0 {
			return &OptionsError{f.name, "is negative"}
		}
	}
	return c.Options.validate(false)
}

// A DB begins transactions on a pool. It has no Exec and no Query: a statement runs in a
// transaction, or through generated code as a transaction of its own. A DB is safe for
// concurrent use.
type DB struct {
	pool   *pgxpool.Pool
	cfg    Config
	err    error // of the configuration; every call returns it
	budget *budget
	major  atomic.Int32 // version of the server, once seen
}

// Open makes a pool for the connection string, set up by ConfigurePool (unless cfg.Pooler),
// and checks that the server answers. Close the DB when it is no longer needed.
func Open(ctx context.Context, dsn string, cfg Config) (*DB, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, dsnError(err)
	}
	if strings.Contains(pc.ConnConfig.Database, "@") {
		// The slash of a password began the path: the rest of it would stand in every message
		// as the database's name.
		return nil, errors.New(dsnHint + "its database name has an @; write special characters of the password percent-encoded")
	}
	if !cfg.Pooler {
		ConfigurePool(pc)
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return New(pool, cfg), nil
}

// New makes a DB on a pool of the caller's, who keeps closing it (Close does so too). Call
// ConfigurePool on the pool's configuration first, so that a cancelled context does not
// cost its connection. A Config that cannot be right makes every call fail with its
// *OptionsError.
func New(pool *pgxpool.Pool, cfg Config) *DB {
	return &DB{pool: pool, cfg: cfg.withDefaults(), err: cfg.validate(), budget: newBudget()}
}

// Pool returns the pool, for what transactions are not for: LISTEN, metrics, its own
// configuration. Statements sent through it are not watched.
func (d *DB) Pool() *pgxpool.Pool {
	if d == nil {
		return nil
	}
	return d.pool
}

// Close closes the pool and waits until all connections are returned, for which a function
// that runs in a transaction would wait for ever.
func (d *DB) Close() {
	if d != nil && d.pool != nil {
		d.pool.Close()
	}
}

const dsnHint = "txn: the connection string cannot be parsed (not shown, it may hold a password): "

// dsnError says what is wrong with a connection string without showing any of it: while it
// cannot be parsed, nobody knows where in it the password is.
func dsnError(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errors.New(dsnHint + "it is not a valid URL; write special characters of the password percent-encoded")
	}
	if e, ok := errors.AsType[*strconv.NumError](err); ok {
		return errors.New(dsnHint + "a number in it is not valid: " + e.Err.Error())
	}
	return errors.New(dsnHint + "see the PostgreSQL manual, libpq connection strings")
}
