package account

import (
	"context"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A Task is work on an account that one at a time may do: making its yearly statement, or
// moving its ledger to an archive. No row stands for it that could be locked.
type Task struct {
	Account int64
	Name    string // tasks of different names on one account do not exclude each other
}

// key names the task in a space of its own: numbers that other code locks cannot be meant.
func (t Task) key() txn.Key { return txn.NewKey("account: task", t.Name, t.Account) }

func (t Task) check() error {
	if t.Name == "" {
		return &InvalidError{Field: "Name"}
	}
	return nil
}

// Exclusively runs fn in a transaction that nobody else has for the task, and returns what it
// returns. If somebody has, it does not wait: it is refused with ErrBusy, and fn is not run.
// The transaction keeps the task until it ends, whichever way: nobody has to unlock it, and
// no crash leaves it locked.
//
// What fn does belongs to the transaction, so fn uses tx for all of it, and may run more than
// once. What it reads is what the last holder of the task left: the level of isolation is
// READ COMMITTED, where each statement sees what is committed when it begins. A call that
// joins a transaction of a higher level, which sees the database as it was before the lock, is
// refused with txn.ErrOptionsConflict: use InTurn.
//
// It locks the task's key and no row; beside that there are the locks and errors of fn.
func Exclusively[T any](ctx context.Context, t txn.Transactor, task Task, fn func(context.Context, *txn.Tx) (T, error)) (T, error) {
	if err := task.check(); err != nil {
		return *new(T), err
	}
	opts := txn.Options{Label: "account: exclusively", Isolation: txn.ReadCommitted}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (T, error) {
		level := db.New(tx).Queued().GetIsolation() // travels with the lock
		granted, err := tx.TryAdvisoryLock(ctx, task.key())
		if err != nil {
			return *new(T), fmt.Errorf("lock a task: %w", err)
		}
		isolation, err := level.Value()
		switch {
		case err != nil:
			return *new(T), fmt.Errorf("lock a task: %w", err)
		case isolation != "read committed":
			return *new(T), fmt.Errorf("%w: account.Exclusively joins a transaction at %s", txn.ErrOptionsConflict, isolation)
		case !granted:
			return *new(T), &BusyError{Task: task}
		}
		return fn(ctx, tx)
	})
}

// InTurn is Exclusively for those who would rather wait, and for work that must see all it
// reads as of one moment. It runs fn at the level of isolation that is given, or t's if that is
// zero. Also at REPEATABLE READ and SERIALIZABLE that moment is later than the lock, so that
// fn sees what the last holder of the task did.
//
// It joins a transaction at READ COMMITTED only; above that, the snapshot is older than the
// lock would be, and the call is refused with txn.ErrOptionsConflict. The wait is bounded by
// ctx, and by the lock timeout of t's configuration (txn.ErrLockNotAvailable). The lock travels
// with fn's first statement: what fn does before that is not protected.
//
// It locks the task's key before anything else, and no row; beside that there are the locks
// and errors of fn.
func InTurn[T any](ctx context.Context, t txn.Transactor, task Task, level txn.Isolation, fn func(context.Context, *txn.Tx) (T, error)) (T, error) {
	if err := task.check(); err != nil {
		return *new(T), err
	}
	opts := txn.Options{Label: "account: in turn", Isolation: level, Locks: []txn.Key{task.key()}}
	return txn.WithTxValue(ctx, t, opts, fn)
}
