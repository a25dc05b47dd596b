package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
)

// A PaymentProvider charges customers and gives them their money back. It is somebody else's
// system: it is called by workers alone, never inside a transaction, and may have done what it
// was asked although the answer is an error. Its methods are called from several goroutines.
//
// An answer is one of three: nil, it is done; a *DeclinedError, it is not done and never will
// be under this key; any other error, nobody knows, and the worker asks again with the same
// key. The key makes one effect of it, however often it is asked.
type PaymentProvider interface {
	// Charge takes money from a customer.
	Charge(ctx context.Context, r ChargeRequest) (ProviderReceipt, error)

	// Refund gives back the money of a charge.
	Refund(ctx context.Context, r ProviderRefund) (ProviderReceipt, error)
}

// A ChargeRequest asks a provider to take money.
type ChargeRequest struct {
	Key    string // the provider's idempotency key
	UserID int64  // who pays; the provider has on file by what
	Amount money.Minor
	Method db.PaymentMethod
}

// A ProviderRefund asks a provider to give back the money of a charge.
type ProviderRefund struct {
	Key    string // the provider's idempotency key, another one than the charge's
	Charge string // the charge's reference
	Amount money.Minor
}

// A ProviderReceipt is what a provider did.
type ProviderReceipt struct {
	Reference string // the provider's name for it; 1 to 200 characters
}

// ErrDeclined is returned when a provider has decided against a charge or a refund. It comes
// as a *DeclinedError.
var ErrDeclined = errors.New("order: the payment provider declined")

// A DeclinedError is returned when a provider has decided against a charge or a refund: no
// money has moved, nor will it if the request is sent again. errors.Is(err, ErrDeclined) is
// true.
type DeclinedError struct {
	Code string // the provider's reason, such as card_expired; 1 to 100 characters
}

func (e *DeclinedError) Error() string { return fmt.Sprintf("%v: %s", ErrDeclined, e.Code) }

func (e *DeclinedError) Is(target error) bool { return target == ErrDeclined }
