package txn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// backstop is how much later than Options.Timeout the server itself ends a transaction.
// The client's deadline and cancel request come first and keep the connection; this one is
// for a client that can no longer act.
const backstop = time.Second

// Transaction states as the protocol reports them in ReadyForQuery.
const (
	statusIdle   = 'I'
	statusActive = 'T'
	statusFailed = 'E'
)

// A transaction is one attempt at one transaction of the server: what all its handles
// share. Its connection is taken and BEGIN sent with the first statement.
type transaction struct {
	db       *DB
	opts     Options
	readOnly bool
	attempt  int
	ctx      context.Context // of the attempt: marked, and cancelled when it ends
	cancel   context.CancelFunc
	open     atomic.Bool // what the mark asks

	// mu is held by whoever uses the connection. A second user is refused, not queued:
	// whose statement comes first in a transaction is never a matter of chance.
	mu      sync.Mutex
	conn    *pgxpool.Conn // nil before the first statement and after the end
	begun   bool
	lost    bool // the connection is gone
	destroy bool // the connection must not go back to the pool
	depth   int  // open savepoints
	want    limits
	have    limits        // as the server has them
	ceiling time.Duration // over statement and idle limits, where they stand in for Timeout
	results results       // of a query or batch not read to its end
	doom    error         // the first failure that only a rollback can follow
}

// results are open rows or an open batch.
type results interface {
	describe() string
	discard()
}

// limits are the server-side timeouts; zero stands for the server's own.
type limits struct{ lock, statement, idle time.Duration }

func (d *DB) newTransaction(ctx context.Context, opts Options, readOnly bool, attempt int) *transaction {
	t := &transaction{db: d, opts: opts, readOnly: readOnly, attempt: attempt}
	t.want = limits{opts.LockTimeout, opts.StatementTimeout, opts.IdleTimeout}
	t.open.Store(true)
	ctx, t.cancel = context.WithCancel(ctx)
	t.ctx = withMark(ctx, d.pool, &t.open)
	return t
}

// run runs fn in the transaction and ends it: committed if fn returns nil, else, or when
// fn panics or calls runtime.Goexit, rolled back.
func (t *transaction) run(fn func(context.Context, *scope) error) error {
	s := &scope{t: t, label: t.opts.Label}
	returned := false
	defer func() {
		if !returned { // no recover: panic and Goexit go on past this rollback
			_ = t.end(s, errors.New("the function did not return"))
		}
	}()
	err := fn(t.ctx, s)
	returned = true
	return t.end(s, err)
}

// end is called once, by the goroutine that ran the function.
func (t *transaction) end(s *scope, err error) error {
	defer t.cancel()
	t.mu.Lock() // waits for a goroutine that the function left behind
	defer t.mu.Unlock()
	s.done = true
	if t.results != nil {
		t.cancel() // nobody wants the remaining rows
	}
	open := t.closeResults()
	defer t.release()
	if err == nil {
		err = open
	}
	if err == nil && t.doom != nil {
		err = t.rollbackOnly()
	}
	if err == nil {
		err = t.ctx.Err() // a caller who has given up is not told of success later
	}
	if err != nil {
		t.rollback()
		return err
	}
	return t.commit()
}

// closeResults closes what the function left open and says so. mu is held; it is given up
// meanwhile, because a goroutine may sit in Next.
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

func (t *transaction) rollbackOnly() error {
	return &rollbackOnlyError{t.opts.Label, t.doom}
}

// doomed notes the first reason why only a rollback can follow.
func (t *transaction) doomed(err error) {
	if t.doom == nil {
		t.doom = err
	}
}

// ready makes the connection ready for a statement: takes it, begins, and brings the
// server's timeouts to what is wanted.
func (t *transaction) ready(ctx context.Context) error {
	if !t.begun {
		if err := t.begin(ctx); err != nil {
			t.doomed(err)
			return err
		}
	}
	want := t.want.under(t.ceiling)
	if t.have == want {
		return nil
	}
	if err := t.control(ctx, want.change(t.have)); err != nil {
		return err
	}
	t.have = want
	return nil
}

