package account_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// exclusively runs fn at the task.
func exclusively(ctx context.Context, t txn.Transactor, task account.Task, fn func(context.Context, *txn.Tx) error) error {
	_, err := account.Exclusively(ctx, t, task, func(ctx context.Context, tx *txn.Tx) (struct{}, error) {
		return struct{}{}, fn(ctx, tx)
	})
	return err
}

func nothing(context.Context, *txn.Tx) error { return nil }

func TestExclusively(t *testing.T) {
	b := setup(t, txn.Config{})
	task := account.Task{Account: b.customer(t, 1000), Name: "yearly statement"}
	var busy error
	balance, err := account.Exclusively(t.Context(), b.db, task, func(ctx context.Context, tx *txn.Tx) (money.Minor, error) {
		ran := false
		busy = exclusively(txn.Detach(ctx), b.db, task, func(context.Context, *txn.Tx) error {
			ran = true
			return nil
		})
		require.False(t, ran)
		// Others go on with other tasks, with the same one for others, and with the account.
		other := txn.Detach(ctx)
		require.NoError(t, exclusively(other, b.db, account.Task{Account: task.Account, Name: "archive"}, nothing))
		require.NoError(t, exclusively(other, b.db, account.Task{Account: task.Account + 1, Name: task.Name}, nothing))
		_, err := account.Deposit(other, b.db, account.DepositRequest{Account: task.Account, Amount: 5, Key: "k"})
		require.NoError(t, err)
		return account.Balance(ctx, tx, task.Account)
	})
	require.NoError(t, err)
	require.Equal(t, money.Minor(1005), balance)
	require.Equal(t, &account.BusyError{Task: task}, busy)
	require.ErrorIs(t, busy, account.ErrBusy)
	require.False(t, txn.IsRetryable(busy))

	// Whichever way it ends, the task is free.
	broke := errors.New("broke")
	require.ErrorIs(t, exclusively(t.Context(), b.db, task, func(context.Context, *txn.Tx) error { return broke }), broke)
	require.PanicsWithValue(t, "broke", func() {
		_ = exclusively(t.Context(), b.db, task, func(context.Context, *txn.Tx) error { panic("broke") })
	})
	require.Error(t, exclusively(t.Context(), b.at(txn.ReadCommitted), task, func(ctx context.Context, tx *txn.Tx) error {
		var pid int
		if err := tx.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		require.True(t, fromTable[bool](t, b, "select pg_terminate_backend($1, 5000)", pid))
		return tx.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid)
	}), "killed by the server")
	require.NoError(t, exclusively(t.Context(), b.db, task, nothing))

	require.Equal(t, &account.InvalidError{Field: "Name"}, exclusively(t.Context(), b.db, account.Task{Account: 1}, nothing))
	_, err = account.InTurn(t.Context(), b.db, account.Task{Account: 1}, 0, func(context.Context, *txn.Tx) (int, error) { return 0, nil })
	require.Equal(t, &account.InvalidError{Field: "Name"}, err)
}

// A number for a lock, such as 1000 and the id, is also another number's and another id's.
func TestTasksDoNotCollide(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	const accounts, invoices = 1000, 2000
	try := func(tx pgx.Tx, number int64) (acquired bool) {
		require.NoError(t, tx.QueryRow(t.Context(), "select pg_try_advisory_xact_lock($1)", number).Scan(&acquired))
		return acquired
	}
	archiving, printing := begin(t, naive), begin(t, naive)
	require.True(t, try(archiving, accounts+1007))
	require.False(t, try(printing, invoices+7), "invoice 7 has nothing to do with account 1007")

	// Neither the number nor another namespace's key stands for our task.
	task := account.Task{Account: 1007, Name: "archive"}
	require.True(t, try(archiving, task.Account))
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: invoice"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := tx.AdvisoryLock(ctx, txn.NewKey("invoice: task", task.Name, task.Account)); err != nil {
			return err
		}
		return exclusively(txn.Detach(ctx), b.db, task, nothing)
	}))
}

