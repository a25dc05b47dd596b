package txn

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// cancelPatience is how long a cancelled statement may take to stop before its connection
// is given up after all, at most.
const cancelPatience = 3 * time.Second

// ConfigurePool makes the pool's connections survive a cancelled context: the running
// statement is cancelled on the server and its answer awaited, for three fifths of
// Config.ResolveTimeout and at most three seconds, instead of closing the connection at once.
// Open does this by itself. Not for pools behind a connection pooler, where a cancel request may
// reach somebody else's statement.
//
// It sets BuildContextWatcherHandler and wraps PrepareConn, which a later assignment would
// undo.
func ConfigurePool(cfg *pgxpool.Config) {
	cfg.ConnConfig.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		h := &canceller{conn: c}
		h.patience.Store(int64(cancelPatience))
		c.CustomData()[cancellerKey] = h
		return h
	}
	prepare := cfg.PrepareConn
	//lint:ignore SA1019 deprecated, but whoever still sets it must not lose it
	if old := cfg.BeforeAcquire; prepare == nil && old != nil {
		prepare = func(ctx context.Context, c *pgx.Conn) (bool, error) { return old(ctx, c), nil }
	}
	cfg.PrepareConn = func(ctx context.Context, c *pgx.Conn) (bool, error) {
		if !drain(ctx, c) {
			return false, nil
		}
		if prepare != nil {
			return prepare(ctx, c)
		}
		return true, nil
	}
}

const cancellerKey = "interlock.canceller"

// A canceller sends a cancel request when a statement's context is cancelled.
//
// pgx has one of its own. It may give up on a request that is on its way, which then hits
// the connection's next statement; this one waits for the request's end, which the server
// marks by closing the request's connection after the signal was sent. A request whose
// fate is unknown condemns the connection.
type canceller struct {
	conn      *pgconn.PgConn
	patience  atomic.Int64  // with a cancelled statement; none: it is left without a request
	stop      chan struct{} // closed when the statement ended
	finished  chan struct{} // closed when the request ended or was not needed
	sent      atomic.Bool   // a request was sent since the last drain
	condemned atomic.Bool   // a request's fate is unknown
}

func (h *canceller) HandleCancel(context.Context) {
	h.stop, h.finished = make(chan struct{}), make(chan struct{})
	patience := time.Duration(h.patience.Load())
	deadline := time.Now().Add(patience)
	// The read in progress ends by this deadline, whatever becomes of the request.
	_ = h.conn.Conn().SetDeadline(deadline)
	if patience == 0 {
		close(h.finished)
		return
	}
	go h.request(deadline)
}

func (h *canceller) request(deadline time.Time) {
	defer close(h.finished)
	select {
	case <-h.stop: // the statement had ended already
		return
	default:
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	h.sent.Store(true)
	if err := h.conn.CancelRequest(ctx); err != nil || ctx.Err() != nil {
		h.condemned.Store(true)
		_ = h.conn.Conn().SetDeadline(time.Now()) // nothing will stop the statement: leave it
	}
}

func (h *canceller) HandleUnwatchAfterCancel() {
	close(h.stop)
	<-h.finished
	_ = h.conn.Conn().SetDeadline(time.Time{})
}

// patience is how long a statement of a DB's may take to stop when its context was cancelled.
func (d *DB) patience() time.Duration { return min(cancelPatience, d.cfg.ResolveTimeout/5*3) }

// stopWithin sets how long a statement that is cancelled from now on may take to stop.
func (s *session) stopWithin(patience time.Duration) {
	if s.canceller != nil {
		s.canceller.patience.Store(int64(patience))
	}
}

// breakOff does to the statement under way what the end of its context would do, if it had one
// that ends. When the statement is over, brokenOff must follow.
func (s *session) breakOff(patience time.Duration) {
	if s.canceller == nil {
		_ = s.conn.Conn().SetDeadline(time.Now())
		return
	}
	s.stopWithin(patience)
	s.canceller.HandleCancel(context.Background())
}

func (s *session) brokenOff() {
	if s.canceller == nil {
		_ = s.conn.Conn().SetDeadline(time.Time{})
		return
	}
	s.canceller.HandleUnwatchAfterCancel()
}

// drain makes sure that no cancel request of an earlier statement hits the next one, and
// reports whether the connection may be used. A round trip after the request's end is
// enough: the server takes the signal before it reads on.
func drain(ctx context.Context, c *pgx.Conn) bool {
	h, ok := c.PgConn().CustomData()[cancellerKey].(*canceller)
	if !ok || !h.sent.Load() {
		return true
	}
	if h.condemned.Load() {
		return false
	}
	for range 2 { // the first may be what the late signal hits
		if err := c.Ping(ctx); err == nil {
			h.sent.Store(false)
			return true
		} else if SQLState(err) != stateQueryCanceled {
			return false
		}
	}
	return false
}
