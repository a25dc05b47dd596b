package txn

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// An Observer is told what transactions do, while they do it. Observe is called in the
// goroutine that works on the transaction (WarnOpenLong: in one of its own), which waits for
// it, and from many goroutines at once: it must be quick, and must use neither the
// transaction nor its *DB. Without an observer nothing is measured and nothing allocated.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// An Event is what an Observer is told: a BeginEvent, QueuedEvent, StatementEvent,
// SavepointEvent, CommitEvent, RollbackEvent, RetryEvent, HookEvent, ResolutionEvent or WarningEvent. More
// types may come; ignore those that are not known.
type Event interface {
	// Transaction says which attempt at which transaction the event belongs to.
	Transaction() Info
}

// Info says which attempt at which transaction an event belongs to.
type Info struct {
	ID       uint64 // of the call that began it; the same for all its attempts, unique in the process
	Label    string // with those of joined functions where they did it
	Attempt  int    // from 1
	ReadOnly bool
	PID      uint32 // of the server's process; 0 before the transaction has begun
}

// Transaction returns the info.
func (i Info) Transaction() Info { return i }

// A BeginEvent tells that BEGIN was answered. That was with the first statement that needs
// an answer; a function that sends nothing has no event but its CommitEvent or RollbackEvent,
// and QueuedEvents of what it queued in vain.
type BeginEvent struct {
	Info
	Isolation Isolation
	Wait      time.Duration // for a connection
}

// A QueuedEvent tells that a statement of the caller's waits for a flush, in the goroutine
// that queued it. Those of a transaction are executed in the order in which they were queued;
// each then has its StatementEvent. One that never is executed has none.
type QueuedEvent struct {
	Info
	Query string // as in StatementEvent
	Depth int    // likewise
}

// A StatementEvent tells of a statement of the caller's.
type StatementEvent struct {
	Info
	Query    string        // its name or beginning, of a batch its first statement's; arguments never appear
	Queued   bool          // it waited for the flush of another, or of COMMIT
	Depth    int           // of the savepoint that it was given in, 0 outside of savepoints
	Duration time.Duration // until the last row was read; of a queued one: of its flush
	Rows     int64         // changed or returned; of a batch 0
	Err      error
}

// A SavepointEvent tells that a savepoint was left.
type SavepointEvent struct {
	Info
	Depth int   // 1 for an outermost one
	Err   error // why it was undone; nil if it was released
}

// A CommitEvent tells that the call's transaction is committed, or had nothing to commit.
type CommitEvent struct {
	Info
	Usage
	Commit time.Duration // from sending COMMIT to its answer
}

// A RollbackEvent tells that an attempt was not committed. It comes when it is known whether
// another one follows: after AfterRollback's functions and the pause. Each call that began a
// transaction ends with a CommitEvent or a RollbackEvent without Retry, also one whose function
// panicked.
type RollbackEvent struct {
	Info
	Usage
	Err     error // as the call returns it, after several attempts in a *RetriesExhaustedError
	Retry   bool  // another attempt follows
	Unknown bool  // Err is a *CommitUnknownError: it may be committed
}

// Usage is what an attempt used.
type Usage struct {
	Duration   time.Duration // from the function's start
	Statements int           // of the caller's
	RoundTrips int           // flushes sent by the transaction, not counting preparation
	Savepoints int
}

// A RetryEvent tells that another attempt follows.
type RetryEvent struct {
	Info                // of the attempt that failed
	Err   error         // why it did
	Delay time.Duration // the pause between the two
}

// A HookEvent tells of a function registered with AfterCommit.
type HookEvent struct {
	Info
	Duration time.Duration
	Err      error // *HookError wraps it
}

// A ResolutionEvent tells what was found out about a COMMIT whose answer was lost.
type ResolutionEvent struct {
	Info
	XID       string
	Committed bool
	Unknown   bool // nothing could be found out, Err says why
	Duration  time.Duration
	Err       error // how the answer was lost; with Unknown, why nothing was found out
}

// A WarningEvent tells of something that works and should not go on so.
type WarningEvent struct {
	Info
	Warning Warning
}

// A Warning is a reason for a WarningEvent.
type Warning string

const (
	// WarnSavepoints: more than 64 savepoints in one transaction, not counting those undone. If
	// they were written in, the server keeps the rest where all sessions have to look, and
	// becomes slower for everybody.
	WarnSavepoints Warning = "more than 64 savepoints in one transaction"
	// WarnOpenLong: the transaction is open for longer than Config.WarnAfter. It still is.
	WarnOpenLong Warning = "open for longer than Config.WarnAfter"
)

// maxSavepoints is how many subtransactions a session of the server remembers by itself
// (PGPROC_MAX_CACHED_SUBXIDS).
const maxSavepoints = 64

var transactionIDs atomic.Uint64

// observed reports whether anybody is told.
func (t *transaction) observed() bool { return len(t.db.cfg.Observers) > 0 }

// tell tells the observers. Ask observed first, so that the event is not made for nobody.
func (t *transaction) tell(e Event) {
	for _, o := range t.db.cfg.Observers {
		o.Observe(t.ctx, e)
	}
}

