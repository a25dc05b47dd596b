package txn

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Querier sends single statements; *Tx is one, and so is what sqlc's New takes.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// QueueValue is Queue for a statement with an answer of any type, such as a query: queries of
// different types travel in one round trip. The statement is the one that fn sends, and the
// answer what fn makes of the rows.
//
// fn is called twice: now, with a Querier that only notes the statement and answers with an
// error, and once more when the answer is there. It must send one and the same statement
// both times, return the error it gets, and have no other effects. Contexts given to the
// Querier do not matter.
//
// An error that is not the server's, such as ErrNotFound or one of Scan, is the Pending's
// alone: the flush and the transaction go on. So is a panic in the second call, which may
// come when COMMIT has been executed.
func QueueValue[T any](r Reads, fn func(Querier) (T, error)) *Pending[T] {
	p := &Pending[T]{}
	var noted recorder
	_, err := fn(&noted)
	p.answer.sql = noted.sql
	p.answer.decoder = decoderFunc(func(a answers) (err error) {
		q := &reader{answers: a}
		p.value, err = readBy(fn, q)
		p.answer.rows = q.close()
		if failed := q.failed(); failed != nil {
			return failed // whatever fn made of it
		}
		return err
	})
	var s *scope
	if r != nil {
		s = r.scope()
	}
	if noted.calls != 1 {
		s.refuse(&p.answer, errNotOneStatement)
	} else if !errors.Is(err, errNoted) {
		s.refuse(&p.answer, errSwallowed)
	} else {
		s.queue(noted.sql, noted.args, &p.answer)
	}
	return p
}

// readBy calls fn for the answer. A panic must not keep the other answers, that to COMMIT among
// them, from being read.
func readBy[T any](fn func(Querier) (T, error), q Querier) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	return fn(q)
}

type decoderFunc func(answers) error

func (f decoderFunc) decode(a answers) error { return f(a) }

var (
	errNoted           = errors.New("txn: the statement was queued, its answer is not there yet")
	errNotOneStatement = errors.New("txn: the function given to QueueValue did not send one statement")
	errSwallowed       = errors.New("txn: the function given to QueueValue does not return the error it got")
)

// refuse dooms the transaction for a statement that could not even be queued.
func (s *scope) refuse(w *answer, err error) {
	w.err = &QueuedError{Query: queryName(w.sql), Err: err}
	if s != nil {
		s.t.misused.CompareAndSwap(nil, &QueuedError{Query: queryName(w.sql), Err: err})
	}
}

// A recorder notes a statement instead of sending it.
type recorder struct {
	sql   string
	args  []any
	calls int
}

func (n *recorder) note(sql string, args []any) {
	n.sql, n.args = sql, args
	n.calls++
}

func (n *recorder) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	n.note(sql, args)
	return pgconn.CommandTag{}, errNoted
}

func (n *recorder) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	n.note(sql, args)
	return failedRows(errNoted), errNoted
}

func (n *recorder) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	n.note(sql, args)
	return row{failedRows(errNoted)}
}

// A reader answers with what came for the statement.
type reader struct {
	answers answers
	tag     pgconn.CommandTag
	rows    pgx.Rows
	err     error
}

func (q *reader) Exec(context.Context, string, ...any) (tag pgconn.CommandTag, err error) {
	q.tag, q.err = q.answers.Exec()
	return q.tag, named(q.err)
}

func (q *reader) Query(context.Context, string, ...any) (pgx.Rows, error) {
	inner, err := q.answers.Query()
	if err != nil {
		q.err = err
		err = named(err)
		return failedRows(err), err
	}
	q.rows = inner
	return inner, nil
}

func (q *reader) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := q.Query(ctx, sql, args...)
	return row{rows}
}

// failed is the server's error, if it sent one.
func (q *reader) failed() error {
	if q.err != nil || q.rows == nil {
		return q.err
	}
	if err := q.rows.Err(); SQLState(err) != "" {
		return err
	}
	return nil
}

// close reads what the function left, and returns how many rows there were or were changed.
func (q *reader) close() int64 {
	if q.rows != nil {
		q.rows.Close()
		q.tag = q.rows.CommandTag()
	}
	return q.tag.RowsAffected()
}
