package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Transaction states as the protocol reports them in ReadyForQuery.
const (
	statusIdle   = 'I'
	statusActive = 'T'
	statusFailed = 'E'
)

// A transaction is one attempt at one transaction of the server: what all its handles
// share. Its connection is taken, and BEGIN sent, with the first statement that needs an
// answer.
type transaction struct {
	db       *DB
	opts     Options
	given    map[string]string // by Config.SettingsFrom
	shared   *SharedSnapshot   // that it begins with
	readOnly bool
	attempt  int
	id       uint64 // of the call
	caller   context.Context
	ctx      context.Context // of the attempt: marked, and cancelled when it ends
	asking   context.Context // of the statement sent last
	cancel   context.CancelFunc
	open     atomic.Bool // what the mark asks
	mark     mark
	root     scope // of the outermost function

	// mu is held by whoever uses the connection. A second user is refused, not queued:
	// whose statement comes first in a transaction is never a matter of chance.
	mu        sync.Mutex
	pooled    *pgxpool.Conn // nil before the first flush and after the end
	conn      *pgx.Conn     // the pooled one
	owner     pgx.Tx        // who began the transaction, if others did
	twin      pgx.Tx        // see native
	session   *session
	begun     bool
	lost      bool     // the connection is gone
	destroy   bool     // the connection must not go back to the pool
	inner     []*scope // of the open savepoints
	saved     int      // how many of them the server has
	kept      int      // savepoints, open or released, that were not undone
	warned    bool     // of their number
	want      limits
	have      limits        // as the server has them, or will after what is held back
	ceiling   time.Duration // over statement and idle limits, where they stand in for Timeout
	ahead     []step        // held back until the next flush
	sent      bool          // the last one reached the network
	locking   bool          // the session may hold locks that the transaction does not
	single    [1]request    // reused from flush to flush
	following []step        // likewise
	room      [1]step       // of it
	xid       string        // "" until known
	blind     bool          // statements were sent behind which it was not asked for
	raw       bool          // others may send statements past us
	together  bool          // COMMIT travels with other statements
	token     *token        // of the idempotency key, if there is one
	results   results       // of a query or batch not read to its end
	hooks     hooks
	vigil     *vigil // over COMMIT

	misused atomic.Pointer[QueuedError] // a statement that Queue refused

	doom  error // the first failure that only a rollback can follow
	cause error // of doom, as the server said it, if that was replaced

	// For observers.
	start    time.Time
	waited   time.Duration // for the connection
	flown    time.Time     // when the last flush was sent
	commitAt time.Time     // when COMMIT was
	used     Usage
	pid      atomic.Uint32 // once known
	warning  *time.Timer
}

// results are open rows or an open batch.
type results interface {
	describe() string
	discard()
}

func (d *DB) newTransaction(ctx context.Context, opts Options, readOnly bool, attempt int, id uint64) *transaction {
	t := &transaction{db: d, opts: opts, readOnly: readOnly, attempt: attempt, id: id, caller: ctx}
	if opts.Timeout > 0 && d.major.Load() < transactionTimeoutSince {
		t.ceiling = opts.Timeout + backstop
	}
	t.want = limits{opts.LockTimeout, opts.StatementTimeout, opts.IdleTimeout}
	t.have = t.want.under(t.ceiling) // BEGIN brings them
	t.token = newToken(opts)
	t.following = t.room[:0]
	t.open.Store(true)
	ctx, t.cancel = context.WithCancel(ctx)
	t.ctx = withMark(ctx, &t.mark, d.pool, &t.open)
	t.watch()
	return t
}

// run runs fn in the transaction and ends it: committed if fn returns nil, else, or when
// fn panics or calls runtime.Goexit, rolled back.
func (t *transaction) run(fn func(context.Context, *scope) error) error {
	s := &t.root
	s.t, s.label = t, t.opts.Label
	returned := false
	defer func() {
		if !returned { // no recover: panic and Goexit go on past this rollback
			_ = t.end(errDidNotReturn, s)
			defer t.tellRolledBack(errDidNotReturn, t.usage(), false, 0)
			t.afterRollback(t.ctx, errDidNotReturn)
		}
	}()
	err := elsewhere(fn(t.ctx, s))
	if err == nil && t.retire(s) {
		err = t.beforeCommit()
	}
	returned = true
	return t.end(err, s)
}

// retire ends the function's own handle, and reports whether its transaction may go on to
// COMMIT.
func (t *transaction) retire(s *scope) bool {
	t.mu.Lock() // waits for a goroutine that the function left behind
	defer t.mu.Unlock()
	if t.doom != nil || t.results != nil || len(t.inner) > 0 {
		return false
	}
	s.finish()
	return true
}

