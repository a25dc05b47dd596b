package txn

import (
	"context"
	"sync"
	"time"
)

// A vigil is kept over a COMMIT that was sent, from the end of the caller's context on. A
// COMMIT broken off is an outcome that nobody knows, so its answer is still waited for; but
// the network may have swallowed it, so after a while another connection is asked as well.
// ResolveTimeout after the context's end, at most, there is something to say.
type vigil struct {
	inquiry inquiry
	session *session
	stop    func() bool // it has not begun, and will not
	over    sync.WaitGroup

	mu            sync.Mutex
	heard         bool               // the answer came, or it will not
	resting, asks context.CancelFunc // end its pauses, and its question; nil until it has begun
	gaveUp        bool               // on the answer

	// Of what was asked. To be read when it is over.
	asked   bool
	since   time.Time
	outcome outcome
	err     error
}

// Parts of ResolveTimeout: how long the answer is waited for before anybody is asked, and how
// long a statement that is broken off at last may take to stop.
const (
	graceShare = 10
	stopShare  = 5
)

// watchCommit returns the context to send COMMIT with, which does not end, and sets up the
// vigil over it. Of a caller whose context never ends there is none.
func (t *transaction) watchCommit() context.Context {
	ctx := context.WithoutCancel(t.ctx)
	if t.caller.Done() != nil {
		v := &vigil{inquiry: t.inquiry(), session: t.session}
		v.over.Add(1)
		v.stop = context.AfterFunc(t.ctx, v.keep)
		t.vigil = v
	}
	return ctx
}

// keep runs beside the goroutine that waits for the answer, and uses nothing that it may
// change.
func (v *vigil) keep() {
	defer v.over.Done()
	all := v.inquiry.db.cfg.ResolveTimeout
	ctx, cancel := context.WithTimeout(context.Background(), all-all/stopShare)
	defer cancel()
	rest, wake := context.WithCancel(ctx)
	defer wake()
	v.mu.Lock()
	v.resting, v.asks = wake, cancel
	heard := v.heard
	v.mu.Unlock()
	if heard {
		return
	}
	if v.inquiry.question() != nil && nap(rest, all/graceShare) {
		v.asked, v.since = true, time.Now()
		v.outcome, v.err = v.inquiry.ask(ctx)
	}
	patience := time.Duration(0) // the answer says nothing new
	if v.outcome == outcomeUnknown {
		<-rest.Done()
		patience = all / stopShare
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.heard {
		v.gaveUp = true
		v.session.breakOff(patience)
	}
}

// verdict ends the vigil, because the answer came or will not, but lets it finish a question.
// It reports whether there was one.
func (v *vigil) verdict() (asked bool) {
	if v == nil {
		return false
	}
	v.close(false)
	return v.asked
}

// end ends the vigil and its question, because everything was said, and reports whether it had
// given up on the answer.
func (v *vigil) end() (gaveUp bool) {
	if v == nil {
		return false
	}
	v.close(true)
	return v.gaveUp
}

// close returns when the connection is left to the caller alone.
func (v *vigil) close(question bool) {
	v.mu.Lock()
	again := v.heard
	v.heard = true
	if v.resting != nil {
		v.resting()
	}
	if question && v.asks != nil {
		v.asks()
	}
	v.mu.Unlock()
	if v.stop() {
		v.over.Done()
	}
	v.over.Wait()
	if v.gaveUp && !again {
		v.session.brokenOff()
	}
}
