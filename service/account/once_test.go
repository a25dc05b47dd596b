package account_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// isolations are the levels that a program may have chosen for all its transactions.
var isolations = []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable}

// at returns a DB on the test's database whose transactions are of that level. At READ
// COMMITTED the locks alone make everything right, so there is no second attempt.
func (b *books) at(level txn.Isolation) *txn.DB {
	opts := txn.Options{Isolation: level}
	if level == txn.ReadCommitted {
		opts.MaxAttempts = 1
	}
	return txn.New(b.db.Pool(), watched(txn.Config{Options: opts}))
}

// A request without a name that is sent twice is two requests.
func TestSameRequestAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	for range 2 {
		success, _ := naiveTransfer(t.Context(), naive, 1, 2, 300)
		require.True(t, success)
	}
	require.EqualValues(t, 400, b.naiveBalance(t, 1), "paid twice")

	for _, level := range isolations {
		// After the larger one the second call finds too little in the account, too.
		for _, amount := range []money.Minor{300, 1000} {
			d, name := b.at(level), fmt.Sprintf("%s, %s", level, amount)
			from, to := b.customer(t, 1000), b.customer(t, 1000)
			r := account.TransferRequest{From: from, To: to, Amount: amount, Key: name}
			var receipts [2]account.Receipt
			send := func(n int) func() error {
				return func() (err error) {
					receipts[n], err = account.Transfer(t.Context(), d, r)
					return err
				}
			}
			for _, err := range b.together(t, "accounts", []int64{from, to}, send(0), send(1)) {
				require.NoError(t, err, name)
			}
			require.NotEqual(t, receipts[0].Replayed, receipts[1].Replayed, "%s: one of them moved the money", name)
			receipts[0].Replayed, receipts[1].Replayed = false, false
			require.Equal(t, receipts[0], receipts[1], name)
			require.Equal(t, 1000-amount, b.balance(t, from), name)
			require.Equal(t, []money.Minor{account.WelcomeBonus, amount}, b.statement(t, to), name)
		}
	}
}

// Two requests of one name that lock different accounts meet at the name. The second one
// waits for what becomes of the first.
func TestSameKeyForAnotherRequestAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	broke := errors.New("the caller changed its mind")
	for _, level := range isolations {
		d := b.at(level)
		for _, outcome := range []error{nil, broke} {
			name := fmt.Sprintf("%s, first one: %v", level, outcome)
			payer, payee, other := b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000)
			var second <-chan error
			err := txn.WithTx(t.Context(), d, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := account.Transfer(ctx, tx, account.TransferRequest{From: payer, To: payee, Amount: 100, Key: name})
				if err != nil {
					return err
				}
				second = async(func() error {
					_, err := account.Deposit(t.Context(), d, account.DepositRequest{Account: other, Amount: 100, Key: name})
					return err
				})
				waitBlocked(t, b.admin, 1)
				return outcome
			})
			require.ErrorIs(t, err, outcome, name)
			if outcome == nil {
				require.ErrorIs(t, <-second, account.ErrKeyReused, name)
				require.Equal(t, money.Minor(900), b.balance(t, payer), name)
				require.Equal(t, money.Minor(1000), b.balance(t, other), name)
			} else {
				require.NoError(t, <-second, name)
				require.Equal(t, money.Minor(1000), b.balance(t, payer), name)
				require.Equal(t, money.Minor(1100), b.balance(t, other), name)
			}
		}
	}
}

