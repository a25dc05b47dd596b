package txn

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// A scope is what one function of a transaction got: its own handle on it, good until that
// function returns. Functions that join share the transaction, each with a scope; a
// savepoint's function has one a level deeper.
type scope struct {
	t     *transaction
	label string
	depth int // savepoints around it
	ended atomic.Bool

	contains bool // what joins on this handle runs in a savepoint; for tests
	tx       Tx   // the handle itself, where it is one for writing
}

// handle is the function's own handle.
func (s *scope) handle() *Tx {
	s.tx.s = s
	return &s.tx
}

// finish makes the handle unusable. t.mu is held, so that no statement is under way.
func (s *scope) finish() { s.ended.Store(true) }

// enter takes the transaction for one operation; leave gives it back.
func (s *scope) enter() (*transaction, error) {
	if s == nil {
		return nil, ErrTxDone
	}
	t := s.t
	if !t.mu.TryLock() {
		return nil, ErrConcurrentUse
	}
	if err := s.usable(); err != nil {
		t.mu.Unlock()
		return nil, err
	}
	return t, nil
}

func (t *transaction) leave() { t.mu.Unlock() }

// usable says whether a statement may be sent now. t.mu is held.
func (s *scope) usable() error {
	if err := s.current(); err != nil {
		return err
	}
	t := s.t
	if t.results != nil {
		return fmt.Errorf("%w: %s", ErrRowsOpen, t.results.describe())
	}
	if t.inspect(); t.doom != nil {
		return t.rollbackOnly()
	}
	return nil
}

// current says whether the transaction is the handle's at this moment.
func (s *scope) current() error {
	switch t := s.t; {
	case s.ended.Load(), !t.open.Load(), t.disowned():
		return ErrTxDone
	case s.depth != len(t.inner):
		return ErrSuspended
	}
	return nil
}

// join runs fn in the transaction of s, with a scope and options of its own. An error of a
// writing fn makes the transaction rollback-only, so that no caller can commit half of what
// was asked; one of a reading fn changes nothing, unless the server failed.
func (s *scope) join(ctx context.Context, opts Options, readOnly bool, fn func(context.Context, *scope) error) (err error) {
	if s != nil && s.contains {
		return s.savepoint(ctx, func(ctx context.Context, inner *scope) error {
			return inner.join(ctx, opts, readOnly, fn)
		})
	}
	t, err := s.enter()
	if err != nil {
		return err
	}
	inner := &scope{t: t, label: nest(s.label, opts.Label), depth: s.depth}
	restore, err := t.adopt(ctx, opts, readOnly)
	t.leave()
	if err != nil {
		return err
	}
	if opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.Timeout)
		defer cancel()
	}
	returned := false
	defer func() {
		if !returned { // a panic, which the outer function may yet recover
			_ = inner.leaveJoined(readOnly, restore, errDidNotReturn)
		}
	}()
	err = elsewhere(fn(withMark(ctx, new(mark), t.db.pool, &t.open), inner))
	if err == nil && opts.FlushJoined {
		err = inner.flush(ctx)
	}
	returned = true
	return inner.leaveJoined(readOnly, restore, err)
}

// errDidNotReturn is why a transaction is rolled back whose function panicked or exited.
var errDidNotReturn = errors.New("txn: the function did not return")

func (s *scope) leaveJoined(readOnly bool, restore func(), err error) error {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	s.finish()
	restore()
	if open := t.closeOpen(s.depth); err == nil {
		err = open
	}
	if err == nil && t.doom != nil {
		err = t.rollbackOnly()
	}
	if err != nil && !readOnly {
		t.doomed(err)
	}
	return err
}

func nest(outer, inner string) string {
	if outer == "" || inner == "" {
		return outer + inner
	}
	return outer + "/" + inner
}
