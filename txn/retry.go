package txn

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// begin begins transactions until one attempt is final, with a shared snapshot if there is one.
func (d *DB) begin(ctx context.Context, opts Options, readOnly bool, shared *SharedSnapshot, fn func(context.Context, *scope) error) error {
	if d == nil || d.pool == nil {
		return ErrTxDone
	}
	if d.err != nil {
		return d.err
	}
	opts = opts.over(d.cfg.Options)
	var given map[string]string
	if from := d.cfg.SettingsFrom; from != nil {
		given = from(ctx)
		opts.Settings = merged(given, opts.Settings)
	}
	if err := opts.validate(readOnly); err != nil {
		return err
	}
	if marked(ctx, d.pool, shared) {
		return ErrNestedDB
	}
	if opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.Timeout)
		defer cancel()
	}
	start := time.Now()
	id := transactionIDs.Add(1)
	for attempt := 1; ; attempt++ {
		t := d.newTransaction(ctx, opts, readOnly, attempt, id)
		t.given, t.shared = given, shared
		err := t.run(fn)
		if err == nil {
			d.budget.success()
			t.tellCommitted()
			return t.afterCommit(ctx)
		}
		delay := d.delay(attempt)
		again := d.again(ctx, t, err)
		retry := again && attempt < opts.MaxAttempts && !tooLate(ctx, delay) && d.affordable(t, err)
		switch {
		case d.undone(ctx, t, err, retry, delay):
		case again:
			return exhausted(opts.Label, attempt, start, err)
		default:
			return err
		}
	}
}

// undone is called after an attempt that was not committed. With retry it waits for the next
// one, and reports whether there will be one: that is what observers are told, once.
func (d *DB) undone(ctx context.Context, t *transaction, err error, retry bool, delay time.Duration) (another bool) {
	used := t.usage()
	// Deferred, because there is no other attempt if one of the caller's functions panics.
	defer func() { t.tellRolledBack(err, used, another, delay) }()
	if !unknown(err) {
		t.afterRollback(ctx, err)
	}
	return retry && sleep(ctx, delay, t, err)
}

// unknown reports whether the error says that nobody knows. That of another transaction,
// which a function returned, does not say it of this one.
func unknown(err error) bool {
	_, other := errors.AsType[*otherError](err)
	_, is := errors.AsType[*CommitUnknownError](err)
	return is && !other
}

// again reports whether another attempt may help. What the server said first counts: the
// function may have returned something else, or nothing.
func (d *DB) again(ctx context.Context, t *transaction, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	return t.verdict(err) != final
}

func (t *transaction) verdict(err error) verdict {
	if _, other := errors.AsType[*otherError](err); other || tellsOfCommit(err) {
		return final
	}
	cause := err
	if t.doom != nil {
		cause = t.doom
	}
	if t.cause != nil {
		cause = t.cause
	}
	if v := classify(cause); v != final {
		return v
	}
	if slices.Contains(t.opts.RetryAlso, SQLState(cause)) {
		return contention
	}
	return final
}

// affordable: an outage's retries draw on what all callers share; a serialization failure
// or deadlock proves the server healthy.
func (d *DB) affordable(t *transaction, err error) bool {
	return t.verdict(err) != outage || d.budget.draw()
}

// delay is full jitter: contenders that failed together come back apart.
func (d *DB) delay(attempt int) time.Duration {
	most := d.cfg.MaxDelay
	if shift := min(attempt-1, 63); d.cfg.BaseDelay <= most>>shift {
		most = d.cfg.BaseDelay << shift
	}
	return rand.N(most + 1)
}

func tooLate(ctx context.Context, delay time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Now().Add(delay).After(deadline)
}

// sleep pauses before the next attempt and reports whether it still has a caller.
func sleep(ctx context.Context, delay time.Duration, t *transaction, err error) bool {
	if t.opts.OnRetry != nil {
		t.opts.OnRetry(ctx, Retry{Label: t.opts.Label, Attempt: t.attempt, Err: err, Delay: delay})
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// exhausted wraps the error of the last of several attempts. A single attempt's is
// returned as it is.
func exhausted(label string, attempts int, start time.Time, err error) error {
	if attempts == 1 {
		return err
	}
	return &RetriesExhaustedError{Label: label, Attempts: attempts, Elapsed: time.Since(start), Err: err}
}
