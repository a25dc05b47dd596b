package txn

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Exec runs a statement without rows, as pgx's Exec.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return tx.scope().exec(ctx, sql, args...)
}

// Query runs a statement and returns its rows, as pgx's Query. Until they are closed or
// read to the end, the transaction takes no other statement (ErrRowsOpen).
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return tx.scope().query(ctx, sql, args...)
}

// QueryRow runs a statement of which one row is wanted. Its Scan returns ErrNotFound, which
// is pgx.ErrNoRows too, if there is none.
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := tx.scope().query(ctx, sql, args...)
	return row{rows}
}

// SendBatch sends the batch's statements in one round trip, as pgx's SendBatch. Until its
// results are closed, the transaction takes no other statement (ErrRowsOpen).
func (tx *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return tx.scope().sendBatch(ctx, b)
}

// CopyFrom copies rows into a table, as pgx's CopyFrom.
func (tx *Tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return tx.scope().copyFrom(ctx, table, columns, src)
}

// Query runs a statement and returns its rows, as pgx's Query. Until they are closed or
// read to the end, the transaction takes no other statement (ErrRowsOpen).
func (rx *ReadTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return rx.scope().query(ctx, sql, args...)
}

// QueryRow runs a query of which one row is wanted. Its Scan returns ErrNotFound, which is
// pgx.ErrNoRows too, if there is none.
func (rx *ReadTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := rx.scope().query(ctx, sql, args...)
	return row{rows}
}

// SendBatch sends the batch's queries in one round trip, as pgx's SendBatch. Until its
// results are closed, the transaction takes no other statement (ErrRowsOpen).
func (rx *ReadTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return rx.scope().sendBatch(ctx, b)
}

// send takes the transaction and makes it ready for the statement sql.
func (s *scope) send(ctx context.Context, sql string) (*transaction, error) {
	if err := refuseControl(sql); err != nil {
		return nil, err
	}
	t, err := s.enter()
	if err != nil {
		return nil, err
	}
	if err := t.ready(ctx); err != nil {
		t.leave()
		return nil, err
	}
	return t, nil
}

func refuseControl(sql string) error {
	if transactionControl(sql) {
		return fmt.Errorf("%w: %s", ErrManaged, queryName(sql))
	}
	return nil
}

func (s *scope) exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t, err := s.send(ctx, sql)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer t.leave()
	tag, err := t.conn.Conn().Exec(ctx, sql, args...)
	return tag, t.after(sql, err)
}

func (s *scope) query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t, err := s.send(ctx, sql)
	if err != nil {
		return failedRows(err), err
	}
	defer t.leave()
	inner, err := t.conn.Conn().Query(ctx, sql, args...)
	if err != nil {
		err = t.after(sql, err)
		return failedRows(err), err
	}
	r := &rows{Rows: inner, sql: sql}
	r.finish = func(err error) error { return t.finishResults(r, sql, err) }
	t.results = r
	return r, nil
}

func (s *scope) sendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	first := ""
	for i, q := range b.QueuedQueries {
		if i == 0 {
			first = q.SQL
		}
		if err := refuseControl(q.SQL); err != nil {
			return pgx.FailedBatchResults(&pgx.Batch{}, err)
		}
	}
	t, err := s.send(ctx, first)
	if err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err)
	}
	defer t.leave()
	br := &batch{BatchResults: t.conn.Conn().SendBatch(ctx, b), sql: first}
	br.finish = func(err error) error { return t.finishResults(br, first, err) }
	t.results = br
	return br
}

// finishResults is called by rows and batches at their end.
func (t *transaction) finishResults(r results, sql string, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.results == r {
		t.results = nil
	}
	if t.conn == nil { // read on after the transaction's end
		return ErrTxDone
	}
	return t.after(sql, err)
}

func (s *scope) copyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	t, err := s.send(ctx, "copy")
	if err != nil {
		return 0, err
	}
	defer t.leave()
	n, err := t.conn.Conn().CopyFrom(ctx, table, columns, src)
	return n, t.after("copy into "+table.Sanitize(), err)
}
