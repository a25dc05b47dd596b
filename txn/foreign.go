package txn

import (
	"context"

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
		conn:    tx.Conn(),
		begun:   true,
	}
	t.session = sessionOf(t.conn)
	t.open.Store(true)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return &Joined{t, &scope{t: t, label: opts.Label}}
}

// A Joined is a transaction of other code with a handle of ours.
type Joined struct {
	t *transaction
	s *scope
}

// Tx is the handle. It is good until Finish.
func (j *Joined) Tx() *Tx { return &Tx{j.s} }

// Finish ends the handle: it calls what was registered with BeforeCommit and sends what is
// queued. After an error the owner must roll back; it is ErrRollbackOnly if a function on
// the handle failed before.
func (j *Joined) Finish(ctx context.Context) (err error) {
	t := j.t
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
	if err == nil && t.doom != nil {
		err = t.rollbackOnly()
	}
	if err == nil {
		err = t.flush(ctx)
	}
	t.open.Store(false)
	return err
}

// Committed tells that the owner has committed. It calls what was registered with
// AfterCommit; the error is a *HookError.
func (j *Joined) Committed(ctx context.Context) error { return j.t.afterCommit(ctx) }

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
