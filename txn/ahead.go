package txn

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/interlock-go/interlock/txn/internal/sqltext"
)

// A step is a statement that waits for the next flush: one of our own, or a queued one of
// the caller's.
type step struct {
	kind   stepKind
	sql    string
	args   []any
	label  string  // of a queued statement's function
	depth  int     // of the savepoint that it was queued in
	answer *answer // of a queued statement
}

type stepKind uint8

const (
	stepControl   stepKind = iota // its answer says nothing
	stepBegin                     // its answer says that the transaction has begun
	stepLock                      // of a lock that the session holds, not the transaction
	stepSnapshot                  // begins with a shared snapshot
	stepSavepoint                 // opens a savepoint: not sent if nothing follows it
	stepXactLock                  // takes a lock for the transaction
	stepQueued                    // of the caller's
	stepToken                     // claims the idempotency key
	stepXID                       // asks for the transaction's id
)

func (s *step) request() request {
	return request{sql: s.sql, args: s.args, ours: s.kind != stepQueued}
}

// hold keeps a statement of our own until something is flushed.
func (t *transaction) hold(kind stepKind, sql string) {
	t.ahead = append(t.ahead, step{kind: kind, sql: sql})
}

// align holds back what brings the server's limits to those wanted now.
func (t *transaction) align() {
	want := t.want.under(t.ceiling)
	if t.have == want {
		return
	}
	for _, sql := range want.change(t.have) {
		t.hold(stepControl, sql)
	}
	t.have = want
}

// queued reports whether a caller's statement is among the steps.
func queued(steps []step) bool {
	for i := range steps {
		if steps[i].kind == stepQueued {
			return true
		}
	}
	return false
}

// idle reports whether nothing among the steps has an effect past a savepoint that encloses
// them.
func idle(steps []step) bool {
	return !slices.ContainsFunc(steps, func(s step) bool { return s.kind == stepQueued || s.kind == stepXactLock })
}

// lastSQL is the caller's statement that a question may follow; "" if there is none.
func lastSQL(own []request, ahead []step) string {
	if len(own) > 0 {
		return own[0].sql
	}
	for i := len(ahead) - 1; i >= 0; i-- {
		if ahead[i].kind == stepQueued {
			return ahead[i].sql
		}
	}
	return ""
}

// depart sends in one flush what is held back, then the caller's own statements, if any,
// and what is to follow them. It returns the answers from the caller's on; what was held
// back has succeeded then. After a failure nothing is left open; what was held back still is
// if none of it was sent and the transaction can go on.
func (t *transaction) depart(ctx context.Context, own []request) (a answers, behind []step, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	t.asking = ctx
	for resent := false; ; resent = true {
		err = t.board(ctx, resent)
		if err != nil {
			t.doomed(err)
			t.giveUp()
			return nil, nil, err
		}
		last := lastSQL(own, t.ahead)
		if last != "" {
			t.unasked(last)
			behind = t.behind(last)
		}
		a, err = t.fly(ctx, len(t.ahead), own, behind)
		if err == nil {
			return a, behind, nil
		}
		if resent || !t.stale(ctx) {
			t.giveUp()
			return nil, nil, err
		}
		// The connection had died in the pool, as all do when a server restarts. No answer was
		// read and nothing can have been committed: another one is as good.
		t.exchange()
	}
}

// stale reports whether the connection broke at the transaction's first flush: it may have
// been broken before.
func (t *transaction) stale(ctx context.Context) bool {
	return !t.begun && t.pooled != nil && t.conn.IsClosed() && ctx.Err() == nil
}

func (t *transaction) exchange() {
	t.pooled.Release()
	t.pooled, t.conn, t.session = nil, nil, nil
	t.doom, t.cause, t.lost, t.sent = nil, nil, false, false
}

