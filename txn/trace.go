package txn

import (
	"context"
	"errors"
	"slices"
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
	turn     *turn // in the simple protocol
}

// traces reports whether the tracer must be told of a flush by us. In the simple protocol
// pgx does it where the tracer wants batches.
func (s *session) traces() bool {
	return s.query != nil && (s.batch == nil || s.mode != pgx.QueryExecModeSimpleProtocol)
}

// startTrace is called before a flush. The contexts are the tracer's own. The requests are
// copied, because rows may be closed when the next flush has taken their place.
func (s *session) startTrace(ctx context.Context, c *pgx.Conn, requests []request) (*traced, context.Context) {
	requests = slices.Clone(requests)
	tr := &traced{session: s, conn: c, ctx: ctx, requests: requests}
	if s.batch != nil {
		b := &pgx.Batch{}
		for i := range requests {
			sql, args := requests[i].asked()
			b.Queue(sql, args...)
		}
		tr.ctx = s.batch.TraceBatchStart(ctx, c, pgx.TraceBatchStartData{Batch: b})
		return tr, tr.ctx
	}
	for i := range requests {
		r := &requests[i]
		sql, args := r.asked()
		r.ctx = s.query.TraceQueryStart(ctx, c, pgx.TraceQueryStartData{SQL: sql, Args: args})
	}
	return tr, ctx
}

// traceUnsent tells of the one statement because of which a flush was not sent. The others
// may be sent yet.
func (s *session) traceUnsent(ctx context.Context, c *pgx.Conn, requests []request, err error) {
	u, ok := errors.AsType[*unsentError](err)
	if !ok || !s.traces() {
		return
	}
	tr, _ := s.startTrace(ctx, c, requests[u.index:u.index+1])
	tr.answered(tr.following(), pgconn.CommandTag{}, u.err, time.Now())
	tr.end(u.err)
}

// following is the statement whose answer is asked for next.
func (tr *traced) following() *request {
	if tr.next >= len(tr.requests) {
		return nil
	}
	tr.next++
	return &tr.requests[tr.next-1]
}

// answered tells of a statement's end, unless that was told.
func (tr *traced) answered(r *request, tag pgconn.CommandTag, err error, since time.Time) {
	if r == nil || r.told {
		return
	}
	r.told = true
	if tr.err == nil {
		tr.err = err
	}
	if b := tr.session.batch; b != nil {
		sql, args := r.asked()
		b.TraceBatchQuery(tr.ctx, tr.conn, pgx.TraceBatchQueryData{
			SQL: sql, Args: args, CommandTag: tag, Err: err, ReadStartTime: since,
		})
		return
	}
	tr.session.query.TraceQueryEnd(r.ctx, tr.conn, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
}

// end tells of what was not executed or not read, and of the batch's end.
func (tr *traced) end(err error) {
	if tr.ended {
		return
	}
	tr.ended = true
	if tr.err == nil {
		tr.err = err
	}
	if b := tr.session.batch; b != nil {
		b.TraceBatchEnd(tr.ctx, tr.conn, pgx.TraceBatchEndData{Err: tr.err})
		return
	}
	for i := range tr.requests {
		tr.answered(&tr.requests[i], pgconn.CommandTag{}, tr.err, time.Time{})
	}
}

func (tr *traced) Exec() (pgconn.CommandTag, error) {
	r, since := tr.following(), time.Now()
	tag, err := tr.answers.Exec()
	tr.answered(r, tag, err, since)
	return tag, err
}

func (tr *traced) Query() (pgx.Rows, error) {
	r, since := tr.following(), time.Now()
	if tr.turn != nil && r != nil {
		tr.turn.of = r.ctx
	}
	inner, err := tr.answers.Query()
	if err != nil {
		tr.answered(r, pgconn.CommandTag{}, err, since)
		return inner, err
	}
	return &rows{Rows: inner, finish: func(err error) error {
		if tr.turn != nil && r != nil {
			r.told, tr.turn.of = true, nil // pgx did
			if tr.err == nil {
				tr.err = err
			}
		}
		tr.answered(r, inner.CommandTag(), err, since)
		return err
	}}, nil
}

func (tr *traced) Close() error {
	err := tr.answers.Close()
	tr.end(err)
	return err
}

// A turn is the context of a flush in the simple protocol. There pgx tells a tracer without
// batches of the end of a statement's rows, though it was not told by pgx of their start, and
// gives it the flush's context: this one has the values of the statement whose turn it is.
type turn struct {
	context.Context
	of context.Context
}

func (c *turn) Value(key any) any {
	if c.of != nil {
		return c.of.Value(key)
	}
	return c.Context.Value(key)
}