// end is called once, by the goroutine that ran the function.
func (t *transaction) end(err error, s *scope) error {
	defer t.cancel()
	if t.warning != nil {
		t.warning.Stop()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.finish()
	if t.results != nil {
		t.cancel() // nobody wants the remaining rows
	}
	open := t.closeOpen(0)
	defer t.release()
	if err == nil {
		err = open
	}
	t.noteMisuse()
	t.inspect()
	if err == nil && t.doom != nil {
		err = t.rollbackOnly()
	}
	if err == nil {
		err = t.ctx.Err() // a caller who has given up is not told of success later
	}
	if err == nil {
		err = t.commit()
	} else {
		t.abandon(0)
		t.rollback()
	}
	if t.doom == errKeyTaken {
		return t.alreadyCommitted()
	}
	return err
}

// closeOpen closes what a function left open that was called within so many savepoints, and
// says so.
func (t *transaction) closeOpen(depth int) error {
	err := t.closeResults()
	if len(t.inner) <= depth {
		return err
	}
	for _, s := range t.inner[depth:] {
		s.finish()
	}
	t.inner = t.inner[:depth]
	if err == nil {
		err = fmt.Errorf("%w: its function returned without ending it", ErrSuspended)
	}
	return err
}

// closeResults closes open rows. mu is held; it is given up meanwhile, because a goroutine
// may sit in Next.
func (t *transaction) closeResults() error {
	r := t.results
	if r == nil {
		return nil
	}
	t.mu.Unlock()
	r.discard()
	t.mu.Lock()
	t.results = nil
	return fmt.Errorf("%w: %s", ErrRowsOpen, r.describe())
}

// noteMisuse dooms a transaction that a handle was misused in to queue a statement.
func (t *transaction) noteMisuse() {
	if m := t.misused.Load(); m != nil {
		t.doomed(m)
	}
}

// inspect finds out what statements did that went by us, through Pgx().Conn(): nothing must
// be sent to a connection whose transaction they ended. The connection is free.
func (t *transaction) inspect() {
	if !t.begun || t.conn == nil || t.doom != nil {
		return
	}
	switch t.conn.PgConn().TxStatus() {
	case statusIdle:
		t.destroy = true
		t.doomed(&EndedError{Query: "sent through Pgx().Conn()"})
	case statusFailed:
		t.doomed(errFailedUnseen)
	}
}

// errFailedUnseen: only the one who sent it knows the error.
var errFailedUnseen = errors.New("txn: a statement sent through Pgx().Conn() failed")

func (t *transaction) rollbackOnly() error {
	return &rollbackOnlyError{t.opts.Label, t.doom}
}

// doomed notes the first reason why only a rollback can follow.
func (t *transaction) doomed(err error) {
	if t.doom == nil {
		t.doom = err
	}
}

// after is called when a statement has ended, with the connection free again. It notes
// what its failure means for the transaction and gives the error its name.
func (t *transaction) after(sql string, err error) error {
	pg := t.conn.PgConn()
	t.session.failed(err)
	t.session.current = ""
	switch {
	case pg.IsClosed():
		if err == nil {
			err = pgconn.ErrConnClosed
		}
		t.lost = true
		if !cancelled(err) { // else the caller's own context closed it
			err = &lostError{err}
		}
		t.doomed(err)
		return err
	case pg.TxStatus() == statusFailed:
		if err == nil {
			err = errors.New("txn: the transaction failed without an error")
		}
		err = givenUp(t.asking, named(err))
		t.doomed(err)
		return err
	case pg.TxStatus() == statusIdle && t.begun:
		ended := &EndedError{queryName(sql)}
		t.destroy = true
		t.doomed(ended)
		return errors.Join(ended, err)
	}
	return givenUp(t.asking, named(err))
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// named gives server errors that have one the name by which errors.Is finds them.
func named(err error) error {
	if err == pgx.ErrNoRows {
		return ErrNotFound
	}
	if SQLState(err) == stateLockNotAvailable && !errors.Is(err, ErrLockNotAvailable) {
		return &lockError{err}
	}
	return err
}

// givenUp gives the server's error of a cancelled statement the reason that the caller knows
// of, if that was ctx.
func givenUp(ctx context.Context, err error) error {
	if SQLState(err) != stateQueryCanceled || ctx == nil || ctx.Err() == nil {
		return err
	}
	return &givenUpError{ctx.Err(), err}
}

// release gives the connection back, or closes it where its state is in doubt.
func (t *transaction) release() {
	t.open.Store(false)
	if t.conn == nil {
		return
	}
	if t.lost || t.destroy || t.conn.PgConn().TxStatus() != statusIdle {
		closeConn(t.conn, t.db.cfg.ResolveTimeout)
	}
	t.closeTwin()
	t.session.tidy(t.ahead)
	t.pooled.Release()
	t.pooled, t.conn = nil, nil
}
