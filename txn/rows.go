package txn

import (
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rows are a query's rows which, when they end, free what they hold: the transaction for
// the next statement, or the connection of an autocommit query.
type rows struct {
	pgx.Rows
	sql string
	// finish is called once, when the rows are closed, and may replace their error.
	finish func(error) error

	mu     sync.Mutex // against the end of a transaction whose function left a reader behind
	closed bool
	err    error
}

func (r *rows) describe() string { return queryName(r.sql) }
func (r *rows) discard()         { r.Close() }

func (r *rows) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close()
}

func (r *rows) close() {
	if r.closed {
		return
	}
	r.closed = true
	r.Rows.Close()
	r.err = r.finish(r.Rows.Err())
}

func (r *rows) Next() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.Rows.Next() {
		return true
	}
	r.close()
	return false
}

func (r *rows) Scan(dest ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.Rows.Scan(dest...)
	if err != nil { // pgx has closed the rows
		r.close()
	}
	return err
}

func (r *rows) Values() ([]any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	values, err := r.Rows.Values()
	if err != nil {
		r.close()
	}
	return values, err
}

func (r *rows) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.err
	}
	return r.Rows.Err()
}

// row is the first row of rows.
type row struct{ rows pgx.Rows }

func (r row) Scan(dest ...any) error {
	defer r.rows.Close()
	if err := r.rows.Err(); err != nil {
		return err
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNotFound
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// failedRows carry an error that came before any row.
func failedRows(err error) pgx.Rows {
	r, _ := pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
	return r
}

// batch are the results of a batch which, when closed, free what they hold.
type batch struct {
	answers answers
	queries []*pgx.QueuedQuery
	next    int    // the query whose answer comes next
	sql     string // of the first one
	finish  func(error) error

	mu     sync.Mutex
	closed bool
	err    error // the first of a query, or of a callback
}

func (b *batch) describe() string { return "batch of " + queryName(b.sql) }
func (b *batch) discard()         { b.mu.Lock(); defer b.mu.Unlock(); b.end() }

// errNoMoreResults is what pgx says, too.
var errNoMoreResults = errors.New("no more results in batch")

// advance says whether there is another answer.
func (b *batch) advance() error {
	if b.err != nil {
		return b.err
	}
	if b.closed || b.next >= len(b.queries) {
		return errNoMoreResults
	}
	b.next++
	return nil
}

func (b *batch) Exec() (tag pgconn.CommandTag, err error) {
	if err := b.advance(); err != nil {
		return tag, err
	}
	tag, err = b.answers.Exec()
	b.err = named(err)
	return tag, b.err
}

func (b *batch) Query() (pgx.Rows, error) {
	if err := b.advance(); err != nil {
		return failedRows(err), err
	}
	inner, err := b.answers.Query()
	if err != nil {
		b.err = named(err)
		return failedRows(b.err), b.err
	}
	return &rows{Rows: inner, sql: b.queries[b.next-1].SQL, finish: func(err error) error {
		if b.err == nil {
			b.err = named(err)
		}
		return b.err
	}}, nil
}

func (b *batch) QueryRow() pgx.Row {
	rows, _ := b.Query()
	return row{rows}
}

// Close reads what was not read, and calls the queries' functions for it.
func (b *batch) Close() error {
	for !b.closed && b.err == nil && b.next < len(b.queries) {
		if fn := b.queries[b.next].Fn; fn == nil {
			_, _ = b.Exec()
		} else if err := fn(b); err != nil && b.err == nil {
			b.err = err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
	return b.err
}

func (b *batch) end() {
	if b.closed {
		return
	}
	b.closed = true
	if err := b.finish(b.err); b.err == nil || err != nil {
		b.err = err
	}
}

// Tx is nil: a batch cannot begin a transaction here.
func (*batch) Tx() pgx.Tx { return nil }
