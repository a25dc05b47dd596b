package txn

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// A Tx is a function's handle on a read-write transaction. It serves as sqlc's DBTX. It
// has neither Commit nor Rollback: the function's result decides. A handle belongs to one
// goroutine and to the function that received it; other uses are refused with ErrTxDone,
// ErrSuspended, ErrConcurrentUse and ErrRowsOpen, and never reach the server.
type Tx struct{ s *scope }

// A ReadTx is a function's handle on a transaction that it only reads in. It has no Exec;
// on a transaction of its own the server refuses writes too, in any text. Its other rules
// are those of Tx.
type ReadTx struct{ s *scope }

// A Transactor runs functions in read-write transactions: a *DB begins one, a *Tx joins its
// own. A function that asks for a Transactor can be called alone and inside another. The
// interface cannot be implemented outside this package.
type Transactor interface {
	ReadTransactor
	runTx(context.Context, Options, func(context.Context, *scope) error) error
}

// A ReadTransactor runs functions in transactions that they only read in: a *DB begins one,
// a *SharedSnapshot one that sees its state of the database, a *Tx and a *ReadTx join their
// own. It cannot be implemented outside this package.
type ReadTransactor interface {
	runReadTx(context.Context, Options, func(context.Context, *scope) error) error
}

// Reads are the handles that a query can be sent on: *Tx and *ReadTx. It cannot be
// implemented outside this package.
type Reads interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	scope() *scope
}

var (
	_ Transactor     = (*DB)(nil)
	_ Transactor     = (*Tx)(nil)
	_ ReadTransactor = (*ReadTx)(nil)
	_ Reads          = (*Tx)(nil)
	_ Reads          = (*ReadTx)(nil)
)

// WithTx runs fn in a read-write transaction.
//
// On a *DB, WithTx begins the transaction with fn's first statement, and ends it: nil means
// that it was committed. After any other result it was not, except for *CommitUnknownError,
// which says that nobody knows, and *HookError, which says that it was. If fn returns an error, WithTx rolls back and returns that
// error as it is (for one exception see HookError); a panic or runtime.Goexit rolls back and
// goes on. An attempt that failed in a way that another may not (see IsRetryable and Options)
// is repeated: fn may run more than once, so it must not keep anything of an earlier run; use
// WithTxValue for results.
//
// On a *Tx, WithTx runs fn in that transaction, once. If fn fails, the whole transaction
// can only be rolled back, even if the outer function ignores the error; for a part that
// may fail alone, use Savepoint.
//
// The context that fn receives belongs to the transaction: under it the same *DB is refused
// with ErrNestedDB.
func WithTx(ctx context.Context, t Transactor, opts Options, fn func(context.Context, *Tx) error) error {
	if fn == nil {
		return errNoFunction
	}
	if t == nil {
		return ErrTxDone
	}
	return t.runTx(ctx, opts, func(ctx context.Context, s *scope) error { return fn(ctx, s.handle()) })
}

// WithTxValue is WithTx for a function with a result: the one of the run that was
// committed. After an error the result is T's zero value, except beside a *HookError.
func WithTxValue[T any](ctx context.Context, t Transactor, opts Options, fn func(context.Context, *Tx) (T, error)) (T, error) {
	if fn == nil {
		return *new(T), errNoFunction
	}
	var v T
	err := WithTx(ctx, t, opts, func(ctx context.Context, tx *Tx) (err error) {
		v, err = fn(ctx, tx)
		return err
	})
	if _, committed := err.(*HookError); err != nil && !committed {
		return *new(T), err
	}
	return v, err
}

// WithReadTx runs fn in a read-only transaction, as WithTx does in a read-write one.
//
// On a *Tx or *ReadTx it joins. An error of a joined read does not doom the transaction,
// unless it was the server's: "find, else create" works.
func WithReadTx(ctx context.Context, t ReadTransactor, opts Options, fn func(context.Context, *ReadTx) error) error {
	if fn == nil {
		return errNoFunction
	}
	if t == nil {
		return ErrTxDone
	}
	return t.runReadTx(ctx, opts, func(ctx context.Context, s *scope) error { return fn(ctx, &ReadTx{s}) })
}

// WithReadTxValue is WithReadTx for a function with a result.
func WithReadTxValue[T any](ctx context.Context, t ReadTransactor, opts Options, fn func(context.Context, *ReadTx) (T, error)) (T, error) {
	if fn == nil {
		return *new(T), errNoFunction
	}
	var v T
	err := WithReadTx(ctx, t, opts, func(ctx context.Context, rx *ReadTx) (err error) {
		v, err = fn(ctx, rx)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return v, nil
}

var errNoFunction = errors.New("txn: no function was given")

func (d *DB) runTx(ctx context.Context, opts Options, fn func(context.Context, *scope) error) error {
	return d.begin(ctx, opts, false, nil, fn)
}

func (d *DB) runReadTx(ctx context.Context, opts Options, fn func(context.Context, *scope) error) error {
	return d.begin(ctx, opts, true, nil, fn)
}

func (tx *Tx) runTx(ctx context.Context, opts Options, fn func(context.Context, *scope) error) error {
	return tx.scope().join(ctx, opts, false, fn)
}

func (tx *Tx) runReadTx(ctx context.Context, opts Options, fn func(context.Context, *scope) error) error {
	return tx.scope().join(ctx, opts, true, fn)
}

func (rx *ReadTx) runReadTx(ctx context.Context, opts Options, fn func(context.Context, *scope) error) error {
	return rx.scope().join(ctx, opts, true, fn)
}

// scope is nil for nil and zero handles; its methods answer ErrTxDone then.
func (tx *Tx) scope() *scope {
	if tx == nil {
		return nil
	}
	return tx.s
}

func (rx *ReadTx) scope() *scope {
	if rx == nil {
		return nil
	}
	return rx.s
}

// Label returns the label of the function's transaction, with those of the functions around
// it: "outer/inner".
func (tx *Tx) Label() string { return tx.scope().name() }

// Label returns the label of the function's transaction, with those of the functions around
// it: "outer/inner".
func (rx *ReadTx) Label() string { return rx.scope().name() }

// Attempt returns which run of the outermost function this is, from 1.
func (tx *Tx) Attempt() int { return tx.scope().attempt() }

// Attempt returns which run of the outermost function this is, from 1.
func (rx *ReadTx) Attempt() int { return rx.scope().attempt() }

func (s *scope) name() string {
	if s == nil {
		return ""
	}
	return s.label
}

func (s *scope) attempt() int {
	if s == nil {
		return 0
	}
	return s.t.attempt
}
