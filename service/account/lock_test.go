package account_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// deadlocked runs first and then second in transactions of plain pgx, first in both and then
// second in both, and returns the SQLSTATEs that the seconds ended with. The first one waits
// in its second statement before the other one begins its own.
func deadlocked(t *testing.T, b *books, one, other pgx.Tx, oneSQL, otherSQL [2]string) []string {
	t.Helper()
	exec(t, one, oneSQL[0])
	exec(t, other, otherSQL[0])
	done := async(func() error {
		_, err := one.Exec(t.Context(), oneSQL[1])
		return err
	})
	txntest.WaitBlocked(t, b.admin, int(one.Conn().PgConn().PID()))
	_, err := other.Exec(t.Context(), otherSQL[1])
	states := []string{txn.SQLState(err), txn.SQLState(<-done)}
	slices.Sort(states)
	return states
}

// One transfer goes from A to B, one from B to A, and each locks its payer first.
func TestOppositeTransfersDoNotDeadlock(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	naive := b.naive(t)
	const debit, credit = "update naive.users set balance = balance - 1 where id = %d", "update naive.users set balance = balance + 1 where id = %d"
	require.Equal(t, []string{"", "40P01"}, deadlocked(t, b, begin(t, naive), begin(t, naive),
		[2]string{fmt.Sprintf(debit, 1), fmt.Sprintf(credit, 2)},
		[2]string{fmt.Sprintf(debit, 2), fmt.Sprintf(credit, 1)}))

	// Sixteen at once, half of them in the other direction, and no second attempt for any.
	a, c := b.customer(t, 1000), b.customer(t, 1000)
	var calls []func() error
	for n := range 8 {
		for _, r := range []account.TransferRequest{
			{From: a, To: c, Amount: 30, Key: fmt.Sprint("there ", n)},
			{From: c, To: a, Amount: 20, Key: fmt.Sprint("back ", n)},
		} {
			calls = append(calls, func() error {
				_, err := account.Transfer(t.Context(), b.db, r)
				return err
			})
		}
	}
	for _, err := range b.together(t, "accounts", []int64{a, c}, calls...) {
		require.NoError(t, err)
	}
	require.Equal(t, money.Minor(1000-8*30+8*20), b.balance(t, a))
	require.Equal(t, money.Minor(1000+8*30-8*20), b.balance(t, c))
}

// Whatever the direction, the account with the lower id is locked first: while it is waited
// for, the other one is free.
func TestAccountsAreLockedInOneOrder(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	low, high := b.customer(t, 1000), b.customer(t, 1000)
	require.Less(t, low, high)
	for _, r := range []account.TransferRequest{
		{From: low, To: high, Amount: 1, Key: "up"},
		{From: high, To: low, Amount: 1, Key: "down"},
	} {
		holder := begin(t, b.admin)
		exec(t, holder, "select from accounts where id = $1 for update", low)
		waiting := async(func() error {
			_, err := account.Transfer(t.Context(), b.db, r)
			return err
		})
		waitBlocked(t, b.admin, 1)
		exec(t, b.admin, "select from accounts where id = $1 for update nowait", high)
		require.NoError(t, holder.Commit(t.Context()))
		require.NoError(t, <-waiting, r.Key)
	}
}

// Transfers that are put together in one transaction lock in the order of the calls. Two such
// transactions may deadlock; the one that the server chose runs again.
func TestDeadlockedTransfersAreRepeated(t *testing.T) {
	var mu sync.Mutex
	var retries []txn.Retry
	// Who runs again may take its first lock before the other one has woken up, and meet it once
	// more: hence more attempts than usual.
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 20, OnRetry: func(_ context.Context, r txn.Retry) {
		mu.Lock()
		defer mu.Unlock()
		retries = append(retries, r)
	}}})
	ids := []int64{b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000)}
	pair := func(n int) account.TransferRequest {
		return account.TransferRequest{From: ids[2*n], To: ids[2*n+1], Amount: 100}
	}
	halfway := txntest.NewBarrier(2)
	both := func(name string, order ...int) func() error {
		return func() error {
			return txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: " + name}, func(ctx context.Context, tx *txn.Tx) error {
				for i, n := range order {
					if i == 1 && tx.Attempt() == 1 {
						if err := halfway.Wait(ctx); err != nil {
							return err
						}
					}
					r := pair(n)
					r.Key = fmt.Sprint(name, " ", n)
					receipt, err := account.Transfer(ctx, tx, r)
					if err != nil {
						return err
					}
					if receipt.Replayed {
						return fmt.Errorf("%s was done before", r.Key)
					}
				}
				return nil
			})
		}
	}
	there := async(both("there", 0, 1))
	back := async(both("back", 1, 0))
	require.NoError(t, <-there)
	require.NoError(t, <-back)
	require.NotEmpty(t, retries)
	for _, r := range retries {
		require.Equal(t, "40P01", txn.SQLState(r.Err))
	}
	for i, want := range []money.Minor{800, 1200, 800, 1200} {
		require.Equal(t, want, b.balance(t, ids[i]))
	}
}

