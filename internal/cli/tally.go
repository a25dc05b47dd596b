package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// A fate is what a call said of what it asked for.
type fate int

const (
	committed   fate = iota // done by this call
	repeated                // done by another call with the same key
	done                    // done, by this call or another with the same key
	refused                 // by a rule of the business: not done
	failed                  // by faults, in every attempt: not done
	unexplained             // by an error that is neither rule nor fault: not done
	unknown                 // COMMIT was sent, its answer lost, and what became of it not found out
	fates                   // how many there are
)

// An outcome is what one client was told in the end.
type outcome struct {
	keys   []string
	fate   fate
	reason string

	// How often the client asked again: because the outcome was unknown, which only a restart of
	// the server excuses, or because there was no server.
	unsure, unexcused, absent int
}

// A toll is what the faults did to a load. It is safe for concurrent use.
type toll struct {
	retried atomic.Int64
	killed  atomic.Int64 // attempts whose session the server ended
	cut     atomic.Int64 // attempts whose connection broke
	downed  atomic.Int64 // attempts whose server was stopped

	// Those of them that had sent COMMIT and got no answer.
	commitKilled, commitCut, commitDowned atomic.Int64

	outages outages
}

func newToll() *toll { return &toll{} }

// A tally is what all calls of a scene reported. Its methods are safe for concurrent use.
type tally struct {
	toll *toll

	// COMMITs without answer, by what was found out.
	foundCommitted, foundNot, foundUnknown atomic.Int64

	mu        sync.Mutex
	outcomes  []outcome
	retries   counts // by SQLSTATE
	latencies []time.Duration
	looks     int // at what the scene has to look at
	wrong     int // looks that saw something else than they should
	errors    []string
}

// A resolved is what was found out about COMMITs without answer.
type resolved struct {
	Committed    int `json:"committed"`
	NotCommitted int `json:"not_committed"`
	Unknown      int `json:"unknown"`
}

func (r resolved) total() int { return r.Committed + r.NotCommitted + r.Unknown }

func newTally(t *toll) *tally { return &tally{toll: t, retries: counts{}} }

// note notes what a client was told, and how long that took.
func (t *tally) note(o outcome, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes = append(t.outcomes, o)
	t.latencies = append(t.latencies, took)
}

// cause is why an attempt failed.
func cause(err error) string {
	return cmp.Or(txn.SQLState(err), "connection lost")
}

