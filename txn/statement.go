package txn

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Exec runs a statement without rows, as pgx's Exec. If its context ends meanwhile, the error
// is the context's as well as the server's.
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

// CopyFrom copies rows into a table, as pgx's CopyFrom, and returns how many. It cannot travel
// with other statements: what is held back, BEGIN included, costs a round trip before it.
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

// send takes the transaction for the statement sql.
func (s *scope) send(sql string) (*transaction, error) {
	if err := refuseControl(sql); err != nil {
		return nil, err
	}
	t, err := s.enter()
	if err == nil {
		t.align()
		t.noteSetting(sql)
	}
	return t, err
}

// noteSetting has the connection closed at the end if the statement sets something for the
// session: the next borrower must not inherit it.
func (t *transaction) noteSetting(sql string) {
	t.destroy = t.destroy || sessionSetting(sql)
}

func refuseControl(sql string) error {
	if transactionControl(sql) {
		return fmt.Errorf("%w: %s", ErrManaged, queryName(sql))
	}
	return nil
}

// one is a flush's single statement of the caller's, without an allocation.
func (t *transaction) one(r request) []request {
	t.single[0] = r
	return t.single[:]
}

// ready reports whether a statement can go by itself: the transaction has begun, and
// nothing is to travel with it.
func (t *transaction) ready(sql string) bool {
	return t.begun && len(t.ahead) == 0 && len(t.behind(sql)) == 0
}

func (s *scope) exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	t, err := s.send(sql)
	if err != nil {
		return tag, err
	}
	defer t.leave()
	since := t.now()
	defer func() { t.ran(s.label, sql, since, tag.RowsAffected(), err) }()
	single := alone(sql, args)
	if single {
		if err := t.flush(ctx); err != nil {
			return tag, err
		}
	}
	if single || t.ready(sql) {
		if single && len(args) == 0 {
			t.xid = "" // several statements may end one transaction and begin another
		}
		t.unasked(sql)
		t.used.RoundTrips++
		t.asking = ctx
		tag, err = t.session.exec(ctx, t.conn, sql, args, single)
		return tag, t.after(sql, err)
	}
	a, behind, err := t.depart(ctx, t.one(request{sql: sql, args: args, plain: len(args) == 0}))
	if err != nil {
		return tag, err
	}
	tag, err = a.Exec()
	return tag, t.landed(sql, a, behind, err)
}

func (s *scope) query(ctx context.Context, sql string, args ...any) (_ pgx.Rows, err error) {
	t, err := s.send(sql)
	if err != nil {
		return failedRows(err), err
	}
	defer t.leave()
	since := t.now()
	defer func() {
		if err != nil {
			t.ran(s.label, sql, since, 0, err)
		}
	}()
	single := alone(sql, args)
	if single {
		if err := t.flush(ctx); err != nil {
			return failedRows(err), err
		}
	}
	if single || t.ready(sql) {
		t.unasked(sql)
		t.used.RoundTrips++
		t.asking = ctx
		inner, err := t.session.queryRows(ctx, t.conn, sql, args, single)
		if err != nil {
			err = t.after(sql, err)
			return failedRows(err), err
		}
		r := loose(inner)
		r.flight, r.label, r.sql, r.since = t, s.label, sql, since
		t.results = r
		return r, nil
	}
	a, behind, err := t.depart(ctx, t.one(request{sql: sql, args: args}))
	if err != nil {
		return failedRows(err), err
	}
	inner, err := a.Query()
	if err != nil {
		err = t.landed(sql, a, nil, err)
		return failedRows(err), err
	}
	r := loose(inner)
	r.flight, r.label, r.sql, r.since, r.came, r.behind = t, s.label, sql, since, a, behind
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
	t, err := s.send(first)
	if err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err)
	}
	defer t.leave()
	for _, q := range b.QueuedQueries {
		t.noteSetting(q.SQL)
	}
	if b.Len() == 0 {
		return &batch{closed: true}
	}
	since := t.now()
	a, behind, err := t.departBatch(ctx, b)
	if err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err)
	}
	br := &batch{answers: a, queries: b.QueuedQueries, sql: first}
	br.finish = func(err error) error { return t.finishResults(br, s.label, first, since, 0, a, behind, err) }
	t.results = br
	return br
}

// departBatch sends a batch with what is held back, or, if one of its statements must be
// alone, as pgx does.
func (t *transaction) departBatch(ctx context.Context, b *pgx.Batch) (a answers, behind []step, err error) {
	if slices.ContainsFunc(b.QueuedQueries, func(q *pgx.QueuedQuery) bool { return alone(q.SQL, q.Arguments) }) {
		if err := t.flush(ctx); err != nil {
			return nil, nil, err
		}
		silent := &pgx.Batch{} // the functions are called by us
		for _, q := range b.QueuedQueries {
			silent.Queue(q.SQL, q.Arguments...)
		}
		t.used.RoundTrips++
		t.asking = ctx
		return t.conn.SendBatch(ctx, silent), nil, nil
	}
	own := make([]request, len(b.QueuedQueries))
	for i, q := range b.QueuedQueries {
		own[i] = request{sql: q.SQL, args: q.Arguments}
	}
	return t.depart(ctx, own)
}

// finishResults is called by rows and batches at their end; a and behind are what came
// with them in the same flush, if anything did.
func (t *transaction) finishResults(r results, label, sql string, since time.Time, rows int64, a answers, behind []step, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.results == r {
		t.results = nil
	}
	if t.conn == nil { // read on after the transaction's end
		return ErrTxDone
	}
	if a == nil {
		err = t.after(sql, err)
	} else {
		err = t.landed(sql, a, behind, err)
	}
	t.ran(label, sql, since, rows, err)
	return err
}

func (s *scope) copyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	t, err := s.send("copy")
	if err != nil {
		return 0, err
	}
	defer t.leave()
	if err := t.flush(ctx); err != nil {
		return 0, err
	}
	since := t.now()
	t.unasked("copy")
	t.used.RoundTrips++
	t.asking = ctx
	n, err := t.conn.CopyFrom(ctx, table, columns, src)
	what := "copy into " + table.Sanitize()
	err = t.after(what, err)
	t.ran(s.label, what, since, n, err)
	return n, err
}
