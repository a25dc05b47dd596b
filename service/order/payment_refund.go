package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
)

// A RefundRequest asks for the money of a payment to go back.
type RefundRequest struct {
	PaymentID int64
	Amount    money.Minor // zero, or the payment's: money goes back as a whole
	Reason    string      // for the books; 1 to 500 characters
}

// A Refund is money that is to go back, and what came of it.
type Refund struct {
	ID          int64
	PaymentID   int64
	Amount      money.Minor
	Status      db.RefundStatus
	DeclineCode string // why the provider declined, if the status is failed

	// Replayed is true when an earlier call had asked for the same, and this one did nothing.
	Replayed bool
}

// RequestRefund notes that the money of a payment is to go back, and leaves it to a worker to ask
// the provider. A payment has one refund, so the call needs no key: a second one returns the
// first one's. Only if the provider declined that, which somebody has to look into, there is
// another one, with another key to the provider.
//
// Money that paid for an order goes back by Cancel.
//
// It locks the payment FOR NO KEY UPDATE, and needs no more than READ COMMITTED. It is refused with
// ErrInvalid, ErrUnknownPayment, ErrRefundAmount, ErrPaymentStatus (nothing was charged, or it is
// not known), ErrPaymentInUse or ErrLocked.
func RequestRefund(ctx context.Context, t txn.Transactor, r RefundRequest) (Refund, error) {
	switch {
	case r.Amount < 0:
		return Refund{}, &InvalidError{Field: "Amount"}
	case r.Reason == "":
		return Refund{}, &InvalidError{Field: "Reason"}
	}
	opts := txn.Options{
		Label: "order: request refund",
		// Above READ COMMITTED a refund that was noted under the lock may not be seen. The next
		// attempt sees it.
		RetryAlso: []string{stateUniqueViolation},
	}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (Refund, error) {
		q := db.New(tx)
		locking := q.Queued().LockPayment(r.PaymentID)
		ordering := q.Queued().GetOrderOfPayment(r.PaymentID)
		next := q.Queued().NextRefund()
		refunds, err := q.ListRefundsOfPayment(ctx, r.PaymentID)
		if err != nil {
			return Refund{}, fmt.Errorf("request refund: %w", refused(err))
		}
		payment, err := locking.Value()
		switch {
		case errors.Is(err, txn.ErrNotFound):
			return Refund{}, &UnknownPaymentError{PaymentID: r.PaymentID}
		case err != nil:
			return Refund{}, fmt.Errorf("request refund: %w", err)
		case r.Amount != 0 && r.Amount != payment.AmountMinor:
			return Refund{}, &RefundAmountError{PaymentID: payment.ID, Paid: payment.AmountMinor, Asked: r.Amount}
		}
		if n := len(refunds); n > 0 && refunds[n-1].Status != db.RefundStatusFailed {
			refund := refundOf(refunds[n-1])
			refund.Replayed = true
			return refund, nil
		}
		if err := refundable(payment, ordering); err != nil {
			return Refund{}, err
		}
		if payment.Status == db.PaymentStatusCompleted {
			q.Queued().SetPaymentStatus(db.SetPaymentStatusParams{ID: payment.ID, Status: db.PaymentStatusRefunding})
		}
		id, err := next.Value()
		if err != nil {
			return Refund{}, fmt.Errorf("request refund: %w", err)
		}
		return noteRefund(ctx, tx, id, payment, len(refunds)+1, r.Reason)
	})
}

// refundable says why the money of a payment does not go back, or nil.
func refundable(payment db.Payment, ordering *txn.Pending[db.Order]) error {
	if payment.Status != db.PaymentStatusCompleted && payment.Status != db.PaymentStatusRefunding {
		return &PaymentStatusError{PaymentID: payment.ID, Status: payment.Status}
	}
	order, err := ordering.Value()
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("request refund: %w", err)
	case !hasEnded(order.Status):
		return &PaymentInUseError{PaymentID: payment.ID, OrderID: order.ID, Status: order.Status}
	}
	return nil
}

