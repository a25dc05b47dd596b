package txn

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// traced tells the pool's tracer of each statement of a flush once: as a batch, if it wants
// batches, else one by one. pgx tells it of statements that go by themselves.
type traced struct {
	answers
	session  *session
	conn     *pgx.Conn
	ctx      context.Context // of the batch's trace
	requests []request
	next     int
	err      error // of the first statement that failed: those behind it were not executed
	ended    bool
}

// traces reports whether the tracer must be told of a flush by us. In the simple protocol
// pgx does it where the tracer wants batches.
func (s *session) traces() bool {
	return s.query != nil && (s.batch == nil || s.mode != pgx.QueryExecModeSimpleProtocol)
}

// startTrace is called before a flush. The contexts are the tracer's own.
func (s *session) startTrace(ctx context.Context, c *pgx.Conn, requests []request) (*traced, context.Context) {
	tr := &traced{session: s, conn: c, ctx: ctx, requests: requests}
	if s.batch != nil {
		b := &pgx.Batch{}
		for _, r := range requests {
			b.Queue(r.sql, r.args...)
		}
		tr.ctx = s.batch.TraceBatchStart(ctx, c, pgx.TraceBatchStartData{Batch: b})
		return tr, tr.ctx
	}
	for i := range requests {
		r := &requests[i]
		r.ctx = s.query.TraceQueryStart(ctx, c, pgx.TraceQueryStartData{SQL: r.sql, Args: r.args})
	}
	return tr, ctx
}

// answered tells of the next statement's end.
func (tr *traced) answered(tag pgconn.CommandTag, err error, since time.Time) {
	if tr.next >= len(tr.requests) {
		return
	}
	r := &tr.requests[tr.next]
	tr.next++
	if tr.err == nil {
		tr.err = err
	}
	if b := tr.session.batch; b != nil {
		b.TraceBatchQuery(tr.ctx, tr.conn, pgx.TraceBatchQueryData{
			SQL: r.sql, Args: r.args, CommandTag: tag, Err: err, ReadStartTime: since,
		})
		return
	}
	tr.session.query.TraceQueryEnd(r.ctx, tr.conn, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
}

// end tells of what was not executed, and of the batch's end.
func (tr *traced) end(err error) {
	if tr.ended {
		return
	}
	tr.ended = true
	if tr.err == nil {
		tr.err = err
	}
	for tr.session.batch == nil && tr.next < len(tr.requests) {
		tr.answered(pgconn.CommandTag{}, tr.err, time.Time{})
	}
	if b := tr.session.batch; b != nil {
		b.TraceBatchEnd(tr.ctx, tr.conn, pgx.TraceBatchEndData{Err: tr.err})
	}
}

func (tr *traced) Exec() (pgconn.CommandTag, error) {
	since := time.Now()
	tag, err := tr.answers.Exec()
	tr.answered(tag, err, since)
	return tag, err
}

func (tr *traced) Query() (pgx.Rows, error) {
	since := time.Now()
	inner, err := tr.answers.Query()
	if err != nil {
		tr.answered(pgconn.CommandTag{}, err, since)
		return inner, err
	}
	return &rows{Rows: inner, finish: func(err error) error {
		tr.answered(inner.CommandTag(), err, since)
		return err
	}}, nil
}

func (tr *traced) Close() error {
	err := tr.answers.Close()
	tr.end(err)
	return err
}
