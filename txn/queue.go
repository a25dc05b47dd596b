package txn

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/interlock-go/interlock/txn/internal/seam"
)

// Queue keeps a statement back until the next one that needs an answer, or COMMIT, and
// sends it with that: it costs no round trip of its own. Statements are executed in the
// order in which they were given. Queue itself sends nothing, so it needs no context, and may
// be called while rows are open; it is the one that brings the flush whose context counts.
// Arguments are encoded when they are sent: until then, do not change what they refer to,
// such as the elements of a slice.
//
// If the statement fails, the call that flushed it returns a *QueuedError, and the
// transaction can only be rolled back; behind a failed one nothing is executed, COMMIT
// included. The same goes for a statement that Queue refuses, because it ends the transaction
// or cannot travel with others. All statements of a flush are prepared before any is executed:
// between queued DDL and a statement that needs it, call Flush.
func (tx *Tx) Queue(sql string, args ...any) *Pending[pgconn.CommandTag] {
	p := &Pending[pgconn.CommandTag]{}
	p.answer.sql, p.answer.decoder = sql, (*executed)(p)
	tx.scope().queue(sql, args, &p.answer)
	return p
}

// executed decodes the answer to a statement without rows.
type executed Pending[pgconn.CommandTag]

func (p *executed) decode(a answers) (err error) {
	p.value, err = a.Exec()
	p.answer.rows = p.value.RowsAffected()
	return err
}

// Flush sends what is queued, in one round trip. It returns the *QueuedError of the first
// statement that failed.
func (tx *Tx) Flush(ctx context.Context) error { return tx.scope().flush(ctx) }

// A Pending is the answer to a queued statement. It belongs to the goroutine of its
// transaction.
type Pending[T any] struct {
	answer answer
	value  T
}

// Value returns the answer, once the statement was flushed; before, the error is
// ErrPending. If the statement failed, it is the *QueuedError that the flush returned too;
// if it was never executed, because something before it failed, ErrRollbackOnly; and if its
// answer was lost with that to COMMIT, ErrAnswerLost, although it is committed.
func (p *Pending[T]) Value() (T, error) {
	switch {
	case p == nil:
		return *new(T), ErrPending
	case p.answer.err != nil:
		return *new(T), p.answer.err
	case !p.answer.done:
		return *new(T), ErrPending
	}
	return p.value, nil
}

// OnError has fn replace the statement's error wherever that surfaces, COMMIT included: so
// a violated constraint becomes an error of the caller's own, within a *QueuedError. What
// fn returns does not change what is retried, and nil is ignored.
func (p *Pending[T]) OnError(fn func(error) error) *Pending[T] {
	p.answer.onError = fn
	return p
}

// Package sqlcbind reaches this through the seam.
func init() {
	seam.Explain = func(pending any, fn func(error) error) {
		pending.(interface{ explain(func(error) error) }).explain(fn)
	}
}

func (p *Pending[T]) explain(fn func(error) error) { p.answer.explain = fn }

// An answer is what all Pendings have in common.
type answer struct {
	sql     string // of the statement
	decoder decoder
	explain func(error) error // of the one who made the statement
	onError func(error) error
	rows    int64 // changed or returned
	done    bool
	err     error
}

// A decoder reads the answer that comes next.
type decoder interface{ decode(answers) error }

// read reads the answer. An error that is not the server's, nor of the connection, concerns
// nobody but who waits for this answer.
func (w *answer) read(a answers, c *pgx.Conn) error {
	err := w.decoder.decode(a)
	if err != nil && SQLState(err) == "" && !c.IsClosed() {
		w.err, err = named(err), nil
	}
	w.done = err == nil
	return err
}

// fail notes the statement's error and returns it as it surfaces.
func (w *answer) fail(err error) error {
	if w.explain != nil {
		err = w.explain(err)
	}
	if w.onError != nil {
		if mapped := w.onError(err); mapped != nil {
			err = mapped
		}
	}
	w.err = &QueuedError{Query: queryName(w.sql), Err: err}
	return w.err
}

// abandoned notes that the statement was not executed.
func (w *answer) abandoned(cause error) {
	if !w.done && w.err == nil {
		w.err = &rollbackOnlyError{cause: cause}
	}
}

func (s *scope) queue(sql string, args []any, w *answer) {
	if err := s.enqueue(sql, args, w); err != nil {
		w.err = &QueuedError{Query: queryName(w.sql), Err: err}
	}
}

// enqueue sends nothing, so that open rows are not in its way. A statement that it refuses
// must not be forgotten by COMMIT: the transaction cannot be committed any more, nor can it
// where a savepoint would contain the failure of another handle's statement.
func (s *scope) enqueue(sql string, args []any, w *answer) (err error) {
	if s == nil {
		return ErrTxDone
	}
	t := s.t
	if !t.mu.TryLock() {
		t.misused.CompareAndSwap(nil, &QueuedError{Query: queryName(w.sql), Err: ErrConcurrentUse})
		return ErrConcurrentUse
	}
	defer t.leave()
	if err := s.current(); err != nil {
		t.misused.CompareAndSwap(nil, &QueuedError{Query: queryName(w.sql), Err: err})
		return err
	}
	switch {
	case t.doom != nil:
		return t.rollbackOnly()
	case transactionControl(sql):
		err = refuseControl(sql)
	case alone(sql, args):
		err = errQueuedAlone
	}
	if err != nil {
		t.doomed(&QueuedError{Query: queryName(w.sql), Err: err})
		return err
	}
	t.align()
	t.noteSetting(sql)
	t.ahead = append(t.ahead, step{kind: stepQueued, sql: sql, args: args, label: s.label, depth: s.depth, answer: w})
	if t.observed() {
		t.tell(QueuedEvent{t.info(s.label), queryName(sql), s.depth})
	}
	return nil
}

func (s *scope) flush(ctx context.Context) error {
	t, err := s.enter()
	if err != nil {
		return err
	}
	defer t.leave()
	if len(t.ahead) == 0 && !t.begun {
		return nil
	}
	t.align()
	return t.flush(ctx)
}