// The server ends the session in which a transfer waits for its lock, as a restart would.
func TestKilledWhileWaiting(t *testing.T) {
	retries := make(chan txn.Retry, 10)
	b := setup(t, txn.Config{Options: txn.Options{OnRetry: func(_ context.Context, r txn.Retry) { retries <- r }}})
	naive := b.naive(t)
	// killWaiting ends the only session that waits for a lock.
	killWaiting := func() (pid int) {
		waitBlocked(t, b.admin, 1)
		pid = fromTable[int](t, b, `
			select pid from pg_stat_activity
			where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`)
		require.True(t, fromTable[bool](t, b, "select pg_terminate_backend($1, 5000)", pid))
		return pid
	}
	holder := begin(t, b.admin)
	exec(t, holder, "select from naive.users where id = 1 for update")
	done := async(func() error {
		if success, message := naiveTransfer(t.Context(), naive, 1, 2, 300); !success {
			return errors.New(message)
		}
		return nil
	})
	killWaiting()
	err := <-done
	require.Error(t, err)
	require.False(t, txn.IsRetryable(err), "the text does not say that nothing was done")
	require.NoError(t, holder.Rollback(t.Context()))
	require.EqualValues(t, 1000, b.naiveBalance(t, 1))

	from, to := b.customer(t, 1000), b.customer(t, 1000)
	holder = begin(t, b.admin)
	exec(t, holder, "select from accounts where id = $1 for update", from)
	var receipt account.Receipt
	done = async(func() (err error) {
		receipt, err = account.Transfer(t.Context(), b.db, account.TransferRequest{From: from, To: to, Amount: 300, Key: "k"})
		return err
	})
	killed := killWaiting()
	require.NotEqual(t, killed, killWaiting(), "it waits again, in another session")
	waitBlocked(t, b.admin, 1)
	require.NoError(t, holder.Commit(t.Context()))
	require.NoError(t, <-done)
	require.False(t, receipt.Replayed)
	require.Len(t, retries, 2)
	for range 2 {
		require.True(t, txn.IsRetryable((<-retries).Err))
	}
	require.Equal(t, money.Minor(700), b.balance(t, from))
	require.Equal(t, []money.Minor{account.WelcomeBonus, 300}, b.statement(t, to))
}

// lossy is a DB whose connections lead through a proxy, and that does not ask what became of a
// COMMIT whose answer was lost.
func (b *books) lossy(t *testing.T) (*txn.DB, *faultproxy.Proxy) {
	t.Helper()
	proxy := txntest.NewProxy(t, b.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{ResolveCommits: txn.ResolveNever}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d, proxy
}

// lostCommits are a COMMIT that the server does not get, and one that it has done when the
// connection breaks. The client sees the same in both cases.
var lostCommits = map[string]faultproxy.Fault{
	"before": {SQL: "^commit$", Do: faultproxy.Cut{}},
	"after":  {SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}},
}

// Where nobody asks what became of a COMMIT whose answer was lost, the caller sends the
// request again, and the money has moved once.
func TestLostCommit(t *testing.T) {
	b := setup(t, txn.Config{})
	d, proxy := b.lossy(t)
	from, to := b.customer(t, 1000), b.customer(t, 1000)
	for kind, send := range map[string]func(key string) (account.Receipt, error){
		"transfer": func(key string) (account.Receipt, error) {
			return account.Transfer(t.Context(), d, account.TransferRequest{From: from, To: to, Amount: 50, Key: key})
		},
		"deposit": func(key string) (account.Receipt, error) {
			return account.Deposit(t.Context(), d, account.DepositRequest{Account: from, Amount: 70, Key: key})
		},
		"withdraw": func(key string) (account.Receipt, error) {
			return account.Withdraw(t.Context(), d, account.WithdrawRequest{Account: to, Amount: 30, Key: key})
		},
	} {
		for moment, lost := range lostCommits {
			key := kind + " " + moment
			cut := proxy.Arm(lost)
			receipt, err := send(key)
			require.NoError(t, cut.WaitSession(t.Context()))
			_, unknown := errors.AsType[*txn.CommitUnknownError](err)
			require.True(t, unknown, "%s: %v", key, err)
			require.Zero(t, receipt, key)

			receipt, err = send(key)
			require.NoError(t, err, key)
			require.Equal(t, moment == "after", receipt.Replayed, key)
			require.Equal(t, 1, fromTable[int](t, b, "select count(*) from transfers where idempotency_key = $1", key), key)
		}
	}
	require.Equal(t, money.Minor(1000-2*50+2*70), b.balance(t, from))
	require.Equal(t, money.Minor(1000+2*50-2*30), b.balance(t, to))
}

