package txn

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// commit sends COMMIT, with what is queued, and believes nothing but its answer.
func (t *transaction) commit() error {
	due := t.token != nil && t.token.due
	switch {
	case due && (t.begun || t.opts.Isolation.strength() > ReadCommitted):
		t.ahead = append(t.ahead, t.token.step())
	case !due && !queued(t.ahead):
		t.ahead = t.ahead[:0] // settings and savepoints without a statement are not needed
		if !t.begun {
			return nil
		}
	}
	if t.conn != nil && t.conn.IsClosed() {
		t.lost = true
		return &lostError{pgconn.ErrConnClosed}
	}
	// From here the caller's deadline no longer helps: a COMMIT broken off is an outcome
	// nobody knows. It is waited for, ResolveTimeout longer.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
	defer cancel()
	stop := context.AfterFunc(t.ctx, func() { time.AfterFunc(t.db.cfg.ResolveTimeout, cancel) })
	defer stop()
	t.commitAt = t.now()
	if due || len(t.ahead) > 0 {
		return t.commitQueued(ctx)
	}
	t.used.RoundTrips++
	tag, err := t.conn.Exec(ctx, "commit")
	return t.committed(tag, err)
}

// commitQueued sends what is queued and COMMIT in one flush. If a statement fails, COMMIT is
// not executed.
func (t *transaction) commitQueued(ctx context.Context) error {
	if err := t.board(t.ctx, false); err != nil {
		t.doomed(err)
		t.abandon(0)
		return err
	}
	a, err := t.fly(ctx, len(t.ahead), t.one(request{sql: "commit", ours: true}), nil)
	if err != nil && t.sent && t.lost && SQLState(err) == "" {
		err = t.unknown(err)
		t.unanswered(err)
		return err
	}
	if err != nil {
		t.abandon(0)
		t.rollback()
		return err
	}
	tag, err := a.Exec()
	if cerr := a.Close(); err == nil {
		err = cerr
	}
	return t.committed(tag, err)
}

// unanswered tells queued statements whose answers were lost what became of them.
func (t *transaction) unanswered(err error) {
	if err == nil {
		err = errAnswerLost
	}
	for i := range t.ahead {
		if a := t.ahead[i].answer; a != nil && !a.done {
			a.err = &QueuedError{Query: a.query, Err: err}
		}
	}
	t.ahead = t.ahead[:0]
}

// committed is what the answer to COMMIT says.
func (t *transaction) committed(tag pgconn.CommandTag, err error) error {
	pg := t.conn.PgConn()
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("%s: COMMIT was answered with %s: %w", subject(t.opts.Label), tag, pgx.ErrTxCommitRollback)
	case !pg.IsClosed() && pg.TxStatus() == statusIdle && SQLState(err) != "":
		return fmt.Errorf("%s: COMMIT failed, nothing was committed: %w", subject(t.opts.Label), named(err))
	}
	t.lost = true
	return t.unknown(err)
}

// unknown is what is said of a COMMIT that was sent and not answered: nil, if it can be
// found out that it was executed.
//
// pgconn.SafeToRetry cannot be asked here: a connection lost while the answer was read can
// show as "conn closed", which it takes for never sent.
func (t *transaction) unknown(err error) error {
	if t.readOnly {
		return &lostError{err} // nothing to commit
	}
	return t.resolve(err)
}

// rollback ends the transaction without the caller's context, which may be cancelled: the
// locks must go now, and the connection is worth keeping. What cannot be rolled back in
// time is closed, which makes the server do it.
func (t *transaction) rollback() {
	if t.lost || t.conn == nil {
		return
	}
	if t.locking {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.db.cfg.ResolveTimeout)
		defer cancel()
		if err := t.releaseLocks(ctx); err != nil {
			t.lost = true
		}
		return
	}
	if !t.begun {
		return
	}
	if t.conn.PgConn().TxStatus() == statusIdle { // ended by a statement's text
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
	t.used.RoundTrips++
	_, err := t.conn.Exec(ctx, sql)
	if SQLState(err) == stateQueryCanceled {
		_, err = t.conn.Exec(ctx, sql)
	}
	return err
}
