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

	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// A fate is what a call said of the transfers that it asked for.
type fate int

const (
	committed   fate = iota // done by this call
	replayed                // done by another call with the same key
	refused                 // by a rule of the business: not done
	failed                  // by faults, in every attempt: not done
	unexplained             // by an error that is neither rule nor fault: not done
	unknown                 // COMMIT was sent, its answer lost, and what became of it not found out
	fates                   // how many there are
)

// An outcome is what one call reported.
type outcome struct {
	keys   []string
	fate   fate
	reason string
}

// A tally is what all calls reported. Its methods are safe for concurrent use.
type tally struct {
	done    atomic.Int64 // transfers that nobody asks for any more
	retried atomic.Int64
	killed  atomic.Int64 // attempts whose session the server ended
	cut     atomic.Int64 // attempts whose connection broke

	// Those of them that had sent COMMIT and got no answer, and all such by what was found out.
	commitKilled, commitCut                atomic.Int64
	foundCommitted, foundNot, foundUnknown atomic.Int64

	mu        sync.Mutex
	outcomes  []outcome
	retries   counts // by SQLSTATE
	latencies []time.Duration
	looks     int // at the sum of the balances
	wrong     int // looks that saw another sum
	errors    []string
}

// A resolved is what was found out about COMMITs without answer.
type resolved struct {
	Committed    int `json:"committed"`
	NotCommitted int `json:"not_committed"`
	Unknown      int `json:"unknown"`
}

func (r resolved) total() int { return r.Committed + r.NotCommitted + r.Unknown }

func newTally() *tally { return &tally{retries: counts{}} }

// note notes a call's result.
func (t *tally) note(transfers []account.TransferRequest, repeated bool, err error, took time.Duration) {
	var o outcome
	o.fate, o.reason = judge(repeated, err)
	for _, transfer := range transfers {
		o.keys = append(o.keys, transfer.Key)
	}
	t.noteAttempt(err)
	if o.fate == unexplained {
		t.noteUnexplained(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes = append(t.outcomes, o)
	t.latencies = append(t.latencies, took)
}

// judge says what a call's result means for the transfer.
func judge(repeated bool, err error) (fate, string) {
	_, unresolved := errors.AsType[*txn.CommitUnknownError](err)
	switch {
	case err == nil && repeated:
		return replayed, ""
	case err == nil:
		return committed, ""
	case unresolved:
		return unknown, ""
	case errors.Is(err, account.ErrInsufficientFunds):
		return refused, "insufficient funds"
	case txn.IsRetryable(err):
		return failed, cause(err)
	}
	return unexplained, err.Error()
}

// cause is why an attempt failed.
func cause(err error) string {
	return cmp.Or(txn.SQLState(err), "connection lost")
}

// noteRetry is called by every transaction that is about to be repeated.
func (t *tally) noteRetry(_ context.Context, r txn.Retry) {
	t.retried.Add(1)
	t.noteAttempt(r.Err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retries[cause(r.Err)]++
}

// noteAttempt counts what the faults did to an attempt. An attempt whose session ended after
// it had done its work knows nothing of it, and is not counted.
func (t *tally) noteAttempt(err error) {
	_, unresolved := errors.AsType[*txn.CommitUnknownError](err)
	if state := txn.SQLState(err); state == adminShutdown || state == "" && (unresolved || txn.IsRetryable(err)) {
		t.noteHit(err)
	}
}

// adminShutdown is the last message of a session that the server ends.
const adminShutdown = "57P01"

// noteHit counts an attempt that a fault hit.
func (t *tally) noteHit(err error) {
	if txn.SQLState(err) == adminShutdown {
		t.killed.Add(1)
	} else {
		t.cut.Add(1)
	}
}

// Observe notes what was found out about a COMMIT without answer. If it was executed, the
// call succeeds, and nobody else tells of the fault that hit it.
func (t *tally) Observe(_ context.Context, e txn.Event) {
	r, ok := e.(txn.ResolutionEvent)
	if !ok {
		return
	}
	switch {
	case r.Unknown: // and how the answer was lost is not told
		t.foundUnknown.Add(1)
		return
	case txn.SQLState(r.Err) == adminShutdown:
		t.commitKilled.Add(1)
	default:
		t.commitCut.Add(1)
	}
	switch {
	case r.Committed:
		t.foundCommitted.Add(1)
		t.noteHit(r.Err)
	default:
		t.foundNot.Add(1)
	}
}

func (t *tally) found() resolved {
	return resolved{int(t.foundCommitted.Load()), int(t.foundNot.Load()), int(t.foundUnknown.Load())}
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

// A history is what all calls reported of one transfer.
type history struct {
	calls   [fates]int
	reasons [fates]string
}

// fate is what is known of the transfer.
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

// acknowledged: somebody was told that the transfer is done.
func (h *history) acknowledged() bool { return h.calls[committed]+h.calls[replayed] > 0 }

// histories returns each transfer's, by key.
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