// begin takes a connection and sends BEGIN with the settings in one round trip. A pooled
// connection may have died since its last use, a restarted server kills them all: those are
// replaced here, nothing of the caller's was sent yet.
func (t *transaction) begin(ctx context.Context) error {
	for replaced := int32(0); ; replaced++ {
		conn, err := t.db.acquire(ctx)
		if err != nil {
			return err
		}
		sql := t.beginSQL(serverMajor(conn.Conn()))
		_, err = conn.Exec(ctx, sql)
		if err == nil && conn.Conn().PgConn().TxStatus() == statusActive {
			t.conn, t.begun, t.have = conn, true, t.want.under(t.ceiling)
			return nil
		}
		dead := conn.Conn().IsClosed()
		if !dead && conn.Conn().PgConn().TxStatus() != statusIdle {
			closeConn(conn, t.db.cfg.ResolveTimeout)
		}
		conn.Release()
		switch {
		case err == nil:
			return errors.New("txn: the server did not begin a transaction")
		case !dead || ctx.Err() != nil:
			return named(err)
		case replaced >= t.db.pool.Config().MaxConns:
			return &lostError{err}
		}
	}
}

// beginSQL is BEGIN with everything that belongs to it, for the simple protocol.
func (t *transaction) beginSQL(major int) string {
	var b strings.Builder
	b.WriteString("begin isolation level ")
	b.WriteString(t.opts.Isolation.String())
	if t.readOnly {
		b.WriteString(" read only")
	} else {
		b.WriteString(" read write")
	}
	if t.opts.Deferrable {
		b.WriteString(" deferrable")
	}
	if t.opts.Timeout > 0 {
		// Before version 17, which has a setting for it, the limits of the single statement
		// and of the pause between two have to stand in.
		if major >= 17 {
			setLocal(&b, "transaction_timeout", t.opts.Timeout+backstop)
		} else {
			t.ceiling = t.opts.Timeout + backstop
		}
	}
	b.WriteString(t.want.under(t.ceiling).change(limits{}))
	if t.opts.SynchronousCommit != SyncUnspecified {
		b.WriteString("; set local synchronous_commit = " + string(t.opts.SynchronousCommit))
	}
	if t.opts.DeferConstraints {
		b.WriteString("; set constraints all deferred")
	}
	return b.String()
}

// under returns l with no statement and no pause allowed longer than the ceiling, if there
// is one.
func (l limits) under(ceiling time.Duration) limits {
	if ceiling == 0 {
		return l
	}
	if l.statement == 0 || l.statement > ceiling {
		l.statement = ceiling
	}
	if l.idle == 0 || l.idle > ceiling {
		l.idle = ceiling
	}
	return l
}

// change returns the SET LOCAL statements from have to l, each behind a semicolon.
func (l limits) change(have limits) string {
	var b strings.Builder
	if l.lock != have.lock {
		setLocal(&b, "lock_timeout", l.lock)
	}
	if l.statement != have.statement {
		setLocal(&b, "statement_timeout", l.statement)
	}
	if l.idle != have.idle {
		setLocal(&b, "idle_in_transaction_session_timeout", l.idle)
	}
	return b.String()
}

func setLocal(b *strings.Builder, setting string, d time.Duration) {
	b.WriteString("; set local " + setting + " = ")
	if d == 0 {
		b.WriteString("default")
		return
	}
	b.WriteString(strconv.FormatInt(milliseconds(d), 10))
}

// control sends a statement of our own on the running transaction.
func (t *transaction) control(ctx context.Context, sql string) error {
	_, err := t.conn.Conn().Exec(ctx, strings.TrimPrefix(sql, "; "))
	return t.after(sql, err)
}

// after is called when a statement has ended, with the connection free again. It notes
// what its failure means for the transaction and gives the error its name.
func (t *transaction) after(sql string, err error) error {
	pg := t.conn.Conn().PgConn()
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
		err = named(err)
		t.doomed(err)
		return err
	case pg.TxStatus() == statusIdle:
		ended := &EndedError{queryName(sql)}
		t.destroy = true
		t.doomed(ended)
		return errors.Join(ended, err)
	}
	return named(err)
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

