package txn

import (
	"context"
	"fmt"
)

// A SharedSnapshot is one state of the database that several read-only transactions look at,
// each on a connection of its own, also at the same time: the parts of a report, for instance,
// that must agree with each other. WithReadTx on it begins such a transaction; its statements
// see what was committed when the snapshot was taken, and nothing that was since.
//
// It is safe for concurrent use, and good until the function that received it returns: ErrTxDone
// after that. Transactions that have begun by then go on with what they see.
type SharedSnapshot struct {
	d     *DB
	id    string
	s     *scope // of the transaction that holds the snapshot
	level Isolation
}

var _ ReadTransactor = (*SharedSnapshot)(nil)

// WithSharedSnapshot takes a snapshot and runs fn with it.
//
// A transaction of its own holds the snapshot while fn runs: it needs two round trips, and a
// connection beside those that read at the same time. The pool must have more of them than calls
// that run at once; otherwise all may hold a snapshot, and none read (ErrAcquireTimeout). To begin
// with the snapshot costs a transaction nothing. Options are those of this transaction, and a failure that another attempt may not meet
// repeats fn as a whole, as WithReadTx does. Those that read have Options of their own, and
// repeat what failed in themselves with the same snapshot.
//
// Isolation is RepeatableRead, or Serializable with Deferrable or without, for all of them; a
// weaker level takes a snapshot for each statement, so that there is nothing to share, and is an
// *OptionsError. The snapshot is what keeps the server from removing old rows: it should not be
// held for hours. If the connection that holds it is lost, or ended by
// idle_in_transaction_session_timeout, transactions that would begin with it fail.
func WithSharedSnapshot(ctx context.Context, d *DB, opts Options, fn func(context.Context, *SharedSnapshot) error) error {
	if fn == nil {
		return errNoFunction
	}
	switch {
	case opts.Isolation == IsolationUnspecified:
		opts.Isolation = RepeatableRead
	case opts.Isolation.strength() < RepeatableRead:
		return &OptionsError{"Isolation", opts.Isolation.String() + " has no snapshot to share; use RepeatableRead, or leave it zero"}
	}
	return d.runReadTx(ctx, opts, func(ctx context.Context, s *scope) error {
		rows, err := s.query(ctx, "select pg_export_snapshot()")
		if err != nil {
			return err
		}
		shared := &SharedSnapshot{d: d, s: s, level: opts.Isolation}
		if err := (row{rows}).Scan(&shared.id); err != nil {
			return err
		}
		if opts.Deferrable {
			// It is known to be safe, which is all that there is to Serializable for a reader.
			shared.level = RepeatableRead
		}
		return fn(ctx, shared)
	})
}

// WithSharedSnapshotValue is WithSharedSnapshot for a function with a result.
func WithSharedSnapshotValue[T any](ctx context.Context, d *DB, opts Options, fn func(context.Context, *SharedSnapshot) (T, error)) (T, error) {
	if fn == nil {
		return *new(T), errNoFunction
	}
	var v T
	err := WithSharedSnapshot(ctx, d, opts, func(ctx context.Context, s *SharedSnapshot) (err error) {
		v, err = fn(ctx, s)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return v, nil
}

func (s *SharedSnapshot) runReadTx(ctx context.Context, opts Options, fn func(context.Context, *scope) error) error {
	if s == nil || s.s == nil || s.s.ended.Load() || !s.s.t.open.Load() {
		return ErrTxDone
	}
	held := Options{Isolation: s.level}
	if err := held.conflict(Options{Isolation: opts.Isolation, Deferrable: opts.Deferrable, Locks: opts.Locks}); err != nil {
		return err
	}
	opts.Isolation = s.level
	return s.d.begin(ctx, opts, true, s, fn)
}

// text is the statement that makes a transaction begin with the snapshot. It comes before any
// other that could take one.
func (s *SharedSnapshot) text() string { return "set transaction snapshot " + literal(s.id) }

// gone says why a transaction could not begin with a snapshot.
func gone(err error) error {
	return fmt.Errorf("txn: the shared snapshot is gone, because the transaction that held it has ended: %w", err)
}
