package cli

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// A client who has no answer asks again, after a pause, for so long since it asked first.
const (
	clientPatience = 20 * time.Second
	clientPause    = 100 * time.Millisecond // at most
)

// serve is a client. What a fault did to its request is for the transaction to make up for, and
// the client asks once. There are two exceptions. A call may end without knowing what became of
// it: then the client asks again, with the same key. And while the server is stopped, nobody is
// there to be asked.
func (p *part) serve(ctx context.Context, c call) {
	start := time.Now()
	o := outcome{keys: c.keys()}
	again := true
	for again {
		ctx := asking(ctx)
		said, err := c.ask(ctx, p.d)
		o.fate, o.reason = p.judge(said, err)
		p.tally.noteAttempt(ctx, err)
		again = false
		switch {
		case o.fate == unknown:
			again = true
			o.unsure++
			if !p.tally.toll.outages.since(askedAt(ctx)) && !leftNothing(c, err) {
				o.unexcused++
			}
		case o.fate == failed && lacksServer(err) && p.tally.toll.outages.felt(askedAt(ctx)):
			again = true
			o.absent++
		case o.unsure > 0 && (o.fate == failed || errors.Is(err, txn.ErrLockNotAvailable)):
			// This call did not do it. An earlier one may have, or be the one that is at it.
			again = true
		case o.fate == unexplained && ctx.Err() == nil:
			p.tally.noteUnexplained(err)
		}
		if again && (time.Since(start) > clientPatience || !pause(ctx)) {
			break
		}
	}
	if again && o.unsure > 0 {
		o.fate = unknown
	}
	p.tally.note(o, time.Since(start))
}

// pause is shorter for one client than for another, and false if ctx ends.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(rand.N(clientPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lacksServer: the call failed since there was no server, or none that would have it.
func lacksServer(err error) bool {
	switch txn.SQLState(err) {
	case "", adminShutdown, crashShutdown, cannotConnectNow:
		return txn.IsRetryable(err)
	}
	return false
}

// leftNothing: the transaction has no id that could be asked for, and that may be so.
func leftNothing(c call, err error) bool {
	_, idless := c.(idless)
	unresolved, ok := errors.AsType[*txn.CommitUnknownError](err)
	return idless && ok && unresolved.XID == ""
}

// judge says what a call's result means for what it asked for.
func (p *part) judge(said answer, err error) (fate, string) {
	_, unresolved := errors.AsType[*txn.CommitUnknownError](err)
	hook, after := errors.AsType[*txn.HookError](err)
	switch {
	case err == nil:
		return map[answer]fate{did: committed, wasDone: repeated, isDone: done}[said], ""
	case after && (txn.IsRetryable(hook.Err) || errors.Is(hook.Err, txn.ErrAnswerLost)): // and the server was lost before it told more
		return committed, ""
	case after:
		return unexplained, noReason
	case unresolved:
		return unknown, ""
	case txn.IsRetryable(err):
		return failed, cause(err)
	}
	if rule := p.rule(err); rule != "" {
		return refused, rule
	}
	return unexplained, noReason
}

// noReason is why something was given up that should not have been. The report shows some of the
// errors.
const noReason = "unexplained"

// askedKey is the context's key of when the client asked.
type askedKey struct{}

// asking is a context that knows when the client asked.
func asking(ctx context.Context) context.Context {
	return context.WithValue(ctx, askedKey{}, time.Now())
}

func askedAt(ctx context.Context) time.Time {
	at, _ := ctx.Value(askedKey{}).(time.Time)
	return at
}
