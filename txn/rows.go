package txn

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows are a query's rows which, when they end, free what they hold: the transaction for
// the next statement, or the connection of an autocommit query.
type rows struct {
	pgx.Rows
	conn *pgx.Conn // where pgx's rows do not know it
	sql  string

	reader *pgconn.ResultReader // of a pipeline's answer: it knows an error that a Scan's has hidden

	// What is called once, when the rows are closed, and may replace their error.
	finish func(error) error
	flight *transaction // instead of it: the transaction whose query it was
	label  string
	since  time.Time
	behind []step
	came   answers // with which the rows came, if others came too

	mu     sync.Mutex // against the end of a transaction whose function left a reader behind
	any    bool       // a row was read
	closed bool
	err    error
	fields []pgconn.FieldDescription // if there was no row
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
	if !r.any {
		r.fields = slices.Clone(r.Rows.FieldDescriptions())
	}
	r.closed = true
	r.Rows.Close()
	r.err = r.Rows.Err()
	if r.err != nil && r.reader != nil && SQLState(r.err) == "" {
		// Behind a row that could not be scanned, the statement may have failed in the server:
		// that concerns the transaction, and must not be taken for another statement's failure.
		if _, err := r.reader.Close(); err != nil {
			r.err = err
		}
	}
	switch t := r.flight; {
	case t != nil:
		r.err = t.finishResults(r, r.label, r.sql, r.since, r.Rows.CommandTag().RowsAffected(), r.came, r.behind, r.err)
	case r.finish != nil:
		r.err = r.finish(r.err)
	}
}

// loose returns rows that nobody waits for yet.
func loose(inner pgx.Rows) *rows {
	if r, ok := inner.(*rows); ok && r.finish == nil && r.flight == nil {
		return r
	}
	return &rows{Rows: inner}
}

func (r *rows) Conn() *pgx.Conn {
	if r.conn != nil {
		return r.conn
	}
	return r.Rows.Conn()
}

func (r *rows) Next() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.Rows.Next() {
		r.any = true
		return true
	}
	r.close()
	return false
}

// FieldDescriptions are those of the columns until the rows are closed, and also afterwards
// if there was no row.
func (r *rows) FieldDescriptions() []pgconn.FieldDescription {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.fields
	}
	return r.Rows.FieldDescriptions()
}

// errRowsClosed: what pgx reads the row from is that of another query by now.
var errRowsClosed = errors.New("txn: the rows are closed")

func (r *rows) Scan(dest ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errRowsClosed
	}
	err := r.Rows.Scan(dest...)
	if err != nil { // pgx has closed the rows
		r.close()
	}
	return err
}

func (r *rows) Values() ([]any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errRowsClosed
	}
	values, err := r.Rows.Values()
	if err != nil {
		r.close()
	}
	return values, err
}

func (r *rows) RawValues() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	return r.Rows.RawValues()
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
	for _, d := range dest {
		if _, ok := d.(*pgtype.DriverBytes); ok {
			return errDriverBytes
		}
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

// errDriverBytes: the memory is the connection's again when Scan returns. pgx refuses it too.
var errDriverBytes = errors.New("txn: cannot scan into *pgtype.DriverBytes from QueryRow")

// failedRows carry an error that came before any row.
func failedRows(err error) pgx.Rows {
	r, _ := pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
	return &rows{Rows: r, closed: true, err: err}
}

// batch are the results of a batch which, when closed, free what they hold.
type batch struct {
	answers answers
	queries []*pgx.QueuedQuery
	next    int    // the query whose answer comes next
	rows    *rows  // of the query before it
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

// advance says whether there is another answer. mu is held.
func (b *batch) advance() error {
	b.closeRows()
	if b.err != nil {
		return b.err
	}
	if b.closed || b.next >= len(b.queries) {
		return errNoMoreResults
	}
	b.next++
	return nil
}

// closeRows closes the rows of a query before the answer comes that takes their place.
func (b *batch) closeRows() {
	if b.rows == nil {
		return
	}
	b.rows.Close()
	if b.err == nil {
		b.err = b.rows.Err()
	}
	b.rows = nil
}

func (b *batch) Exec() (tag pgconn.CommandTag, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.advance(); err != nil {
		return tag, err
	}
	tag, err = b.answers.Exec()
	b.err = named(err)
	return tag, b.err
}

func (b *batch) Query() (pgx.Rows, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.advance(); err != nil {
		return failedRows(err), err
	}
	inner, err := b.answers.Query()
	if err != nil {
		b.err = named(err)
		return failedRows(b.err), b.err
	}
	b.rows = loose(inner)
	b.rows.sql, b.rows.finish = b.queries[b.next-1].SQL, named
	return b.rows, nil
}

func (b *batch) QueryRow() pgx.Row {
	rows, _ := b.Query()
	return row{rows}
}

// Close reads what was not read, and calls the queries' functions for it.
func (b *batch) Close() error {
	for b.callNext() {
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
	return b.err
}

// callNext calls the next query's function, and reports whether to go on.
func (b *batch) callNext() bool {
	b.mu.Lock()
	b.closeRows()
	if b.closed || b.err != nil || b.next >= len(b.queries) {
		b.mu.Unlock()
		return false
	}
	fn := b.queries[b.next].Fn
	b.mu.Unlock()
	if fn == nil {
		fn = func(r pgx.BatchResults) error { _, err := r.Exec(); return err }
	}
	err := fn(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return b.err == nil
}

// end reads to the end what is left, since other answers follow, and statements that nobody
// reads can fail too. mu is held.
func (b *batch) end() {
	if b.closed {
		return
	}
	b.closed = true
	b.closeRows()
	failure := b.err
	for SQLState(failure) == "" && b.next < len(b.queries) {
		b.next++
		if _, err := b.answers.Exec(); err != nil {
			failure = err
			break
		}
	}
	failure = b.finish(failure)
	if b.err == nil || SQLState(b.err) != "" {
		b.err = failure
	}
}

// Tx is nil: a batch cannot begin a transaction here.
func (*batch) Tx() pgx.Tx { return nil }