// commit sends COMMIT and believes nothing but its answer.
func (t *transaction) commit() error {
	if !t.begun {
		return nil
	}
	if t.conn.Conn().IsClosed() {
		t.lost = true
		return &lostError{pgconn.ErrConnClosed}
	}
	// From here the caller's deadline no longer helps: a COMMIT broken off is an outcome
	// nobody knows. It is waited for, ResolveTimeout longer.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
	defer cancel()
	stop := context.AfterFunc(t.ctx, func() { time.AfterFunc(t.db.cfg.ResolveTimeout, cancel) })
	defer stop()

	tag, err := t.conn.Conn().Exec(ctx, "commit")
	pg := t.conn.Conn().PgConn()
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("%s: COMMIT was answered with %s: %w", subject(t.opts.Label), tag, pgx.ErrTxCommitRollback)
	case !pg.IsClosed() && pg.TxStatus() == statusIdle && SQLState(err) != "":
		return fmt.Errorf("%s: COMMIT failed, nothing was committed: %w", subject(t.opts.Label), named(err))
	}
	t.lost = true
	if t.readOnly {
		return &lostError{err} // nothing to commit
	}
	// pgconn.SafeToRetry cannot be asked here: a connection lost while the answer was read
	// can show as "conn closed", which it takes for never sent.
	return &CommitUnknownError{Label: t.opts.Label, Err: err}
}

// rollback ends the transaction without the caller's context, which may be cancelled: the
// locks must go now, and the connection is worth keeping. What cannot be rolled back in
// time is closed, which makes the server do it.
func (t *transaction) rollback() {
	if !t.begun || t.lost {
		return
	}
	if t.conn.Conn().PgConn().TxStatus() == statusIdle { // ended by a statement's text
		return
	}
	if err := t.undoing("rollback"); err != nil {
		t.lost = true
	}
}

// undoing sends a rollback on a context of its own. A cancel request that was late for the
// statement it was meant for may hit the first try.
func (t *transaction) undoing(sql string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.db.cfg.ResolveTimeout)
	defer cancel()
	_, err := t.conn.Conn().Exec(ctx, sql)
	if SQLState(err) == stateQueryCanceled {
		_, err = t.conn.Conn().Exec(ctx, sql)
	}
	return err
}

// release gives the connection back, or closes it where its state is in doubt.
func (t *transaction) release() {
	t.open.Store(false)
	if t.conn == nil {
		return
	}
	if t.lost || t.destroy || t.conn.Conn().PgConn().TxStatus() != statusIdle {
		closeConn(t.conn, t.db.cfg.ResolveTimeout)
	}
	t.conn.Release()
	t.conn = nil
}

func closeConn(c *pgxpool.Conn, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = c.Conn().Close(ctx)
}

// acquire takes a connection of the pool.
func (d *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if d.cfg.AcquireTimeout < 0 {
		return d.pool.Acquire(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, d.cfg.AcquireTimeout)
	defer cancel()
	conn, err := d.pool.Acquire(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return nil, fmt.Errorf("%w (%s)", ErrAcquireTimeout, d.cfg.AcquireTimeout)
	}
	if err != nil && ctx.Err() == nil && unreachable(err) {
		return nil, &lostError{err}
	}
	return conn, err
}

// unreachable: the server was not reached, or refused for reasons that pass. A wrong
// password or database name does not pass.
func unreachable(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return false
	}
	return SQLState(err) == "" || classify(err) == outage
}

// serverMajor is the server's major version, 0 if it does not say.
func serverMajor(c *pgx.Conn) int {
	v := c.PgConn().ParameterStatus("server_version")
	end := 0
	for end < len(v) && v[end] >= '0' && v[end] <= '9' {
		end++
	}
	major, _ := strconv.Atoi(v[:end])
	return major
}