func (t *transaction) info(label string) Info {
	i := Info{ID: t.id, Label: label, Attempt: t.attempt, ReadOnly: t.readOnly}
	if t.begun && t.conn != nil {
		t.pid.Store(t.conn.PgConn().PID())
	}
	i.PID = t.pid.Load()
	return i
}

func (t *transaction) usage() Usage {
	u := t.used
	if t.observed() {
		u.Duration = time.Since(t.start)
	}
	return u
}

// watch starts the clock, and the timer that warns.
func (t *transaction) watch() {
	if !t.observed() {
		return
	}
	t.start = time.Now()
	if t.db.cfg.WarnAfter > 0 {
		info := Info{ID: t.id, Label: t.opts.Label, Attempt: t.attempt, ReadOnly: t.readOnly}
		t.warning = time.AfterFunc(t.db.cfg.WarnAfter, func() {
			info.PID = t.pid.Load()
			t.tell(WarningEvent{info, WarnOpenLong})
		})
	}
}

func (t *transaction) tellCommitted() {
	if t.observed() {
		e := CommitEvent{Info: t.info(t.opts.Label), Usage: t.usage()}
		if !t.commitAt.IsZero() {
			e.Commit = time.Since(t.commitAt)
		}
		t.tell(e)
	}
}

func (t *transaction) tellRolledBack(err error, used Usage, retry bool, delay time.Duration) {
	if !t.observed() {
		return
	}
	info := t.info(t.opts.Label)
	t.tell(RollbackEvent{Info: info, Usage: used, Err: err, Retry: retry, Unknown: unknown(err)})
	if retry {
		t.tell(RetryEvent{Info: info, Err: err, Delay: delay})
	}
}

// ran counts a statement of the caller's that has ended, and tells of it.
func (t *transaction) ran(label, sql string, since time.Time, rows int64, err error) {
	t.used.Statements++
	if t.observed() {
		t.tell(StatementEvent{t.info(label), queryName(sql), false, len(t.inner), time.Since(since), rows, err})
	}
}

// ranQueued is ran for a queued statement.
func (t *transaction) ranQueued(s *step, err error) {
	t.used.Statements++
	if t.observed() {
		t.tell(StatementEvent{t.info(s.label), queryName(s.sql), true, s.depth, time.Since(t.flown), s.answer.rows, err})
	}
}

// now is the time, if anybody wants to know it.
func (t *transaction) now() time.Time {
	if !t.observed() {
		return time.Time{}
	}
	return time.Now()
}

// NewSlogObserver returns an observer that writes one record for each call that began a
// transaction, when that has ended, and one for each warning. The level is Debug for a
// committed transaction, Info for one that its function rolled back, Warn for one that the
// server or the network failed, Error if the outcome stayed unknown. The message is
// "transaction"; the keys are
//
//	label      as in Options
//	outcome    committed, rolled back, or unknown
//	attempts   how often the function was run
//	duration   of the last attempt
//	statements, round_trips, savepoints   of the last attempt
//	pid        of the server's process, if the transaction began
//	sqlstate   of the error, if the server sent one
//	error      its text
//	warning    in a warning's record, instead of outcome
//
// Statements, arguments and row values do not appear, unless in the error's text.
func NewSlogObserver(logger *slog.Logger) Observer { return slogObserver{logger} }

type slogObserver struct{ logger *slog.Logger }

func (o slogObserver) Observe(ctx context.Context, e Event) {
	switch e := e.(type) {
	case CommitEvent:
		o.write(ctx, slog.LevelDebug, e.Info, e.Usage, "committed", nil)
	case RollbackEvent:
		switch {
		case e.Retry:
		case e.Unknown:
			o.write(ctx, slog.LevelError, e.Info, e.Usage, "unknown", e.Err)
		case SQLState(e.Err) != "" || IsRetryable(e.Err):
			o.write(ctx, slog.LevelWarn, e.Info, e.Usage, "rolled back", e.Err)
		default:
			o.write(ctx, slog.LevelInfo, e.Info, e.Usage, "rolled back", e.Err)
		}
	case WarningEvent:
		attrs := append(subjectAttrs(e.Info), slog.String("warning", string(e.Warning)))
		o.logger.LogAttrs(ctx, slog.LevelWarn, "transaction", attrs...)
	}
}

func subjectAttrs(i Info) []slog.Attr {
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("label", i.Label), slog.Int("attempts", i.Attempt))
	if i.PID != 0 {
		attrs = append(attrs, slog.Uint64("pid", uint64(i.PID)))
	}
	return attrs
}

func (o slogObserver) write(ctx context.Context, level slog.Level, i Info, u Usage, outcome string, err error) {
	if !o.logger.Enabled(ctx, level) {
		return
	}
	attrs := append(subjectAttrs(i), slog.String("outcome", outcome), slog.Duration("duration", u.Duration),
		slog.Int("statements", u.Statements), slog.Int("round_trips", u.RoundTrips), slog.Int("savepoints", u.Savepoints))
	if state := SQLState(err); state != "" {
		attrs = append(attrs, slog.String("sqlstate", state))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	o.logger.LogAttrs(ctx, level, "transaction", attrs...)
}