// Whoever did not get the answer of a sign-up tries again: without a rule about addresses that
// is another user, with another bonus.
func TestLostSignUp(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	for range 2 {
		require.NoError(t, pgx.BeginFunc(t.Context(), naive, func(tx pgx.Tx) error {
			var user int64
			if err := tx.QueryRow(t.Context(), "insert into naive.users (email) values ('eve@example.com') returning id").Scan(&user); err != nil {
				return err
			}
			exec(t, tx, "update naive.users set balance = 1000 where id = $1", user)
			exec(t, tx, "insert into naive.movements values ($1, null, 1000, 'welcome_bonus')", user)
			return nil
		}))
	}
	require.EqualValues(t, 2000, fromTable[int64](t, b, "select sum(balance)::bigint from naive.users where email = 'eve@example.com'"))

	d, proxy := b.lossy(t)
	for moment, lost := range lostCommits {
		r := account.SignUpRequest{Email: moment + "@example.com", Name: "Eve"}
		cut := proxy.Arm(lost)
		_, err := account.SignUp(t.Context(), d, r)
		require.NoError(t, cut.WaitSession(t.Context()))
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%s: %v", moment, err)
		_, err = account.SignUp(t.Context(), d, r)
		if moment == "before" {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, account.ErrEmailTaken)
		}
		id := fromTable[int64](t, b, "select a.id from accounts a join users u on u.id = a.user_id where email = $1", r.Email)
		require.Equal(t, account.WelcomeBonus, b.balance(t, id), moment)
		receipt, err := account.GrantWelcomeBonus(t.Context(), d, id)
		require.NoError(t, err)
		require.True(t, receipt.Replayed, moment)
		require.Equal(t, []money.Minor{account.WelcomeBonus}, b.statement(t, id), moment)
	}
}

// The bonus is repeated by its own transaction, by another call afterwards, and by two calls
// at once for two accounts of one user.
func TestBonusOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	for range 2 {
		exec(t, naive, "update naive.users set balance = balance + 1000 where id = 1")
		exec(t, naive, "insert into naive.movements values (1, null, 1000, 'welcome_bonus')")
	}
	require.EqualValues(t, 3000, b.naiveBalance(t, 1), "two bonuses")

	for _, level := range isolations {
		d := b.at(level)
		_, first, second := b.unwelcomed(t)
		var receipts []account.Receipt
		require.NoError(t, repeatOnce(t.Context(), d, func(ctx context.Context, tx *txn.Tx) error {
			receipt, err := account.GrantWelcomeBonus(ctx, tx, first)
			receipts = append(receipts, receipt)
			return err
		}), level)
		require.Len(t, receipts, 2)
		require.False(t, receipts[1].Replayed, "the first attempt left nothing")
		receipt, err := account.GrantWelcomeBonus(t.Context(), d, second)
		require.NoError(t, err, level)
		require.True(t, receipt.Replayed, level)
		require.Equal(t, receipts[1].TransferID, receipt.TransferID, level)

		user, first, second := b.unwelcomed(t)
		var atOnce [2]account.Receipt
		grant := func(n int, id int64) func() error {
			return func() (err error) {
				atOnce[n], err = account.GrantWelcomeBonus(t.Context(), d, id)
				return err
			}
		}
		for _, err := range b.together(t, "users", []int64{user}, grant(0, first), grant(1, second)) {
			require.NoError(t, err, level)
		}
		require.NotEqual(t, atOnce[0].Replayed, atOnce[1].Replayed, level)
		require.Equal(t, atOnce[0].TransferID, atOnce[1].TransferID, level)
		require.Equal(t, account.WelcomeBonus, b.balance(t, first)+b.balance(t, second), level)
	}
}
