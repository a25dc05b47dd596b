package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A Cancelled is an order that was ended before it was shipped.
type Cancelled struct {
	OrderID int64
	Status  db.OrderStatus // cancelled; of an order that was paid, refunded
	Refund  Refund         // of what was charged; zero if nothing was, or it is not known yet

	// Replayed is true when the order had ended before, and this call did nothing.
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
	return txn.WithTxValue(ctx, t, txn.Options{Label: "order: cancel"}, func(ctx context.Context, tx *txn.Tx) (Cancelled, error) {
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
		case hasEnded(o.Status):
			return Cancelled{OrderID: o.ID, Status: o.Status, Replayed: true}, nil
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
