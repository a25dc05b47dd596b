package txn

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// BeforeCommit has fn called when the outermost function has returned nil, before COMMIT.
// Its handle is as good as the function's: it may run statements, and veto by an error,
// which rolls back and is returned. What fn queues travels with COMMIT. Functions are called
// in the order in which they were registered, also those that others of them register.
//
// A function that was registered in a savepoint that was undone is not called, nor is any
// of an attempt that failed before. On a handle that is finished, BeforeCommit does nothing.
func (tx *Tx) BeforeCommit(fn func(context.Context, *Tx) error) {
	if fn == nil {
		fn = noHook
	}
	tx.scope().register(func(h *hooks) { h.before = append(h.before, fn) })
}

// AfterCommit has fn called once after the outermost COMMIT: the place for what the outside
// world must not see before. It is not called if the transaction, the attempt or the
// savepoint it was registered in is rolled back, nor if COMMIT's outcome stays unknown.
//
// Functions are called in the order in which they were registered, all of them even if one
// fails, in the goroutine of the call that began the transaction, which waits for them. They
// hold no connection. Their context has the values of the caller's, and neither its
// cancellation nor its deadline: what was committed should be told. An error or a panic of
// theirs makes that call return a *HookError; the transaction is committed all the same.
//
// If the process ends between COMMIT and the call, fn is lost: what must happen belongs into
// the transaction, as a job for instance. On a handle that is finished, AfterCommit does
// nothing.
func (tx *Tx) AfterCommit(fn func(context.Context) error) {
	if fn == nil {
		tx.BeforeCommit(nil)
		return
	}
	tx.scope().register(func(h *hooks) { h.after = append(h.after, fn) })
}

// AfterRollback has fn called with the reason once what it was registered in is rolled back:
// the attempt (before the next one begins), or the savepoint (when the transaction has
// ended, whichever way). It is not called if COMMIT's outcome stays unknown. Contexts, order
// and goroutine are those of AfterCommit. A panic in fn goes on when the other functions have
// been called; where only a savepoint was undone it is a part of the *HookError instead,
// because the rest is committed.
func (tx *Tx) AfterRollback(fn func(context.Context, error)) {
	if fn == nil {
		tx.BeforeCommit(nil)
		return
	}
	tx.scope().register(func(h *hooks) { h.undone = append(h.undone, undoneHook{fn: fn}) })
}

// noHook stands in for a hook that is nil: before COMMIT is the last moment at which that can
// be an error and no more.
func noHook(context.Context, *Tx) error { return errNoHook }

var errNoHook = errors.New("txn: a function to be called at the end is nil")

// hooks are the functions that wait for a transaction's end.
type hooks struct {
	mu     sync.Mutex
	before []func(context.Context, *Tx) error
	after  []func(context.Context) error
	undone []undoneHook
}

type undoneHook struct {
	fn  func(context.Context, error)
	err error // of the savepoint that was undone
}

// hookCount says how many hooks there were when a savepoint was opened.
type hookCount struct{ before, after, undone int }

func (s *scope) register(add func(*hooks)) {
	if s == nil {
		return
	}
	h := &s.t.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.t.open.Load() || s.ended.Load() {
		return
	}
	add(h)
}

func (h *hooks) count() hookCount {
	h.mu.Lock()
	defer h.mu.Unlock()
	return hookCount{len(h.before), len(h.after), len(h.undone)}
}

// undo drops what was registered since, and keeps AfterRollback's for the end.
func (h *hooks) undo(n hookCount, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.after = h.before[:n.before], h.after[:n.after]
	for i := n.undone; i < len(h.undone); i++ {
		if h.undone[i].err == nil {
			h.undone[i].err = err
		}
	}
}

// atEnd returns the functions to be called after the end, once: what is registered from now
// on is not called.
func (h *hooks) atEnd() (after []func(context.Context) error, undone []undoneHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	after, undone = h.after, h.undone
	h.after, h.undone = nil, nil
	return after, undone
}

// beforeCommit calls the functions that may still veto, unless one of them has left the
// transaction so that it cannot be committed.
func (t *transaction) beforeCommit() error {
	for i := 0; ; i++ {
		fn, ok := t.hooks.beforeCommit(i)
		if !ok {
			return nil
		}
		s := &scope{t: t, label: t.opts.Label}
		err := elsewhere(fn(t.ctx, &Tx{s}))
		if goesOn := t.retire(s); err != nil || !goesOn {
			return err
		}
	}
}

// beforeCommit returns the i-th function, which may have been registered by one before it.
func (h *hooks) beforeCommit(i int) (fn func(context.Context, *Tx) error, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i >= len(h.before) {
		return nil, false
	}
	return h.before[i], true
}

// afterCommit calls the functions that were to wait for COMMIT, and before them those that
// were to hear of a savepoint that was undone.
func (t *transaction) afterCommit(ctx context.Context) error {
	after, undone := t.hooks.atEnd()
	if len(after)+len(undone) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	var failures []error
	each(len(undone)+len(after), func(i int) {
		var err error
		if i < len(undone) {
			err = undone[i].run(ctx)
		} else {
			err = t.runHook(ctx, after[i-len(undone)])
		}
		if err != nil {
			failures = append(failures, err)
		}
	})
	if len(failures) == 0 {
		return nil
	}
	return &HookError{Label: t.opts.Label, Err: errors.Join(failures...)}
}

func (t *transaction) runHook(ctx context.Context, fn func(context.Context) error) (err error) {
	since, returned := t.now(), false
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		} else if !returned {
			err = errDidNotReturn
		}
		if t.observed() {
			t.tell(HookEvent{t.info(t.opts.Label), time.Since(since), err})
		}
	}()
	err = fn(ctx)
	returned = true
	return err
}

// run calls the function of a savepoint that was undone in a transaction that is committed.
func (h undoneHook) run(ctx context.Context) (err error) {
	if h.err == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	h.fn(ctx, h.err)
	return nil
}

func panicError(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }

// afterRollback calls the functions that were to hear of a rollback, after one.
func (t *transaction) afterRollback(ctx context.Context, err error) {
	_, undone := t.hooks.atEnd()
	if len(undone) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	var first any
	each(len(undone), func(i int) {
		defer func() {
			if p := recover(); p != nil && first == nil {
				first = p
			}
		}()
		h := undone[i]
		if h.err == nil {
			h.err = err
		}
		h.fn(ctx, h.err)
	})
	if first != nil {
		panic(first)
	}
}

// each calls fn for all numbers below n, also when one of the calls ends the goroutine.
func each(n int, fn func(int)) {
	i := 0
	var rest func()
	rest = func() {
		defer func() {
			if i < n {
				rest()
			}
		}()
		for i < n {
			i++
			fn(i - 1)
		}
	}
	rest()
}
