package account_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// What each call costs once the connection knows its statements.
func TestRoundTrips(t *testing.T) {
	b := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, b.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	from, to := b.customer(t, 1000), b.customer(t, 1000)
	_, old, _ := b.unwelcomed(t)
	_, warm, _ := b.unwelcomed(t)
	bonuses := []int64{warm, old}
	transfer := func(ctx context.Context, t txn.Transactor, key string) error {
		_, err := account.Transfer(ctx, t, account.TransferRequest{From: from, To: to, Amount: 1, Key: key})
		return err
	}
	for _, c := range []struct {
		name  string
		trips int
		call  func(ctx context.Context, key string) error
	}{
		{"transfer", 2, func(ctx context.Context, key string) error { return transfer(ctx, d, key) }},
		{"transfer again", 2, func(ctx context.Context, _ string) error { return transfer(ctx, d, "transfer 0") }},
		{"deposit", 2, func(ctx context.Context, key string) error {
			_, err := account.Deposit(ctx, d, account.DepositRequest{Account: from, Amount: 1, Key: key})
			return err
		}},
		{"withdraw", 2, func(ctx context.Context, key string) error {
			_, err := account.Withdraw(ctx, d, account.WithdrawRequest{Account: from, Amount: 1, Key: key})
			return err
		}},
		{"certify", 2, func(ctx context.Context, key string) error {
			_, err := account.Certify(ctx, d, account.CertificateRequest{Account: from, Key: key})
			return err
		}},
		{"exclusively, and a deposit", 4, func(ctx context.Context, key string) error {
			return exclusively(ctx, d, account.Task{Account: from, Name: "test"}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := account.Deposit(ctx, tx, account.DepositRequest{Account: from, Amount: 1, Key: key})
				return err
			})
		}},
		{"in turn, and a balance", 2, func(ctx context.Context, _ string) error {
			_, err := account.InTurn(ctx, d, account.Task{Account: from, Name: "test"}, txn.RepeatableRead,
				func(ctx context.Context, tx *txn.Tx) (money.Minor, error) { return account.Balance(ctx, tx, from) })
			return err
		}},
		{"two transfers in one transaction", 5, func(ctx context.Context, key string) error {
			return txn.WithTx(ctx, d, txn.Options{Label: "test: both"}, func(ctx context.Context, tx *txn.Tx) error {
				if err := transfer(ctx, tx, key+" there"); err != nil {
					return err
				}
				return transfer(ctx, tx, key+" and again")
			})
		}},
		{"sign up", 3, func(ctx context.Context, key string) error {
			_, err := account.SignUp(ctx, d, account.SignUpRequest{Email: key[len(key)-1:] + "@example.com", Name: key})
			return err
		}},
		{"welcome bonus", 2, func(ctx context.Context, _ string) error {
			id := bonuses[0]
			bonuses = bonuses[1:]
			_, err := account.GrantWelcomeBonus(ctx, d, id)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.call(t.Context(), c.name+" 0"))
			proxy.Reset()
			require.NoError(t, c.call(t.Context(), c.name+" 1"))
			require.Equal(t, c.trips, proxy.RoundTrips())
		})
	}
}

// The money moves in the round trip of COMMIT. Whether the answer to COMMIT is lost, or all of
// the flush's, the receipt says what was done and who moved the money.
func TestAnswerLostWithCommit(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, level := range isolations {
		for _, lost := range []string{"^commit", "RecordTransfer"} {
			name := fmt.Sprintf("%s, from %s on", level, lost)
			proxy := txntest.NewProxy(t, b.AppURL())
			d, err := txn.Open(t.Context(), proxy.URL(), txn.Config{Options: txn.Options{Isolation: level}})
			require.NoError(t, err)
			t.Cleanup(d.Close)
			from, to := b.customer(t, 1000), b.customer(t, 1000)
			r := account.TransferRequest{From: from, To: to, Amount: 300, Key: name}
			// A connection that has seen the statements, so that the next flush is one message.
			_, err = account.Transfer(t.Context(), d, account.TransferRequest{From: to, To: from, Amount: 1, Key: "warm " + r.Key})
			require.NoError(t, err)

			cut := proxy.Arm(faultproxy.Fault{SQL: lost, Answer: true, Do: faultproxy.Cut{}})
			receipt, err := account.Transfer(t.Context(), d, r)
			require.NoError(t, err, name)
			require.NoError(t, cut.WaitSession(t.Context()))
			require.False(t, receipt.Replayed, "%s: this call moved the money", name)
			require.Equal(t, fromTable[int64](t, b, "select id from transfers where idempotency_key = $1", r.Key), receipt.TransferID)
			require.Equal(t, money.Minor(701), b.balance(t, from), name)

			again, err := account.Transfer(t.Context(), d, r)
			require.NoError(t, err, name)
			require.True(t, again.Replayed, name)
			require.Equal(t, receipt.TransferID, again.TransferID)
			require.Equal(t, receipt.At, again.At)
		}
	}
}

// The same for a bonus, which has no key.
func TestBonusWhoseAnswerIsLost(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, lost := range []string{"^commit", "RecordTransfer"} {
		proxy := txntest.NewProxy(t, b.AppURL())
		d, err := txn.Open(t.Context(), proxy.URL(), txn.Config{})
		require.NoError(t, err)
		t.Cleanup(d.Close)
		_, warm, _ := b.unwelcomed(t)
		_, err = account.GrantWelcomeBonus(t.Context(), d, warm)
		require.NoError(t, err)

		_, first, second := b.unwelcomed(t)
		cut := proxy.Arm(faultproxy.Fault{SQL: lost, Answer: true, Do: faultproxy.Cut{}})
		receipt, err := account.GrantWelcomeBonus(t.Context(), d, first)
		require.NoError(t, err, lost)
		require.NoError(t, cut.WaitSession(t.Context()))
		require.False(t, receipt.Replayed, "%s: this call paid it", lost)
		again, err := account.GrantWelcomeBonus(t.Context(), d, second)
		require.NoError(t, err)
		require.True(t, again.Replayed)
		require.Equal(t, receipt.TransferID, again.TransferID)
		require.Equal(t, account.WelcomeBonus, b.balance(t, first)+b.balance(t, second))
	}
}

// A request that carries the key of another one, and does not hear what came of its COMMIT, is
// not told that its money has moved.
func TestKeyReusedAndAnswerLost(t *testing.T) {
	b := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, b.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), txn.Config{})
	require.NoError(t, err)
	t.Cleanup(d.Close)
	payer, payee, other := b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000)
	deposit := func(key string) error {
		_, err := account.Deposit(t.Context(), d, account.DepositRequest{Account: other, Amount: 100, Key: key})
		return err
	}
	require.NoError(t, deposit("warm")) // so that the next flush is one message

	cut := proxy.Arm(faultproxy.Fault{SQL: "RecordTransfer", Answer: true, Do: faultproxy.Cut{}})
	var second <-chan error
	err = txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := account.Transfer(ctx, tx, account.TransferRequest{From: payer, To: payee, Amount: 100, Key: "k"})
		if err != nil {
			return err
		}
		second = async(func() error { return deposit("k") })
		waitBlocked(t, b.admin, 1)
		return nil
	})
	require.NoError(t, err)
	err = <-second
	require.NoError(t, cut.WaitSession(t.Context()))
	require.ErrorIs(t, err, account.ErrKeyReused)
	_, committed := errors.AsType[*txn.HookError](err)
	require.False(t, committed, err)
	require.Equal(t, money.Minor(1100), b.balance(t, other), "nothing but the first deposit")
}
