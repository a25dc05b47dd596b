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
	unknown                 // COMMIT was sent, its answer lost
	fates                   // how many there are
)

// An outcome is what one call reported.
type outcome struct {
	keys   []string
	fate   fate
	reason string
	again  bool // the call repeated one whose outcome was unknown
}

// A tally is what all calls reported. Its methods are safe for concurrent use.
type tally struct {
	done    atomic.Int64 // transfers that nobody asks for any more
	retried atomic.Int64
	killed  atomic.Int64 // attempts whose session the server ended
	cut     atomic.Int64 // attempts whose connection broke

	mu        sync.Mutex
	outcomes  []outcome
	retries   counts // by SQLSTATE
	latencies []time.Duration
	looks     int // at the sum of the balances
	wrong     int // looks that saw another sum
	errors    []string
}

func newTally() *tally { return &tally{retries: counts{}} }

// note notes a call's result and returns what it says.
func (t *tally) note(transfers []account.TransferRequest, again, repeated bool, err error, took time.Duration) fate {
	o := outcome{again: again}
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
	return o.fate
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
	switch state := txn.SQLState(err); {
	case state == "57P01": // admin_shutdown, the last message of a session that the server ends
		t.killed.Add(1)
	case state == "" && (unresolved || txn.IsRetryable(err)):
		t.cut.Add(1)
	}
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
