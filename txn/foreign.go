package txn

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Join gives a handle on a transaction that other code began and will end, so that
// functions which take a Transactor can work in it while that code is moved over by and by:
//
//	j := txn.Join(pgxTx, txn.Options{Label: "legacy"})
//	err := account.Deposit(ctx, j.Tx(), …)
//	if err == nil {
//		err = j.Finish(ctx)
//	}
//	if err != nil {
//		_ = pgxTx.Rollback(ctx)
//		j.RolledBack(ctx, err)
//		return err
//	}
//	if err := pgxTx.Commit(ctx); err != nil {
//		j.RolledBack(ctx, err)
//		return err
//	}
//	return j.Committed(ctx)
//
// Of opts, Label counts, and Isolation says which level the transaction has; nothing is
// sent for it. The owner's statements and the handle's must take turns: what is queued on
// the handle is sent by Flush, Finish or its next statement, not by the owner's. Nothing is
// retried. Limits such as LockTimeout that a call on the handle asks for are replaced by the
// session's own at its end, not by what the owner may have set.
func Join(tx pgx.Tx, opts Options) *Joined {
	d := &DB{cfg: Config{ResolveCommits: ResolveNever}.withDefaults(), budget: newBudget()}
	t := &transaction{
		db:      d,
		opts:    Options{Label: opts.Label, Isolation: opts.Isolation}.over(Options{}),
		attempt: 1,
		begun:   true,
		owner:   tx,
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if tx != nil && !t.disowned() {
		t.conn = tx.Conn()
	}
	if t.conn != nil {
		t.session = sessionOf(t.conn)
		t.open.Store(true)
	}
	return &Joined{t: t, s: &scope{t: t, label: opts.Label}}
}

// disowned reports whether the owner of a joined transaction has ended it: the connection
// may be somebody else's by now. An empty batch costs nothing and asks pgx.
func (t *transaction) disowned() bool {
	return t.owner != nil && errors.Is(t.owner.SendBatch(t.ctx, &pgx.Batch{}).Close(), pgx.ErrTxClosed)
}

// A Joined is a transaction of other code with a handle of ours. It belongs to the goroutine
// that works in the transaction. Call Finish once, and then Committed or RolledBack once.
type Joined struct {
	t        *transaction
	s        *scope
	finished bool
}

// Tx is the handle. It is good until Finish.
func (j *Joined) Tx() *Tx { return &Tx{j.s} }

// Finish ends the handle: it calls what was registered with BeforeCommit and sends what is
// queued. After an error the owner must roll back; it is ErrRollbackOnly if a function on
// the handle failed before.
func (j *Joined) Finish(ctx context.Context) (err error) {
	t := j.t
	if !t.open.Load() {
		return ErrTxDone
	}
	if t.retire(j.s) {
		err = t.beforeCommit()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.cancel()
	j.s.finish()
	if open := t.closeOpen(0); err == nil {
		err = open
	}
	t.noteMisuse()
	t.inspect()
	if err == nil && t.doom != nil {
		err = t.rollbackOnly()
	}
	if err == nil && t.disowned() {
		err = ErrTxDone
	}
	if err == nil {
		err = t.flush(ctx)
	}
	j.finished = err == nil
	t.open.Store(false)
	return err
}

// Committed tells that the owner has committed. It calls what was registered with
// AfterCommit; the error is a *HookError. It is one too if Finish was not called before, or
// failed: what was queued is not a part of what was committed.
func (j *Joined) Committed(ctx context.Context) error {
	t := j.t
	t.mu.Lock()
	unfinished := !j.finished
	j.s.finish()
	t.abandon(0)
	t.open.Store(false)
	t.mu.Unlock()
	t.cancel()
	err := t.afterCommit(ctx)
	if unfinished {
		return &HookError{Label: t.opts.Label, Err: errors.Join(errUnfinished, err)}
	}
	return err
}

// errUnfinished: the owner of a joined transaction committed what it must not.
var errUnfinished = errors.New("txn: committed although Joined.Finish was not called, or failed: what was queued was not executed")

// RolledBack tells that the owner has rolled back, and why. It calls what was registered
// with AfterRollback.
func (j *Joined) RolledBack(ctx context.Context, why error) {
	j.t.mu.Lock()
	j.s.finish()
	j.t.abandon(0)
	j.t.open.Store(false)
	j.t.mu.Unlock()
	j.t.cancel()
	j.t.afterRollback(ctx, why)
}
