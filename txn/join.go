package txn

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// adopt checks a joining call's options against the running transaction's and applies those
// that can differ inside it. restore takes them back. t.mu is held in both.
func (t *transaction) adopt(ctx context.Context, opts Options, readOnly bool) (restore func(), err error) {
	if err := opts.validate(readOnly); err != nil {
		return nil, err
	}
	if err := t.opts.conflict(opts); err != nil {
		return nil, err
	}
	if err := t.sameSettings(ctx); err != nil {
		return nil, err
	}
	want, also, onRetry := t.want, t.opts.RetryAlso, t.opts.OnRetry
	override(&t.want.lock, opts.LockTimeout)
	override(&t.want.statement, opts.StatementTimeout)
	override(&t.want.idle, opts.IdleTimeout)
	if locks := t.opts.without(opts.Locks); len(locks) > 0 {
		t.align() // the inner call's limits hold for its locks
		t.ahead = append(t.ahead, transactionLocks(locks)...)
	}
	// What the outer call retries grows for good: the inner's failure may become the whole
	// transaction's only later, at COMMIT.
	if len(opts.RetryAlso) > 0 {
		t.opts.RetryAlso = append(also[:len(also):len(also)], opts.RetryAlso...)
	}
	t.opts.OnRetry = both(onRetry, opts.OnRetry)
	return func() { t.want = want }, nil
}

// sameSettings refuses a context for which Config.SettingsFrom has other settings than the
// transaction's: another tenant's, for instance, whose call would see and change this one's rows.
func (t *transaction) sameSettings(ctx context.Context) error {
	from := t.db.cfg.SettingsFrom
	if from == nil || t.owner != nil {
		return nil
	}
	inner := from(ctx)
	for _, name := range slices.Sorted(maps.Keys(inner)) {
		given, was := t.given[name]
		have, is := t.opts.Settings[name] // what the outer call set itself, if it did
		if asked := inner[name]; !(was && given == asked || is && have == asked) {
			return otherSettings(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.given)) {
		if _, asked := inner[name]; !asked {
			return otherSettings(name)
		}
	}
	return nil
}

func otherSettings(name string) error {
	return fmt.Errorf("%w: Config.SettingsFrom: the transaction was begun with another %s than this context stands for; "+
		"pass on the context of the outer call's function", ErrOptionsConflict, name)
}

// conflict refuses what a running transaction cannot be given any more.
func (outer Options) conflict(inner Options) error {
	if inner.Isolation.strength() > outer.Isolation.strength() {
		return fmt.Errorf("%w: Isolation: the transaction is %s, asked for is %s; ask for it in the outer call",
			ErrOptionsConflict, outer.Isolation, inner.Isolation)
	}
	if inner.Deferrable && !outer.Deferrable {
		return fmt.Errorf("%w: Deferrable: the transaction is not; ask for it in the outer call", ErrOptionsConflict)
	}
	if s := inner.SynchronousCommit; s != SyncUnspecified && s != outer.SynchronousCommit {
		return fmt.Errorf("%w: SynchronousCommit: the transaction has %q, asked for is %q; ask for it in the outer call",
			ErrOptionsConflict, string(outer.SynchronousCommit), string(s))
	}
	if inner.DeferConstraints && !outer.DeferConstraints {
		return fmt.Errorf("%w: DeferConstraints: the transaction does not; ask for it in the outer call", ErrOptionsConflict)
	}
	for _, name := range slices.Sorted(maps.Keys(inner.Settings)) {
		if have, ok := outer.Settings[name]; !ok || have != inner.Settings[name] {
			return fmt.Errorf("%w: Settings: the transaction has another value for %s; ask for it in the outer call", ErrOptionsConflict, name)
		}
	}
	if k := inner.IdempotencyKey; k != "" && (k != outer.IdempotencyKey || inner.Fingerprint != outer.Fingerprint) {
		return fmt.Errorf("%w: IdempotencyKey: the transaction has %q, asked for is %q; ask for it in the outer call",
			ErrOptionsConflict, outer.IdempotencyKey, k)
	}
	if len(outer.without(inner.Locks)) > 0 && outer.Isolation.strength() > ReadCommitted {
		return fmt.Errorf("%w: Locks: the transaction is %s, its snapshot would be older than the locks; ask for them in the outer call",
			ErrOptionsConflict, outer.Isolation)
	}
	return nil
}

// without returns the keys that a transaction with the options does not hold from its
// beginning.
func (outer Options) without(keys []Key) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool {
		return slices.ContainsFunc(outer.Locks, func(held Key) bool { return held.id == k.id && (k.shared || !held.shared) })
	})
}

func override[T comparable](field *T, by T) {
	if zero := *new(T); by != zero {
		*field = by
	}
}

func both(first, second func(context.Context, Retry)) func(context.Context, Retry) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, r Retry) {
		first(ctx, r)
		second(ctx, r)
	}
}
