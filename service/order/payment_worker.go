package order

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// KeyLifetime is for how long a provider is asked again for what it has not answered, unless a
// worker says otherwise. Providers forget keys, many after a day: who asks with a forgotten one
// charges twice.
const KeyLifetime = 23 * time.Hour

// How a provider that does not answer is asked again: River's pauses grow with the fourth power
// of the attempt, and the one that ends after KeyLifetime would begin after two thirds of it.
const (
	askPause    = 15 * time.Minute // and up to a tenth more
	quickAsks   = 5                // whose pauses are River's, of seconds to ten minutes
	askAttempts = 500              // more than KeyLifetime has room for, so that time alone ends the asking
)

// askAgain is when a provider is asked again after an attempt; zero leaves it to River.
func askAgain(job *rivertype.JobRow) time.Time {
	if job.Attempt <= quickAsks {
		return time.Time{}
	}
	// Not all of them at once, when they have failed at once.
	return time.Now().Add(askPause + rand.N(askPause/10))
}

// recordTimeout is how long the recording of an answer may take, also when the worker stops.
const recordTimeout = 10 * time.Second

// ErrUnsettled is returned when a provider was asked first longer ago than it remembers keys,
// and nobody knows whether it has charged or refunded. The job is given up; the row stays
// pending. Somebody has to look it up at the provider, and tell RecordCharge or RecordRefund.
var ErrUnsettled = errors.New("order: the provider's answer is unknown, and it is too late to ask again")

// A ChargeArgs is a job that asks the provider for a payment.
type ChargeArgs struct {
	PaymentID int64 `json:"payment_id"`
}

// Kind names the job.
func (ChargeArgs) Kind() string { return "order.charge" }

// InsertOpts let the job be tried for as long as there is sense in it.
func (ChargeArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: askAttempts} }

// A ChargeWorker asks the provider for payments. It may be killed at any moment: the payment was
// noted before, the provider is asked outside of any transaction and with the payment's key, and
// a job that is worked again asks with the same one.
type ChargeWorker struct {
	river.WorkerDefaults[ChargeArgs]
	DB          *txn.DB
	Provider    PaymentProvider
	KeyLifetime time.Duration // zero is KeyLifetime
}

// NextRetry keeps the pauses short enough for the provider's memory.
func (w *ChargeWorker) NextRetry(job *river.Job[ChargeArgs]) time.Time { return askAgain(job.JobRow) }

// Work asks for the payment, if it is still to be made, and records the answer.
func (w *ChargeWorker) Work(ctx context.Context, job *river.Job[ChargeArgs]) error {
	id := job.Args.PaymentID
	payment, err := db.Autocommit(w.DB).BeginCharge(ctx, db.BeginChargeParams{ID: id, MaxAgeMs: milliseconds(w.KeyLifetime)})
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return nil // it has its answer, or was given up
	case err != nil:
		return fmt.Errorf("charge payment %d: %w", id, err)
	case payment.Overdue:
		return river.JobCancel(fmt.Errorf("%w: payment %d", ErrUnsettled, id))
	}
	receipt, err := ask(ctx, payment.AmountMinor, func(ctx context.Context) (ProviderReceipt, error) {
		return w.Provider.Charge(ctx, ChargeRequest{
			Key: payment.ProviderKey, UserID: payment.UserID, Amount: payment.AmountMinor, Method: payment.Method,
		})
	})
	declined, isDeclined := errors.AsType[*DeclinedError](err)
	if err != nil && !isDeclined {
		return fmt.Errorf("charge payment %d: %w", id, err)
	}
	result := ChargeResult{PaymentID: id, Reference: receipt.Reference}
	if isDeclined {
		result = ChargeResult{PaymentID: id, DeclineCode: declined.Code}
	}
	ctx, cancel := recording(ctx)
	defer cancel()
	_, err = RecordCharge(ctx, w.DB, result)
	return recorded(err)
}

// A RefundArgs is a job that asks the provider for a refund.
type RefundArgs struct {
	RefundID int64 `json:"refund_id"`
}

// Kind names the job.
func (RefundArgs) Kind() string { return "order.refund" }

// InsertOpts let the job be tried for as long as there is sense in it.
func (RefundArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: askAttempts} }

// A RefundWorker asks the provider for refunds, as a ChargeWorker for payments.
type RefundWorker struct {
	river.WorkerDefaults[RefundArgs]
	DB          *txn.DB
	Provider    PaymentProvider
	KeyLifetime time.Duration // zero is KeyLifetime
}

// NextRetry keeps the pauses short enough for the provider's memory.
func (w *RefundWorker) NextRetry(job *river.Job[RefundArgs]) time.Time { return askAgain(job.JobRow) }

// Work asks for the refund, if it is still to be made, and records the answer.
func (w *RefundWorker) Work(ctx context.Context, job *river.Job[RefundArgs]) error {
	id := job.Args.RefundID
	refund, err := db.Autocommit(w.DB).BeginRefund(ctx, db.BeginRefundParams{ID: id, MaxAgeMs: milliseconds(w.KeyLifetime)})
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return nil // it has its answer
	case err != nil:
		return fmt.Errorf("refund %d: %w", id, err)
	case refund.Overdue:
		return river.JobCancel(fmt.Errorf("%w: refund %d", ErrUnsettled, id))
	}
	receipt, err := ask(ctx, refund.AmountMinor, func(ctx context.Context) (ProviderReceipt, error) {
		return w.Provider.Refund(ctx, ProviderRefund{
			Key: refund.ProviderKey, Charge: value(refund.ChargeReference), Amount: refund.AmountMinor,
		})
	})
	declined, isDeclined := errors.AsType[*DeclinedError](err)
	if err != nil && !isDeclined {
		return fmt.Errorf("refund %d: %w", id, err)
	}
	result := RefundResult{RefundID: id, Reference: receipt.Reference}
	if isDeclined {
		result = RefundResult{RefundID: id, DeclineCode: declined.Code}
	}
	ctx, cancel := recording(ctx)
	defer cancel()
	return recorded(RecordRefund(ctx, w.DB, result))
}

// ask asks a provider, unless it is about no money: that moves by itself.
func ask(ctx context.Context, amount money.Minor, provider func(context.Context) (ProviderReceipt, error)) (ProviderReceipt, error) {
	if amount == 0 {
		return ProviderReceipt{Reference: "nothing to pay"}, nil
	}
	return provider(ctx)
}

// recording is a context for what was answered: to drop it because the worker stops would leave
// the question open for the next one.
func recording(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}

// recorded gives a job up whose answer contradicts what is recorded. Another attempt would find
// nothing to do, and end as if all were well.
func recorded(err error) error {
	if errors.Is(err, ErrContradiction) {
		return river.JobCancel(err)
	}
	return err
}

func milliseconds(lifetime time.Duration) int64 {
	if lifetime == 0 {
		lifetime = KeyLifetime
	}
	return lifetime.Milliseconds()
}