// board takes a connection if there is none yet, and puts BEGIN before what is held back.
// A connection that replaces a broken one is tried before it is trusted.
func (t *transaction) board(ctx context.Context, tried bool) error {
	if t.conn == nil {
		since := t.now()
		waiting := int32(0) // in the pool, perhaps as dead as the one before
		if tried {
			waiting = t.db.pool.Stat().IdleConns()
		}
		pooled, err := t.db.acquire(ctx)
		for n := int32(0); err == nil && tried && pooled.Ping(ctx) != nil; n++ {
			closeConn(pooled.Conn(), t.db.cfg.ResolveTimeout)
			pooled.Release()
			if err := ctx.Err(); err != nil {
				return err
			}
			if n >= waiting { // a new one: it is the server that fails
				return &lostError{pgconn.ErrConnClosed}
			}
			pooled, err = t.db.acquire(ctx)
		}
		if err != nil {
			return err
		}
		t.pooled, t.conn, t.session = pooled, pooled.Conn(), sessionOf(pooled.Conn())
		t.db.major.Store(int32(t.session.major))
		if t.observed() {
			t.waited = time.Since(since)
		}
	}
	if !t.begun && !t.begins() {
		if err := refuseEncoding(t.conn.PgConn(), t.opts.Settings); err != nil {
			return err
		}
		t.ahead = append(t.beginning(), t.ahead...)
	}
	return nil
}

// begins reports whether BEGIN is among what is held back.
func (t *transaction) begins() bool {
	return slices.ContainsFunc(t.ahead, func(s step) bool { return s.kind == stepBegin })
}

// fly sends the first n steps of what is held back, the caller's own statements and what
// follows them, and reads the steps' answers.
func (t *transaction) fly(ctx context.Context, n int, own []request, behind []step) (answers, error) {
	t.sent = false
	requests := t.session.requests[:0]
	for i := range n {
		requests = append(requests, t.ahead[i].request())
	}
	requests = append(requests, own...)
	for i := range behind {
		requests = append(requests, behind[i].request())
	}
	t.session.requests = requests
	if err := rewrite(ctx, t.conn, requests); err != nil {
		t.session.traceUnsent(ctx, t.conn, requests, err)
		return nil, t.unsent(own, err)
	}
	if first := t.savepointAhead(n); first > 0 && t.begun && t.session.cold(requests) {
		// What is prepared now fails before the savepoint around it is there: that goes first.
		a, err := t.fly(ctx, first, nil, nil)
		if err == nil {
			err = t.landed("savepoint", a, nil, nil)
		}
		if err != nil {
			return nil, err
		}
		return t.fly(ctx, n-first, own, behind)
	}
	t.flown = t.now()
	a, err := t.session.send(ctx, t.conn, requests)
	if err != nil {
		return nil, t.unsent(own, err)
	}
	t.sent = true
	t.used.RoundTrips++
	t.locking = n > 0 && t.ahead[0].kind == stepLock
	for i := range n {
		if err := t.settle(&t.ahead[i], a); err != nil {
			_ = a.Close()
			return nil, t.failedStep(&t.ahead[i], err)
		}
	}
	t.ahead, t.locking = append(t.ahead[:0], t.ahead[n:]...), false
	return a, nil
}

// savepointAhead returns how many of the first n steps to send so that a savepoint among
// them is open before anything behind it is looked at, or 0 if there is none: those up to the
// first statement of the caller's, or up to the savepoint behind that.
func (t *transaction) savepointAhead(n int) int {
	found := 0
	for i, s := range t.ahead[:n] {
		switch {
		case s.kind == stepSavepoint && found == 0 && queued(t.ahead[:i]):
			return i
		case s.kind == stepSavepoint:
			found = i + 1
		case s.kind == stepQueued && found > 0:
			return found
		}
	}
	return found
}

// settle reads the answer to a step.
func (t *transaction) settle(s *step, a answers) error {
	switch s.kind {
	case stepQueued:
		err := s.answer.read(a, t.conn)
		t.ranQueued(s, err)
		return err
	case stepXID:
		return t.readXID(a, 0)
	case stepToken:
		err := t.readXID(a, 1)
		t.token.due = err != nil
		return err
	}
	_, err := a.Exec()
	if err != nil {
		return err
	}
	switch s.kind {
	case stepBegin:
		t.begun = true
		if t.observed() {
			t.tell(BeginEvent{t.info(t.opts.Label), t.opts.Isolation, t.waited})
		}
	case stepSavepoint:
		t.saved++
	}
	return nil
}

