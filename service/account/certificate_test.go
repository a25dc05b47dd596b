package account_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

func TestCertify(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	r := account.CertificateRequest{Account: id, AtLeast: 600, Key: "k"}
	c, err := account.Certify(t.Context(), b.db, r)
	require.NoError(t, err)
	require.NotZero(t, c.At)
	require.Equal(t, account.Certificate{ID: c.ID, Account: id, AtLeast: 600, Balance: 1000, At: c.At}, c)
	require.Equal(t, fromTable[int64](t, b, "select max(id) from ledger_entries where account_id = $1", id),
		fromTable[int64](t, b, "select last_entry_id from balance_certificates"))

	_, err = account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: id, Amount: 1000, Key: "all"})
	require.NoError(t, err)
	again, err := account.Certify(t.Context(), b.db, r)
	require.NoError(t, err, "the account is empty now, the certificate stays")
	c.Replayed = true
	require.Equal(t, c, again)
	for _, other := range []account.CertificateRequest{
		{Account: id, AtLeast: 601, Key: "k"},
		{Account: b.customer(t, 1000), AtLeast: 600, Key: "k"},
	} {
		_, err = account.Certify(t.Context(), b.db, other)
		require.ErrorIs(t, err, account.ErrKeyReused)
	}
	_, err = account.Certify(t.Context(), b.db, account.CertificateRequest{Account: id, Key: "of nothing"})
	require.NoError(t, err)
	require.Equal(t, 2, fromTable[int](t, b, "select count(*) from balance_certificates"))
}

func TestCertifyRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	id, frozen := b.customer(t, 1000), b.customer(t, 1000)
	b.set(t, frozen, "status = 'frozen'")
	external := fromTable[int64](t, b, "select id from accounts where code = 'external'")
	for name, test := range map[string]struct {
		r    account.CertificateRequest
		want error
	}{
		"no key":     {account.CertificateRequest{Account: id}, account.ErrInvalid},
		"long key":   {account.CertificateRequest{Account: id, Key: strings.Repeat("k", 201)}, account.ErrInvalid},
		"bad key":    {account.CertificateRequest{Account: id, Key: "k\x00"}, account.ErrInvalid},
		"negative":   {account.CertificateRequest{Account: id, AtLeast: -1, Key: "k"}, account.ErrInvalid},
		"nobody's":   {account.CertificateRequest{Account: 1 << 40, Key: "k"}, account.ErrUnknownAccount},
		"the bank's": {account.CertificateRequest{Account: external, Key: "k"}, account.ErrUnknownAccount},
		"frozen":     {account.CertificateRequest{Account: frozen, Key: "k"}, account.ErrNotOpen},
		"too little": {account.CertificateRequest{Account: id, AtLeast: 1001, Key: "k"}, account.ErrInsufficientFunds},
	} {
		for _, change := range []bool{false, true} {
			test.r.ThenChange = change
			c, err := account.Certify(t.Context(), b.db, test.r)
			require.ErrorIs(t, err, test.want, name)
			require.Zero(t, c, name)
		}
	}
	require.Zero(t, fromTable[int](t, b, "select count(*) from balance_certificates"))
}

// Whoever looks without a lock certifies what was true once. Under FOR SHARE what was seen stays
// true until COMMIT: changes wait, and others who certify or read do not.
func TestCertificateIsTrue(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{LockTimeout: 10 * time.Second}})
	naive := b.naive(t)
	deciding := begin(t, naive)
	var seen int64
	require.NoError(t, deciding.QueryRow(t.Context(), "select balance from naive.users where id = 1").Scan(&seen))
	require.GreaterOrEqual(t, seen, int64(700), "enough")
	exec(t, naive, "update naive.users set balance = balance - 900 where id = 1")
	exec(t, deciding, "insert into naive.movements values (1, null, null, 'certificate', $1)", seen)
	require.NoError(t, deciding.Commit(t.Context()))
	require.EqualValues(t, 1000, fromTable[int64](t, b, "select balance_after from naive.movements"), "certified")
	require.EqualValues(t, 100, b.naiveBalance(t, 1), "the truth, before the certificate was there to be seen")

	id := b.customer(t, 1000)
	var withdrawn <-chan error
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: certify"}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := account.Certify(ctx, tx, account.CertificateRequest{Account: id, AtLeast: 700, Key: "first"}); err != nil {
			return err
		}
		withdrawn = async(func() error {
			_, err := account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: id, Amount: 900, Key: "w"})
			return err
		})
		waitBlocked(t, b.admin, 1)
		other := txn.Detach(ctx)
		balance, err := account.Balance(other, b.db, id)
		require.NoError(t, err)
		require.Equal(t, money.Minor(1000), balance, "nothing has changed since")
		return nil
	}))
	require.NoError(t, <-withdrawn)
	_, err := account.Certify(t.Context(), b.db, account.CertificateRequest{Account: id, AtLeast: 700, Key: "second"})
	require.Equal(t, &account.InsufficientFundsError{AccountID: id, Available: 100, Needed: 700}, err)

	// Two at a time, neither of which ends before the other one has certified.
	shared := txntest.NewBarrier(2)
	certify := func(key string) func() error {
		return func() error {
			return txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: share"}, func(ctx context.Context, tx *txn.Tx) error {
				if _, err := account.Certify(ctx, tx, account.CertificateRequest{Account: id, AtLeast: 100, Key: key}); err != nil {
					return err
				}
				return shared.Wait(ctx)
			})
		}
	}
	one, other := async(certify("one")), async(certify("other"))
	require.NoError(t, <-one)
	require.NoError(t, <-other)
}

