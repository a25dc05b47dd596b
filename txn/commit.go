package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// commit sends COMMIT, with what is queued, and believes nothing but its answer.
func (t *transaction) commit() error {
	due := t.token != nil && t.token.due
	if !due && !queued(t.ahead) {
		t.ahead = t.ahead[:0] // settings and savepoints without a statement are not needed
		if !t.begun {
			return nil
		}
	}
	t.align() // a joined call's limits are not for what is checked at COMMIT
	if t.conn != nil && t.conn.IsClosed() {
		t.lost = true
		return &lostError{pgconn.ErrConnClosed}
	}
	if (t.blind || t.raw) && t.token == nil && t.asksXID() {
		// What came last was COPY, or something else that travels alone. With the answer to
		// COMMIT the id would come too late.
		t.ahead = append(t.ahead, t.xidStep())
		if err := t.flush(t.ctx); err != nil {
			t.abandon(0)
			t.rollback()
			return err
		}
	}
	t.commitAt = t.now()
	defer func() { _ = t.vigil.end() }()
	if due || len(t.ahead) > 0 {
		return t.commitQueued()
	}
	ctx := t.watchCommit()
	t.used.RoundTrips++
	tag, err := t.conn.Exec(ctx, "commit")
	return t.committed(tag, err)
}

// commitQueued sends what is queued and COMMIT in one flush. If a statement fails, COMMIT is
// not executed.
func (t *transaction) commitQueued() error {
	if err := t.board(t.ctx, false); err != nil {
		t.doomed(err)
		t.abandon(0)
		return err
	}
	if t.claims() {
		t.ahead = append(t.ahead, t.claim())
	}
	t.together, t.asking = true, t.ctx
	ctx := t.watchCommit()
	a, err := t.fly(ctx, len(t.ahead), t.one(request{sql: "commit", ours: true}), nil)
	if err != nil && t.sent && t.lost && !t.refused(err) {
		err = t.unknown(err)
		t.unanswered(err)
		return err
	}
	if err != nil {
		if t.doom == errKeyTaken && t.vigil.verdict() {
			err = t.voided()
		}
		_ = t.vigil.end() // it is not to break ROLLBACK off
		t.abandon(0)
		t.rollback()
		return err
	}
	tag, err := a.Exec()
	if cerr := a.Close(); err == nil {
		err = cerr
	}
	if pg := t.conn.PgConn(); err != nil && !pg.IsClosed() && pg.TxStatus() == statusFailed {
		// A statement before it had failed, of whose answer not all was looked at.
		_ = t.vigil.end()
		err = t.after("commit", err)
		t.rollback()
		return err
	}
	return t.committed(tag, err)
}

// voided is what is said of an attempt whose key was taken while its outcome was asked for
// already: it may have been voided by that. The server has refused it in any case.
func (t *transaction) voided() error {
	t.doom, t.cause = nil, nil
	v := t.vigil
	if v.outcome == outcomeUnknown {
		v.outcome = outcomeAborted
	}
	return t.resolved(v.outcome, v.err, t.ctx.Err(), time.Since(v.since))
}

// unanswered tells queued statements whose answers were lost what became of them.
func (t *transaction) unanswered(err error) {
	if err == nil {
		err = ErrAnswerLost
	}
	for i := range t.ahead {
		if a := t.ahead[i].answer; a != nil && !a.done && a.err == nil {
			a.err = &QueuedError{Query: queryName(a.sql), Err: err}
		}
	}
	t.ahead = t.ahead[:0]
}

// refused reports whether the server itself answered one of the statements before COMMIT
// with the error: then it has not executed COMMIT. A pooler that has lost the server says so
// in the same form, whatever the server may have done.
func (t *transaction) refused(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return false
	case pg.SeverityUnlocalized == "ERROR":
		return true
	}
	return !t.db.cfg.Pooler && !strings.HasPrefix(pg.Code, classConnection)
}

// committed is what the answer to COMMIT says.
func (t *transaction) committed(tag pgconn.CommandTag, err error) error {
	pg := t.conn.PgConn()
	switch {
	case err == nil && tag.String() == "COMMIT":
		if t.vigil.end() && !t.readOnly {
			return t.unconfirmed(t.ctx.Err())
		}
		return nil
	case err == nil:
		return fmt.Errorf("%s: COMMIT was answered with %s: %w", subject(t.opts.Label), tag, pgx.ErrTxCommitRollback)
	case !pg.IsClosed() && pg.TxStatus() == statusIdle && SQLState(err) != "":
		return fmt.Errorf("%s: COMMIT failed, nothing was committed: %w", subject(t.opts.Label), givenUp(t.ctx, named(err)))
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
	if lost, ok := errors.AsType[*lostError](err); ok {
		err = lost.err // it says more than is known now
	}
	if t.readOnly {
		return &lostError{err} // nothing to commit
	}
	if v := t.vigil; v.verdict() {
		return t.resolved(v.outcome, v.err, err, time.Since(v.since))
	}
	return t.resolve(err)
}

// unconfirmed is what is said of a COMMIT that succeeded although it was cancelled: that ends
// its wait for standbys, and the server succeeds with a warning.
func (t *transaction) unconfirmed(cause error) error {
	i := t.inquiry()
	err := i.confirmed(context.WithoutCancel(t.ctx), t.conn)
	if err == nil {
		return nil
	}
	return t.unresolved(cause, err.Error())
}

// rollback ends the transaction without the caller's context, which may be cancelled: the
// locks must go now, and the connection is worth keeping. What cannot be rolled back in
// time is closed, which makes the server do it.
func (t *transaction) rollback() {
	if t.lost || t.conn == nil {
		return
	}
	if t.locking {
		ctx, done := t.undoContext()
		defer done()
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
	ctx, done := t.undoContext()
	defer done()
	t.used.RoundTrips++
	_, err := t.conn.Exec(ctx, sql)
	if SQLState(err) == stateQueryCanceled {
		_, err = t.conn.Exec(ctx, sql)
	}
	return err
}

// undoContext is for what undoes work: it outlives the caller's context, and within
// ResolveTimeout it is over, the end of what did not stop by itself included.
func (t *transaction) undoContext() (_ context.Context, done func()) {
	all := t.db.cfg.ResolveTimeout
	t.session.stopWithin(all / stopShare)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), all-all/stopShare)
	return ctx, func() {
		cancel()
		t.session.stopWithin(t.db.patience())
	}
}