// Who begins with a weak lock and goes on to a stronger one meets somebody who does the same:
// each waits for the other's weak one.
func TestStrongestLockFirst(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	id := b.customer(t, 1000)
	pool := b.db.Pool()
	share := fmt.Sprintf("select from accounts where id = %d for share", id)
	change := fmt.Sprintf("update accounts set version = version + 1 where id = %d", id)
	one, other := begin(t, pool), begin(t, pool)
	require.Equal(t, []string{"", "40P01"}, deadlocked(t, b, one, other, [2]string{share, change}, [2]string{share, change}))
	require.NoError(t, one.Rollback(t.Context()))
	require.NoError(t, other.Rollback(t.Context()))

	version := fromTable[int64](t, b, "select version from accounts where id = $1", id)
	freeze := func() error {
		return txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: freeze"}, func(ctx context.Context, tx *txn.Tx) error {
			q := db.New(tx)
			if _, err := q.LockAccount(ctx, id); err != nil {
				return err
			}
			_, err := q.SetAccountStatus(ctx, db.SetAccountStatusParams{ID: id, Status: db.AccountStatusFrozen})
			return err
		})
	}
	for _, err := range b.together(t, "accounts", []int64{id}, freeze, freeze) {
		require.NoError(t, err)
	}
	require.Equal(t, version+2, fromTable[int64](t, b, "select version from accounts where id = $1", id))
}

// The check of a foreign key takes a KEY SHARE lock on the account. FOR UPDATE, the lock that
// comes to mind first, makes everybody wait who only refers to the account.
func TestReferencesDoNotWait(t *testing.T) {
	b := setup(t, txn.Config{})
	id, other := b.customer(t, 1000), b.customer(t, 1000)
	bonus := fromTable[int64](t, b, "select transfer_id from ledger_entries where account_id = $1", other)
	references := map[string]string{
		"ledger entry": fmt.Sprintf("insert into ledger_entries (transfer_id, account_id, amount_minor) values (%d, %d, 1)", bonus, id),
		"transfer from": fmt.Sprintf(`insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
			values ('transfer', 'reference', %d, %d, 1)`, id, other),
		"transfer to": fmt.Sprintf(`insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
			values ('transfer', 'reference', %d, %d, 1)`, other, id),
	}
	for _, held := range []struct {
		name  string
		hold  func(context.Context, *txn.Tx) error
		waits bool
	}{
		{"for update", func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select from accounts where id = $1 for update", id)
			return err
		}, true},
		{"LockAccountForUpdate", func(ctx context.Context, tx *txn.Tx) error {
			_, err := db.New(tx).LockAccountForUpdate(ctx, id)
			return err
		}, true},
		{"LockAccount", func(ctx context.Context, tx *txn.Tx) error {
			_, err := db.New(tx).LockAccount(ctx, id)
			return err
		}, false},
		{"Transfer", func(ctx context.Context, tx *txn.Tx) error {
			_, err := account.Transfer(ctx, tx, account.TransferRequest{From: id, To: other, Amount: 1, Key: "k " + tx.Label()})
			return err
		}, false},
		{"Deposit", func(ctx context.Context, tx *txn.Tx) error {
			_, err := account.Deposit(ctx, tx, account.DepositRequest{Account: id, Amount: 1, Key: "k " + tx.Label()})
			return err
		}, false},
		{"Withdraw", func(ctx context.Context, tx *txn.Tx) error {
			_, err := account.Withdraw(ctx, tx, account.WithdrawRequest{Account: id, Amount: 1, Key: "k " + tx.Label()})
			return err
		}, false},
		{"Certify", func(ctx context.Context, tx *txn.Tx) error {
			_, err := account.Certify(ctx, tx, account.CertificateRequest{Account: id, Key: "k " + tx.Label()})
			return err
		}, false},
	} {
		for name, sql := range references {
			label := fmt.Sprintf("%s, then %s", held.name, name)
			inserting := begin(t, b.db.Pool())
			exec(t, inserting, "set local lock_timeout = '5s'")
			insert := func() error {
				_, err := inserting.Exec(t.Context(), sql)
				return err
			}
			var inserted <-chan error
			require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: label}, func(ctx context.Context, tx *txn.Tx) error {
				if err := held.hold(ctx, tx); err != nil {
					return err
				}
				if !held.waits {
					return insert()
				}
				inserted = async(insert)
				txntest.WaitBlocked(t, b.admin, int(inserting.Conn().PgConn().PID()))
				return nil
			}), label)
			if held.waits {
				require.NoError(t, <-inserted, label)
			}
			require.NoError(t, inserting.Rollback(t.Context()))
		}
	}
}