// Whoever certifies during a change waits for it, and certifies what it left.
func TestCertifyWaitsForChanges(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, level := range isolations {
		d, name := b.at(level), level.String()
		id := b.customer(t, 1000)
		var certified <-chan error
		require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: withdraw"}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := account.Withdraw(ctx, tx, account.WithdrawRequest{Account: id, Amount: 900, Key: name}); err != nil {
				return err
			}
			certified = async(func() error {
				_, err := account.Certify(t.Context(), d, account.CertificateRequest{Account: id, AtLeast: 700, Key: name})
				return err
			})
			waitBlocked(t, b.admin, 1)
			return nil
		}))
		require.Equal(t, &account.InsufficientFundsError{AccountID: id, Available: 100, Needed: 700}, <-certified, name)
	}
}

// A certificate costs a fee: the transaction that shares the account first, and changes it
// afterwards, waits for another one that does the same. With the strongest lock first they go
// one after the other.
func TestCertifyThenChange(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	certifyFor := func(d *txn.DB, r account.CertificateRequest, shared *txntest.Barrier) func() error {
		return func() error {
			return txn.WithTx(t.Context(), d, txn.Options{Label: "test: certify for a fee"}, func(ctx context.Context, tx *txn.Tx) error {
				if _, err := account.Certify(ctx, tx, r); err != nil {
					return err
				}
				if shared != nil {
					if err := shared.Wait(ctx); err != nil {
						return err
					}
				}
				_, err := account.Withdraw(ctx, tx, account.WithdrawRequest{Account: r.Account, Amount: 10, Key: "fee of " + r.Key})
				return err
			})
		}
	}
	id := b.customer(t, 1000)
	unwatched := txn.New(b.db.Pool(), txn.Config{Options: txn.Options{MaxAttempts: 1}}) // it would be found
	shared := txntest.NewBarrier(2)
	one := async(certifyFor(unwatched, account.CertificateRequest{Account: id, Key: "one"}, shared))
	other := async(certifyFor(unwatched, account.CertificateRequest{Account: id, Key: "other"}, shared))
	require.Equal(t, "40P01", txn.SQLState(onlyFailure(t, []error{<-one, <-other})))
	require.Equal(t, money.Minor(990), b.balance(t, id))

	for _, err := range b.together(t, "accounts", []int64{id},
		certifyFor(b.db, account.CertificateRequest{Account: id, Key: "third", ThenChange: true}, nil),
		certifyFor(b.db, account.CertificateRequest{Account: id, Key: "fourth", ThenChange: true}, nil)) {
		require.NoError(t, err)
	}
	require.Equal(t, money.Minor(970), b.balance(t, id))
	require.Equal(t, 1, fromTable[int](t, b, "select count(*) from balance_certificates where balance_minor = 990"))
	require.Equal(t, 1, fromTable[int](t, b, "select count(*) from balance_certificates where balance_minor = 980"))
}

// Those who share the account's lock meet at the key.
func TestSameCertificateAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, level := range isolations {
		d, name := b.at(level), level.String()
		id := b.customer(t, 1000)
		var made [2]account.Certificate
		certify := func(n int) func() error {
			return func() (err error) {
				made[n], err = account.Certify(t.Context(), d, account.CertificateRequest{Account: id, AtLeast: 1, Key: name})
				return err
			}
		}
		for _, err := range b.together(t, "accounts", []int64{id}, certify(0), certify(1)) {
			require.NoError(t, err, name)
		}
		require.NotEqual(t, made[0].Replayed, made[1].Replayed, name)
		require.Equal(t, made[0].ID, made[1].ID, name)
	}
}

// The certificate is made in the round trip of COMMIT.
func TestCertificateWhoseAnswerIsLost(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, lost := range []string{"^commit", "CreateCertificate"} {
		proxy := txntest.NewProxy(t, b.AppURL())
		d, err := txn.Open(t.Context(), proxy.URL(), txn.Config{})
		require.NoError(t, err)
		t.Cleanup(d.Close)
		id := b.customer(t, 1000)
		// A connection that has seen the statements, so that the next flush is one message.
		_, err = account.Certify(t.Context(), d, account.CertificateRequest{Account: id, Key: "warm " + lost})
		require.NoError(t, err)
		cut := proxy.Arm(faultproxy.Fault{SQL: lost, Answer: true, Do: faultproxy.Cut{}})
		c, err := account.Certify(t.Context(), d, account.CertificateRequest{Account: id, Key: lost})
		require.NoError(t, err, lost)
		require.NoError(t, cut.WaitSession(t.Context()))
		require.False(t, c.Replayed, lost)
		require.Equal(t, fromTable[int64](t, b, "select id from balance_certificates where idempotency_key = $1", lost), c.ID)
	}
}

// Where a lock is not taken, or passed by, the constraint of the table still refuses.
func TestCertificateAroundTheService(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	_, err := db.Autocommit(b.db).CreateCertificate(t.Context(), db.CreateCertificateParams{
		IdempotencyKey: "k", AtLeastMinor: 1001, AccountID: id,
	})
	require.Equal(t, "balance_certificates_balance_suffices", txn.ConstraintName(err), fmt.Sprint(err))
}
