package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A Cancelled is an order that was ended before it was shipped.
type Cancelled struct {
	OrderID int64
	Status  db.OrderStatus // cancelled; of an order that was paid, refunded
	Refund  Refund         // of what was charged; zero if nothing was, or it is not known yet

	// Replayed is true when the order had ended before, and this call did nothing. The refund is
	// then what has become of it by now.
	Replayed bool
}

// Cancel ends an order that was not shipped yet, once: its goods go back into stock, a payment
// that the provider was not asked for is cancelled, and what was charged goes back, all of it in
// one transaction. Of a payment without an answer yet RecordCharge decides when that comes.
//
// It locks the products of the order, the order and its payment FOR NO KEY UPDATE, in this order,
// and needs no more than READ COMMITTED. It is refused with ErrUnknownOrder, ErrLocked, or, after
// the order was shipped, ErrStatus.
func Cancel(ctx context.Context, t txn.Transactor, order int64) (Cancelled, error) {
	return cancel(ctx, t, "order: cancel", order, hasEnded)
}

// cancel is Cancel for an order that is not to be left as it is.
func cancel(ctx context.Context, t txn.Transactor, label string, order int64, leave func(db.OrderStatus) bool) (Cancelled, error) {
	return txn.WithTxValue(ctx, t, txn.Options{Label: label}, func(ctx context.Context, tx *txn.Tx) (Cancelled, error) {
		q := db.New(tx)
		q.Queued().LockProductsOfOrder(order)
		locking := q.Queued().LockOrder(order)
		listing := q.Queued().ListOrderItems(order)
		next := q.Queued().NextRefund()
		payment, err := q.LockPaymentOfOrder(ctx, order)
		hasPayment := err == nil
		if err != nil && !errors.Is(err, txn.ErrNotFound) {
			return Cancelled{}, fmt.Errorf("cancel: %w", refused(err))
		}
		o, err := locking.Value()
		switch {
		case errors.Is(err, txn.ErrNotFound):
			return Cancelled{}, &UnknownOrderError{OrderID: order}
		case err != nil:
			return Cancelled{}, fmt.Errorf("cancel: %w", err)
		case leave(o.Status):
			return cancelledBefore(ctx, q, o, payment)
		}
		items, err := listing.Value()
		if err != nil {
			return Cancelled{}, fmt.Errorf("cancel: %w", err)
		}
		cancelled := Cancelled{OrderID: o.ID, Status: db.OrderStatusCancelled}
		if o.Status == db.OrderStatusPaid {
			cancelled.Status = db.OrderStatusRefunded
		}
		if o.Status == db.OrderStatusShipped || move(q.Queued(), o, cancelled.Status, true) != nil {
			return Cancelled{}, &StatusError{OrderID: o.ID, From: o.Status, To: cancelled.Status}
		}
		q.Queued().ReturnStock(db.ReturnStockParams{
			Ids:        column(items, func(i db.OrderItem) int64 { return i.ProductID }),
			Quantities: column(items, func(i db.OrderItem) int64 { return i.Quantity }),
		})
		if err := logActivity(q.Queued(), o.UserID, "cancel_order", o.ID, nil); err != nil {
			return Cancelled{}, err
		}
		if !hasPayment {
			return cancelled, nil
		}
		id, err := next.Value()
		if err != nil {
			return Cancelled{}, fmt.Errorf("cancel: %w", err)
		}
		cancelled.Refund, err = endPayment(ctx, tx, payment, id)
		return cancelled, err
	})
}

// cancelledBefore is the answer for an order that is left as it is.
func cancelledBefore(ctx context.Context, q db.ReadQuerier, o db.Order, payment db.Payment) (Cancelled, error) {
	before := Cancelled{OrderID: o.ID, Status: o.Status, Replayed: true}
	if payment.Status != db.PaymentStatusRefunding && payment.Status != db.PaymentStatusRefunded {
		return before, nil
	}
	refunds, err := q.ListRefundsOfPayment(ctx, payment.ID)
	if err != nil {
		return Cancelled{}, fmt.Errorf("cancel: %w", err)
	}
	if len(refunds) == 0 {
		return before, nil
	}
	before.Refund = refundOf(refunds[len(refunds)-1])
	before.Refund.Replayed = true
	return before, nil
}

// endPayment ends the payment of an order that ends, whose lock the caller holds.
func endPayment(ctx context.Context, tx *txn.Tx, payment db.Payment, refund int64) (Refund, error) {
	q := db.New(tx).Queued()
	switch payment.Status {
	case db.PaymentStatusPending:
		q.CancelPayment(payment.ID)
	case db.PaymentStatusCompleted:
		q.SetPaymentStatus(db.SetPaymentStatusParams{ID: payment.ID, Status: db.PaymentStatusRefunding})
		return noteRefund(ctx, tx, refund, payment, 1, "the order was cancelled")
	}
	return Refund{}, nil
}

// A CancelUnpaidArgs is a job that cancels an order whose payment was declined.
type CancelUnpaidArgs struct {
	OrderID int64 `json:"order_id"`
}

// Kind names the job.
func (CancelUnpaidArgs) Kind() string { return "order.cancel_unpaid" }

// A CancelUnpaidWorker cancels orders that were placed and whose payment was declined: an order
// has one payment, so nobody will pay it, and its goods are for others. One that is not pending
// any more, because somebody has accepted it all the same, is left alone.
type CancelUnpaidWorker struct {
	river.WorkerDefaults[CancelUnpaidArgs]
	DB *txn.DB
}

// Work cancels the order.
func (w *CancelUnpaidWorker) Work(ctx context.Context, job *river.Job[CancelUnpaidArgs]) error {
	notPending := func(s db.OrderStatus) bool { return s != db.OrderStatusPending }
	if _, err := cancel(ctx, w.DB, "order: cancel unpaid", job.Args.OrderID, notPending); err != nil {
		return fmt.Errorf("cancel order %d, which is not paid: %w", job.Args.OrderID, err)
	}
	return nil
}