// A running balance of the bank itself is one row that every deposit changes, and waits for.
func TestDepositsDoNotWaitForOneAnother(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{LockTimeout: 5 * time.Second}})
	naive := b.naive(t)
	first, second := begin(t, naive), begin(t, naive)
	exec(t, first, "update naive.users set balance = balance - 10 where id = 1") // user 1 stands for the bank
	waiting := async(func() error {
		_, err := second.Exec(t.Context(), "update naive.users set balance = balance - 20 where id = 1")
		return err
	})
	txntest.WaitBlocked(t, b.admin, int(second.Conn().PgConn().PID()))
	require.NoError(t, first.Commit(t.Context()))
	require.NoError(t, <-waiting)

	a, c := b.customer(t, 1000), b.customer(t, 1000)
	deposit := func(ctx context.Context, in txn.Transactor, id int64) error {
		_, err := account.Deposit(ctx, in, account.DepositRequest{Account: id, Amount: 10, Key: fmt.Sprint(id)})
		return err
	}
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := deposit(ctx, tx, a); err != nil {
			return err
		}
		return deposit(txn.Detach(ctx), b.db, c) // while the first one is open
	}))
	require.Equal(t, money.Minor(2020), b.total(t))
}

// The sixteen cells of table "Conflicting Row-Level Locks" in the PostgreSQL manual, through
// the queries that take these locks.
func TestRowLockConflicts(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	type take = func(*db.Queries, context.Context, int64) (db.Account, error)
	strengths := []struct {
		name      string
		take      take
		nowait    take     // nil if no query has that form
		conflicts []string // with whom another one has to wait
	}{
		{"KEY SHARE", (*db.Queries).LockAccountForKeyShare, nil, []string{"UPDATE"}},
		{"SHARE", (*db.Queries).LockAccountForShare, (*db.Queries).LockAccountForShareNowait, []string{"NO KEY UPDATE", "UPDATE"}},
		{"NO KEY UPDATE", (*db.Queries).LockAccount, (*db.Queries).LockAccountNowait, []string{"SHARE", "NO KEY UPDATE", "UPDATE"}},
		{"UPDATE", (*db.Queries).LockAccountForUpdate, nil, []string{"KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"}},
	}
	lock := func(ctx context.Context, opts txn.Options, take take, then func(context.Context)) error {
		return txn.WithTx(ctx, b.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			a, err := take(db.New(tx), ctx, id)
			if err != nil {
				return err
			}
			require.Equal(t, id, a.ID)
			then(ctx)
			return nil
		})
	}
	cells := 0
	for _, held := range strengths {
		require.NoError(t, lock(t.Context(), txn.Options{Label: "test: " + held.name}, held.take, func(ctx context.Context) {
			for _, wanted := range strengths {
				forms := map[string]error{
					"with a timeout": lock(txn.Detach(ctx), txn.Options{Label: "test: wait", LockTimeout: 20 * time.Millisecond}, wanted.take, func(context.Context) {}),
				}
				if wanted.nowait != nil {
					forms["nowait"] = lock(txn.Detach(ctx), txn.Options{Label: "test: nowait"}, wanted.nowait, func(context.Context) {})
				}
				for form, err := range forms {
					cell := fmt.Sprintf("%s held, %s wanted, %s", held.name, wanted.name, form)
					if slices.Contains(held.conflicts, wanted.name) {
						require.ErrorIs(t, err, txn.ErrLockNotAvailable, cell)
					} else {
						require.NoError(t, err, cell)
					}
					cells++
				}
			}
		}))
	}
	require.Equal(t, 16+8, cells)
}