// noteRetry is called by every transaction that is about to be repeated.
func (t *tally) noteRetry(ctx context.Context, r txn.Retry) {
	t.toll.retried.Add(1)
	t.noteAttempt(ctx, r.Err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retries[cause(r.Err)]++
}

// The last messages of sessions that the server ends, and what it says before it has begun.
const (
	adminShutdown    = "57P01" // it was asked to
	crashShutdown    = "57P02" // it goes down at once
	cannotConnectNow = "57P03"
)

// noteAttempt counts what the faults did to an attempt. An attempt whose session ended after
// it had done its work knows nothing of it, and is not counted.
func (t *tally) noteAttempt(ctx context.Context, err error) {
	_, unresolved := errors.AsType[*txn.CommitUnknownError](err)
	switch state := txn.SQLState(err); {
	case state == adminShutdown, state == crashShutdown, state == "" && (unresolved || txn.IsRetryable(err)):
		t.noteHit(ctx, err)
		if unresolved { // Observe is not told how the answer was lost
			t.noteCommitHit(ctx, err)
		}
	}
}

// noteHit counts an attempt that a fault hit.
func (t *tally) noteHit(ctx context.Context, err error) {
	t.hit(ctx, err, &t.toll.killed, &t.toll.cut, &t.toll.downed)
}

// noteCommitHit counts one that had sent COMMIT.
func (t *tally) noteCommitHit(ctx context.Context, err error) {
	t.hit(ctx, err, &t.toll.commitKilled, &t.toll.commitCut, &t.toll.commitDowned)
}

// hit counts an error with the fault that it came from. While the server is stopped all
// connections end, and what kills and cuts do then cannot be told from that.
func (t *tally) hit(ctx context.Context, err error, killed, cut, downed *atomic.Int64) {
	switch {
	case t.toll.outages.felt(askedAt(ctx)):
		downed.Add(1)
	case txn.SQLState(err) == adminShutdown:
		killed.Add(1)
	default:
		cut.Add(1)
	}
}

// Observe notes what was found out about a COMMIT without answer. If it was executed, the
// call succeeds, and nobody else tells of the fault that hit it.
func (t *tally) Observe(ctx context.Context, e txn.Event) {
	r, ok := e.(txn.ResolutionEvent)
	if !ok {
		return
	}
	if r.Unknown {
		t.foundUnknown.Add(1)
		return
	}
	t.noteCommitHit(ctx, r.Err)
	if r.Committed {
		t.foundCommitted.Add(1)
		t.noteHit(ctx, r.Err)
	} else {
		t.foundNot.Add(1)
	}
}

func (t *tally) found() resolved {
	return resolved{int(t.foundCommitted.Load()), int(t.foundNot.Load()), int(t.foundUnknown.Load())}
}

// unsure is how often clients heard that an outcome is unknown, and how often without an excuse.
func (t *tally) unsure() (all, unexcused int) {
	for _, o := range t.outcomes {
		all += o.unsure
		unexcused += o.unexcused
	}
	return all, unexcused
}

// lost are all COMMITs without answer. Of those that left nothing to ask for, clients alone heard.
func (t *tally) lost() resolved {
	r := t.found()
	all, _ := t.unsure()
	r.Unknown = max(r.Unknown, all)
	return r
}

// add adds another tally, when all calls have returned.
func (t *tally) add(other *tally) {
	t.outcomes = append(t.outcomes, other.outcomes...)
	t.latencies = append(t.latencies, other.latencies...)
	t.errors = append(t.errors, other.errors...)
	t.looks += other.looks
	t.wrong += other.wrong
	for state, n := range other.retries {
		t.retries[state] += n
	}
	found := other.found()
	t.foundCommitted.Add(int64(found.Committed))
	t.foundNot.Add(int64(found.NotCommitted))
	t.foundUnknown.Add(int64(found.Unknown))
}

func (t *tally) noteLook(right bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looks++
	if !right {
		t.wrong++
	}
}

func (t *tally) noteUnexplained(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors = append(t.errors, err.Error())
}

// A history is what all clients were told of what one key names.
type history struct {
	calls   [fates]int
	reasons [fates]string
	unsure  bool // one of them did not know for a while
}

// fate is what is known of it.
func (h *history) fate() fate {
	if h.acknowledged() {
		return committed
	}
	for _, f := range []fate{unknown, refused, failed} {
		if h.calls[f] > 0 {
			return f
		}
	}
	return unexplained
}

// acknowledged: somebody was told that it is done.
func (h *history) acknowledged() bool { return h.calls[committed]+h.calls[repeated]+h.calls[done] > 0 }

// claimed: it was acknowledged, and by one call as its own doing, as far as calls can tell.
func (h *history) claimed() bool {
	unclear := h.calls[done]+h.calls[unknown] > 0 || h.unsure // the one may be among those whose answer was lost
	return h.calls[committed] == 1 || h.calls[committed] == 0 && unclear
}

// histories are by key.
func (t *tally) histories() map[string]*history {
	all := map[string]*history{}
	for _, o := range t.outcomes {
		for _, key := range o.keys {
			h, ok := all[key]
			if !ok {
				h = &history{}
				all[key] = h
			}
			h.calls[o.fate]++
			h.reasons[o.fate] = o.reason
			h.unsure = h.unsure || o.unsure > 0
		}
	}
	return all
}

// count counts the calls that pass.
func (t *tally) count(pass func(outcome) bool) (n int) {
	for _, o := range t.outcomes {
		if pass(o) {
			n++
		}
	}
	return n
}

// percentile returns the shortest latency that the share p of all, sorted, do not exceed.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}

// counts are numbers by name.
type counts map[string]int

func (c counts) total() (n int) {
	for _, v := range c {
		n += v
	}
	return n
}

// String is the counts as "a 3, b 1", most first.
func (c counts) String() string {
	if len(c) == 0 {
		return "none"
	}
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, c[name])
	}
	return strings.Join(names, ", ")
}