// failedStep notes that a step failed, and with it the transaction: a queued statement that
// could not even be sent must not be forgotten by COMMIT.
func (t *transaction) failedStep(s *step, err error) error {
	err = t.after(s.sql, err)
	var said error // instead of the server's, which stays the cause
	switch {
	case t.lost: // not the statement's fault
	case s.kind == stepQueued:
		said = s.answer.fail(err)
	case s.kind == stepSnapshot && SQLState(err) != "":
		said = gone(err)
	case s.kind == stepToken && taken(err):
		said, err = errKeyTaken, errKeyTaken
	case s.kind == stepToken && SQLState(err) != "":
		said = unclaimable(err)
	}
	if said == nil {
		t.doomed(err)
		return err
	}
	t.doom, t.cause = said, err
	return said
}

// unsent gives the error of a flush that was not sent its meaning. If the server refused to
// prepare a statement, that fails the transaction: before BEGIN not the server's, but the
// caller's all the same, as it would have later. An argument that cannot be encoded fails
// nothing else, and neither does a context that ended in time.
func (t *transaction) unsent(own []request, err error) error {
	index, sql := len(t.ahead), "flush"
	if len(own) > 0 {
		sql = own[0].sql
	}
	if u, ok := errors.AsType[*unsentError](err); ok {
		index, err = u.index, u.err
	}
	if index < len(t.ahead) && (!cancelled(err) || t.conn.IsClosed()) {
		return t.failedStep(&t.ahead[index], err)
	}
	err = t.after(sql, err)
	if SQLState(err) != "" {
		t.doomed(err)
	}
	return err
}

// giveUp drops, after a failure, what cannot be sent any more: all that is held back, or, if
// nothing has reached the server, what was given since the innermost savepoint, which may
// contain the failure.
func (t *transaction) giveUp() {
	switch {
	case t.doom == nil:
	case t.sent, t.lost, t.conn != nil && t.conn.PgConn().TxStatus() == statusFailed:
		t.abandon(0)
	default:
		t.abandon(t.innermost())
	}
}

// innermost is where in what is held back the innermost savepoint begins that was not sent.
func (t *transaction) innermost() int {
	for i := len(t.ahead); i > 0; i-- {
		if t.ahead[i-1].kind == stepSavepoint {
			return i
		}
	}
	return 0
}

// abandon drops what is held back from the index on, and tells the queued statements in it
// that they were not executed.
func (t *transaction) abandon(from int) {
	for i := from; i < len(t.ahead); i++ {
		if a := t.ahead[i].answer; a != nil {
			a.abandoned(t.doom)
		}
	}
	t.ahead = t.ahead[:from]
}

// flush sends what is held back in a round trip of its own, and BEGIN in any case.
func (t *transaction) flush(ctx context.Context) error {
	if t.begun && len(t.ahead) == 0 {
		return nil
	}
	a, behind, err := t.depart(ctx, nil)
	if err != nil {
		return err
	}
	return t.landed("flush", a, behind, nil)
}

// landed closes the answers, of which the caller's own were read, or failed with err. An
// error of the caller's side, of a Scan for instance, says nothing of what is behind.
func (t *transaction) landed(sql string, a answers, behind []step, err error) error {
	for i := range behind {
		if SQLState(err) != "" || t.conn.IsClosed() {
			break
		}
		if failure := t.settle(&behind[i], a); failure != nil {
			_ = a.Close()
			failure = t.failedStep(&behind[i], failure)
			if err == nil {
				err = failure
			}
			return err
		}
	}
	if cerr := a.Close(); err == nil {
		err = cerr
	}
	return t.after(sql, err)
}

// alone reports whether a statement cannot travel with others: it may hold several, or be the
// name of one that was prepared by hand, or is a COPY, or has arguments that say how it is to
// be sent.
func alone(sql string, args []any) bool {
	for _, a := range args {
		switch a.(type) {
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			return true
		case pgx.QueryRewriter:
			continue // options may stand on both sides of it
		}
		break
	}
	word, _ := sqltext.FirstWord(sql)
	return word == "copy" || bare(sql) || several(sql)
}