// At REPEATABLE READ a transaction sees the database as it was when its first statement
// began: that was before the lock was granted, if the statement waits for the lock, or if it
// came before the lock.
func TestTaskSeesTheLastHoldersWork(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	repeatable := pgx.TxOptions{IsoLevel: pgx.RepeatableRead}
	lock := func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "select pg_advisory_xact_lock(1001)")
		return err
	}
	number := func(tx pgx.Tx) (next int64) {
		require.NoError(t, tx.QueryRow(t.Context(), "insert into naive.orders select max(id) + 1 from naive.orders returning id").Scan(&next))
		return next
	}
	first, second := begin(t, naive), beginTx(t, naive, repeatable)
	require.NoError(t, lock(first))
	waiting := async(func() error { return lock(second) })
	waitBlocked(t, b.admin, 1)
	require.EqualValues(t, 2, number(first))
	require.NoError(t, first.Commit(t.Context()))
	require.NoError(t, <-waiting)
	require.EqualValues(t, 2, number(second), "the number was given before")
	require.NoError(t, second.Commit(t.Context()))

	// Trying instead of waiting, after a statement that has nothing to do with it.
	first, second = begin(t, naive), beginTx(t, naive, repeatable)
	require.NoError(t, lock(first))
	exec(t, second, "select 1 from naive.users")
	require.EqualValues(t, 3, number(first))
	require.NoError(t, first.Commit(t.Context()))
	var acquired bool
	require.NoError(t, second.QueryRow(t.Context(), "select pg_try_advisory_xact_lock(1001)").Scan(&acquired))
	require.True(t, acquired)
	require.EqualValues(t, 3, number(second), "the number was given before")
	require.NoError(t, second.Commit(t.Context()))

	for _, level := range isolations {
		d := b.at(level)
		task := account.Task{Account: b.customer(t, 1000), Name: "interest"}
		// Each adds a tenth of what is there.
		addInterest := func(ctx context.Context, tx *txn.Tx, key string) (money.Minor, error) {
			if tx.Attempt() > 1 {
				return 0, errors.New("it met something stale, and was repeated")
			}
			balance, err := account.Balance(ctx, tx, task.Account)
			if err != nil {
				return 0, err
			}
			_, err = account.Deposit(ctx, tx, account.DepositRequest{Account: task.Account, Amount: balance / 10, Key: level.String() + key})
			return balance, err
		}
		var later <-chan error
		var seen money.Minor
		_, err := account.InTurn(t.Context(), d, task, level, func(ctx context.Context, tx *txn.Tx) (money.Minor, error) {
			balance, err := addInterest(ctx, tx, "first")
			later = async(func() (err error) {
				seen, err = account.InTurn(t.Context(), d, task, level, func(ctx context.Context, tx *txn.Tx) (money.Minor, error) {
					return addInterest(ctx, tx, "second")
				})
				return err
			})
			waitBlocked(t, b.admin, 1)
			return balance, err
		})
		require.NoError(t, err)
		require.NoError(t, <-later)
		require.Equal(t, money.Minor(1100), seen, level)
		require.Equal(t, money.Minor(1210), b.balance(t, task.Account), level)

		// Exclusively sees each statement's moment, whatever the program has chosen for others.
		require.NoError(t, exclusively(t.Context(), d, task, func(ctx context.Context, tx *txn.Tx) error {
			before, err := account.Balance(ctx, tx, task.Account)
			require.NoError(t, err)
			_, err = account.Deposit(txn.Detach(ctx), b.db, account.DepositRequest{Account: task.Account, Amount: 1, Key: level.String() + "third"})
			require.NoError(t, err)
			after, err := account.Balance(ctx, tx, task.Account)
			require.Equal(t, before+1, after)
			return err
		}))
	}

	// Within a transaction that sees an older state there is no right answer.
	for _, level := range []txn.Isolation{txn.RepeatableRead, txn.Serializable} {
		task := account.Task{Account: 1, Name: "interest"}
		for name, run := range map[string]func(context.Context, *txn.Tx) error{
			"exclusively": func(ctx context.Context, tx *txn.Tx) error { return exclusively(ctx, tx, task, nothing) },
			"in turn": func(ctx context.Context, tx *txn.Tx) error {
				_, err := account.InTurn(ctx, tx, task, 0, func(context.Context, *txn.Tx) (int, error) { return 0, nil })
				return err
			},
		} {
			err := txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: outer", Isolation: level}, run)
			require.ErrorIs(t, err, txn.ErrOptionsConflict, "%s, %s", name, level)
		}
	}
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: outer"}, func(ctx context.Context, tx *txn.Tx) error {
		return exclusively(ctx, tx, account.Task{Account: 1, Name: "interest"}, nothing)
	}))
}