// noteRefund notes a refund of a payment, whose lock the caller holds, and its job.
func noteRefund(ctx context.Context, tx *txn.Tx, id int64, payment db.Payment, attempt int, reason string) (Refund, error) {
	db.New(tx).Queued().CreateRefund(db.CreateRefundParams{
		ID: id, PaymentID: payment.ID, AmountMinor: payment.AmountMinor, Reason: reason,
		ProviderKey: fmt.Sprintf("refund %d/%d", payment.ID, attempt),
	}).OnError(refused)
	refund := Refund{ID: id, PaymentID: payment.ID, Amount: payment.AmountMinor, Status: db.RefundStatusPending}
	return refund, jobs.Insert(ctx, tx, RefundArgs{RefundID: id}, nil)
}

// requestRefunds leaves refunds that have been noted to the workers.
func requestRefunds(ctx context.Context, tx *txn.Tx, refunds []db.Refund) error {
	if len(refunds) == 0 {
		return nil
	}
	var params []river.InsertManyParams
	for _, refund := range refunds {
		params = append(params, river.InsertManyParams{Args: RefundArgs{RefundID: refund.ID}})
	}
	return jobs.InsertMany(ctx, tx, params)
}

func refundOf(row db.Refund) Refund {
	return Refund{
		ID: row.ID, PaymentID: row.PaymentID, Amount: row.AmountMinor, Status: row.Status, DeclineCode: value(row.DeclineCode),
	}
}

// FindRefund returns the latest refund of a payment, as it was last committed.
//
// It locks nothing, and needs no more than READ COMMITTED. It is refused with ErrUnknownPayment if
// the payment has none, or there is no such payment.
func FindRefund(ctx context.Context, t txn.ReadTransactor, payment int64) (Refund, error) {
	opts := txn.Options{Label: "order: find a refund"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (Refund, error) {
		refunds, err := db.NewRead(rx).ListRefundsOfPayment(ctx, payment)
		if err != nil {
			return Refund{}, fmt.Errorf("find a refund: %w", err)
		}
		if len(refunds) == 0 {
			return Refund{}, &UnknownPaymentError{PaymentID: payment}
		}
		return refundOf(refunds[len(refunds)-1]), nil
	})
}

// A RefundResult is what a provider answered to a refund: either it has a reference, or it was
// declined.
type RefundResult struct {
	RefundID    int64
	Reference   string // the provider's name for the refund; "" if it declined
	DeclineCode string // why it declined; "" if it did not
}

// RecordRefund records what the provider answered, once: a refund that is not pending any more
// stays as it is, and if the answer is another one about the money, it is refused. The payment of one that was declined is still to go back: see RequestRefund.
//
// It locks the payment and then the refund FOR NO KEY UPDATE, and READ COMMITTED is enough. It is
// refused with ErrInvalid, ErrContradiction or, if there is no such refund, ErrUnknownPayment.
func RecordRefund(ctx context.Context, t txn.Transactor, r RefundResult) error {
	if (r.Reference == "") == (r.DeclineCode == "") {
		return &InvalidError{Field: "Reference"}
	}
	return txn.WithTx(ctx, t, txn.Options{Label: "order: record refund"}, func(ctx context.Context, tx *txn.Tx) error {
		q := db.New(tx)
		locking := q.Queued().LockPaymentOfRefund(r.RefundID)
		reading := q.Queued().GetRefund(r.RefundID) // under the lock, and before it is changed
		var err error
		if r.DeclineCode != "" {
			_, err = q.FailRefund(ctx, db.FailRefundParams{ID: r.RefundID, DeclineCode: r.DeclineCode})
		} else {
			_, err = q.CompleteRefund(ctx, db.CompleteRefundParams{ID: r.RefundID, RefundReference: r.Reference})
		}
		if err != nil {
			return fmt.Errorf("record refund: %w", refused(err))
		}
		if _, err := locking.Value(); errors.Is(err, txn.ErrNotFound) {
			return &UnknownPaymentError{}
		} else if err != nil {
			return fmt.Errorf("record refund: %w", err)
		}
		before, err := reading.Value()
		switch {
		case err != nil:
			return fmt.Errorf("record refund: %w", err)
		case before.Status != db.RefundStatusPending && r.Reference != value(before.RefundReference):
			return &ContradictionError{PaymentID: before.PaymentID, RefundID: before.ID, Reference: r.Reference}
		}
		return nil
	})
}
