package txn

import (
	"context"
	"slices"
	"strconv"
)

// Savepoint runs fn in a part of the transaction that can fail alone: if fn returns an
// error or panics, what it did is undone, and the transaction goes on as if fn had not
// run. The error is returned; it is contained, so the caller may drop it and commit.
//
// While fn runs, tx itself is suspended (ErrSuspended): only fn's handle reaches the
// server. A statement error that fn swallowed is returned instead of nil. Locks taken in fn
// are freed when it is undone. A serialization failure can be contained, but seldom cured:
// its cause lies in the whole transaction, and a second try inside it fails again.
//
// A savepoint that is written in costs the server a subtransaction until the transaction's
// end, unless it is undone; with more than 64 of them other sessions slow down too
// (WarnSavepoints). It costs no round trip of its own, unless it is undone, or
// statements were queued in it, which are flushed at its end.
func (tx *Tx) Savepoint(ctx context.Context, fn func(context.Context, *Tx) error) error {
	if fn == nil {
		return errNoFunction
	}
	return tx.scope().savepoint(ctx, func(ctx context.Context, s *scope) error { return fn(ctx, s.handle()) })
}

// SavepointValue is Savepoint for a function with a result. After an error the result is
// T's zero value.
func SavepointValue[T any](ctx context.Context, tx *Tx, fn func(context.Context, *Tx) (T, error)) (T, error) {
	if fn == nil {
		return *new(T), errNoFunction
	}
	var v T
	err := tx.Savepoint(ctx, func(ctx context.Context, tx *Tx) (err error) {
		v, err = fn(ctx, tx)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return v, nil
}

func (s *scope) savepoint(ctx context.Context, fn func(context.Context, *scope) error) error {
	t, err := s.enter()
	if err != nil {
		return err
	}
	inner, p := s.openSavepoint()
	t.leave()

	returned := false
	defer func() {
		if !returned {
			_ = inner.leaveSavepoint(ctx, p, errDidNotReturn)
		}
	}()
	err = fn(withMark(ctx, new(mark), t.db.pool, &t.open), inner)
	returned = true
	return inner.leaveSavepoint(ctx, p, err)
}

// openSavepoint holds SAVEPOINT back, and suspends s. The transaction is entered.
func (s *scope) openSavepoint() (*scope, savepoint) {
	t := s.t
	inner := &scope{t: t, label: s.label, depth: s.depth + 1}
	p := savepoint{have: t.have, hooks: t.hooks.count(), kept: t.kept}
	t.hold(stepSavepoint, "savepoint "+inner.savepointName())
	t.inner = append(t.inner, inner)
	t.used.Savepoints++
	t.kept++
	if t.kept > maxSavepoints && !t.warned && t.observed() {
		t.warned = true
		t.tell(WarningEvent{t.info(s.label), WarnSavepoints})
	}
	return inner, p
}

// A savepoint is how a transaction was when the savepoint was asked for.
type savepoint struct {
	have  limits
	hooks hookCount
	kept  int
}

// savepointName is by depth: few names, each used again, and two that are open at once
// cannot be equal.
func (s *scope) savepointName() string { return "s" + strconv.Itoa(s.depth) }

func (s *scope) leaveSavepoint(ctx context.Context, p savepoint, err error) error {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ended.Load() { // with a function around it
		return ErrTxDone
	}
	if open := t.closeOpen(s.depth); err == nil {
		err = open
	}
	s.finish()
	t.inspect()
	if err == nil && t.doom != nil {
		err = t.rollbackOnly()
	}
	if err == nil {
		err = s.releaseSavepoint(ctx, p)
	}
	if err != nil {
		t.hooks.undo(p.hooks, err)
		t.kept = p.kept
		s.undo(p)
	}
	t.inner = t.inner[:s.depth-1]
	t.saved = min(t.saved, len(t.inner))
	if t.observed() {
		t.tell(SavepointEvent{t.info(s.label), s.depth, err})
	}
	return err
}

// releaseSavepoint holds RELEASE back, unless statements are queued that were given inside:
// they are flushed with it, so that their failure is the savepoint's.
func (s *scope) releaseSavepoint(ctx context.Context, p savepoint) error {
	t := s.t
	if at := s.held(); at >= 0 && idle(t.ahead[at:]) { // nothing happened in it
		t.ahead, t.have = t.ahead[:at], p.have
		return nil
	}
	t.hold(stepControl, "release savepoint "+s.savepointName())
	if queued(t.ahead) {
		return t.flush(ctx)
	}
	return nil
}

// held is the place of SAVEPOINT in what is held back, or -1 if it is not there.
func (s *scope) held() int {
	if s.t.saved >= s.depth {
		return -1
	}
	name := "savepoint " + s.savepointName()
	return slices.IndexFunc(s.t.ahead, func(a step) bool { return a.kind == stepSavepoint && a.sql == name })
}

// undo rolls back to the savepoint and releases it, since a savepoint rolled back to still
// exists and holds memory of the server. Limits set since are undone with it, and the claim
// of an idempotency key. A failure that came before the savepoint was there is not undone.
func (s *scope) undo(p savepoint) {
	t := s.t
	if at := s.held(); at >= 0 { // it was not sent, nor was anything in it
		t.abandon(at)
		t.doom, t.cause, t.have = nil, nil, p.have
		return
	}
	t.abandon(0)
	if t.saved < s.depth || t.lost || t.conn.PgConn().TxStatus() == statusIdle {
		return
	}
	name := s.savepointName()
	err := t.undoing("rollback to savepoint " + name + "; release savepoint " + name)
	if err != nil || t.conn.PgConn().TxStatus() != statusActive {
		t.lost = true
		t.doomed(&lostError{err})
		return
	}
	t.doom, t.cause, t.have = nil, nil, p.have
}
