package txn

import (
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
	pgx.BatchResults
	sql    string // of its first statement
	finish func(error) error

	mu     sync.Mutex
	closed bool
	err    error
}

func (b *batch) describe() string { return "batch of " + queryName(b.sql) }
func (b *batch) discard()         { _ = b.Close() }

func (b *batch) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, named(err)
}

func (b *batch) QueryRow() pgx.Row {
	rows, _ := b.BatchResults.Query()
	return row{rows}
}

func (b *batch) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return b.err
	}
	b.closed = true
	b.err = b.finish(b.BatchResults.Close())
	return b.err
}

// Tx is nil: a batch cannot begin a transaction here.
func (*batch) Tx() pgx.Tx { return nil }
