package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A CertificateRequest asks to confirm to somebody else that a customer's account holds at
// least so much.
type CertificateRequest struct {
	Account int64
	AtLeast money.Minor // zero or more
	Key     string      // names the request, see the package documentation; 1 to 200 characters

	// ThenChange says that the caller's transaction goes on to change the account, by a
	// Withdraw of the fee for instance. It then locks the account for that at once: two
	// transactions that both share the account first and change it afterwards wait for each
	// other, and one of them fails.
	ThenChange bool
}

// A Certificate confirms what an account held at the moment when it was committed.
type Certificate struct {
	ID      int64 // in table balance_certificates
	Account int64
	AtLeast money.Minor
	Balance money.Minor
	At      time.Time // when its transaction began, by the server's clock

	// Replayed is true when an earlier call with the same key had made the certificate. What
	// the account holds by now is not looked at.
	Replayed bool
}

// Certify confirms that an account holds an amount, once for each key, and records that. The
// account is kept as it is from the look at it until COMMIT, so that no transfer gets in
// between: a certificate is true when others can see it.
//
// It locks the account FOR SHARE: who moves its money waits, who certifies it too or reads it
// does not. With ThenChange it locks FOR NO KEY UPDATE, as Transfer does. Any isolation level
// is enough. In a transaction of its own it takes two round trips.
//
// It is refused with ErrUnknownAccount, ErrNotOpen, ErrInsufficientFunds, ErrKeyReused or
// ErrInvalid.
func Certify(ctx context.Context, t txn.Transactor, r CertificateRequest) (Certificate, error) {
	switch {
	case r.Key == "":
		return Certificate{}, &InvalidError{Field: "Key"}
	case r.AtLeast < 0:
		return Certificate{}, &InvalidError{Field: "AtLeast"}
	}
	opts := txn.Options{Label: "account: certify", FlushJoined: true} // the certificate is in an answer
	c, err := txn.WithTxValue(ctx, t, opts, r.decide)
	if err != nil {
		return Certificate{}, err
	}
	made, err := c.certificate(ctx, t)
	if err != nil && !errors.Is(err, ErrKeyReused) && c.answerLost() {
		return Certificate{}, &txn.HookError{Label: opts.Label, Err: err} // there is a certificate
	}
	return made, err
}

// A certifying is a certificate that was found to have been made before, or is on its way.
type certifying struct {
	CertificateRequest
	before *db.BalanceCertificate
	row    *txn.Pending[db.BalanceCertificate]
}

// decide looks at the account under its lock, and queues the certificate.
func (r CertificateRequest) decide(ctx context.Context, tx *txn.Tx) (certifying, error) {
	q := db.New(tx)
	lock := q.Queued().LockAccountForShare
	if r.ThenChange {
		lock = q.Queued().LockAccount
	}
	locking := lock(r.Account)
	before, err := q.FindCertificateByKey(ctx, r.Key)
	if err == nil {
		return certifying{CertificateRequest: r, before: &before}, r.same(before)
	}
	if !errors.Is(err, txn.ErrNotFound) {
		return certifying{}, fmt.Errorf("certify: %w", refused(err))
	}
	a, err := locking.Value()
	if errors.Is(err, txn.ErrNotFound) || err == nil && a.Kind != db.AccountKindCustomer {
		return certifying{}, &UnknownAccountError{AccountID: r.Account}
	}
	switch {
	case err != nil:
		return certifying{}, fmt.Errorf("certify: %w", err)
	case a.Status != db.AccountStatusOpen:
		return certifying{}, &NotOpenError{AccountID: a.ID, Status: a.Status}
	case a.BalanceMinor < r.AtLeast:
		return certifying{}, &InsufficientFundsError{AccountID: a.ID, Available: a.BalanceMinor, Needed: r.AtLeast}
	}
	row := q.Queued().CreateCertificate(db.CreateCertificateParams{
		IdempotencyKey: r.Key, AtLeastMinor: int64(r.AtLeast), AccountID: r.Account,
	}).OnError(refused)
	return certifying{CertificateRequest: r, row: row}, nil
}

// answerLost reports whether the certificate was made with a COMMIT of which only the outcome
// is known.
func (c certifying) answerLost() bool {
	if c.row == nil {
		return false
	}
	_, err := c.row.Value()
	return err != nil && !errors.Is(err, txn.ErrNotFound)
}

// certificate says what came of it, once it was sent.
func (c certifying) certificate(ctx context.Context, t txn.ReadTransactor) (Certificate, error) {
	if c.before != nil {
		return certificateOf(*c.before, true), nil
	}
	row, err := c.row.Value()
	if err == nil {
		return certificateOf(row, false), nil
	}
	// Either another request has taken the key since, or the answer to this one was lost.
	opts := txn.Options{Label: "account: find a certificate"}
	made, err := txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (db.BalanceCertificate, error) {
		return db.NewRead(rx).FindCertificateByKey(ctx, c.Key)
	})
	if err != nil {
		return Certificate{}, fmt.Errorf("find the certificate of a key: %w", err)
	}
	return certificateOf(made, !c.answerLost()), c.same(made)
}

// same refuses the request if its key belongs to c, which is for another one.
func (r CertificateRequest) same(c db.BalanceCertificate) error {
	if c.AccountID != r.Account || c.AtLeastMinor != r.AtLeast {
		return fmt.Errorf("%w: key %q", ErrKeyReused, r.Key)
	}
	return nil
}

func certificateOf(c db.BalanceCertificate, replayed bool) Certificate {
	return Certificate{
		ID: c.ID, Account: c.AccountID, AtLeast: c.AtLeastMinor, Balance: c.BalanceMinor,
		At: c.CreatedAt, Replayed: replayed,
	}
}
