package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
)

// A ConfirmRequest asks for an order of what is reserved and paid.
type ConfirmRequest struct {
	ReservationID int64
	PaymentID     int64 // of the reservation, completed
	Address       Address
	Note          string // at most 500 characters
}

// A Confirmed is an order that came of a reservation.
type Confirmed struct {
	OrderID int64
	Total   money.Minor // that of the reservation and of the payment

	// Replayed is true when an earlier call had made the order, and this one made none.
	Replayed bool
}

// Confirm makes an order of a reservation and its payment, once: with what was reserved, at the
// prices of then. The order is confirmed from the start, and with it goes a letter to the user,
// see ConfirmationWorker. A second call with the same request returns the order, with Replayed
// set.
//
// What decides is that the reservation is active, not what time it is: if it has expired, but
// the goods have not gone back yet, they are still the user's, who has paid for them. Whoever
// comes after ReleaseExpired is refused, and the money goes back.
//
// It locks the user, the reservation and the payment FOR NO KEY UPDATE, in this order, and needs no
// more than READ COMMITTED. It is refused with ErrInvalid, ErrUnknownReservation, ErrReservationEnded
// (also if another order has come of it), ErrUnknownPayment, ErrPaymentStatus or ErrLocked.
func Confirm(ctx context.Context, t txn.Transactor, r ConfirmRequest) (Confirmed, error) {
	if !storable(r.Note) {
		return Confirmed{}, &InvalidError{Field: "Note"}
	}
	address, err := r.Address.document()
	if err != nil {
		return Confirmed{}, err
	}
	digest, err := digestOf(r)
	if err != nil {
		return Confirmed{}, err
	}
	return txn.WithTxValue(ctx, t, txn.Options{Label: "order: confirm"}, func(ctx context.Context, tx *txn.Tx) (Confirmed, error) {
		q := db.New(tx)
		q.Queued().LockUserOfReservation(r.ReservationID) // a user's orders come one after another
		reserving := q.Queued().LockReservation(r.ReservationID)
		paying := q.Queued().LockPayment(r.PaymentID)
		listing := q.Queued().ListReservationItems(r.ReservationID)
		next := q.Queued().NextOrder()
		// After the reservation's lock: an order that another call made under it is seen here.
		before, err := q.FindOrderByKey(ctx, r.key())
		if err == nil && string(before.RequestDigest) == string(digest) {
			return Confirmed{OrderID: before.ID, Total: before.TotalMinor, Replayed: true}, nil
		}
		if err != nil && !errors.Is(err, txn.ErrNotFound) {
			return Confirmed{}, fmt.Errorf("confirm: %w", refused(err))
		}
		reservation, payment, err := r.ready(reserving, paying)
		if err != nil {
			return Confirmed{}, err
		}
		items, err := listing.Value()
		if err != nil {
			return Confirmed{}, fmt.Errorf("confirm: %w", err)
		}
		number, err := next.Value()
		if err != nil {
			return Confirmed{}, fmt.Errorf("confirm: %w", err)
		}
		q.Queued().CreateOrder(db.CreateOrderParams{
			ID: number.ID, UserID: reservation.UserID, IdempotencyKey: r.key(), RequestDigest: digest,
			Status: db.OrderStatusConfirmed, SubtotalMinor: reservation.TotalMinor,
			ShippingAddress: address, PaymentMethod: payment.Method, Note: r.Note,
		}).OnError(refused)
		q.Queued().CreateOrderItems(db.CreateOrderItemsParams{
			OrderID:      number.ID,
			ProductIds:   column(items, func(i db.ReservationItem) int64 { return i.ProductID }),
			ProductNames: column(items, func(i db.ReservationItem) string { return i.ProductName }),
			Quantities:   column(items, func(i db.ReservationItem) int64 { return i.Quantity }),
			UnitPrices:   column(items, func(i db.ReservationItem) int64 { return int64(i.UnitPriceMinor) }),
		})
		q.Queued().ConfirmReservation(db.ConfirmReservationParams{ID: reservation.ID, OrderID: number.ID})
		q.Queued().AttachPayment(db.AttachPaymentParams{ID: payment.ID, OrderID: number.ID})
		q.Queued().CountOrder(reservation.UserID)
		err = logActivity(q.Queued(), reservation.UserID, "confirm_order", number.ID,
			map[string]any{"reservation_id": reservation.ID, "payment_id": payment.ID, "total_minor": reservation.TotalMinor})
		if err != nil {
			return Confirmed{}, err
		}
		confirmed := Confirmed{OrderID: number.ID, Total: reservation.TotalMinor}
		return confirmed, jobs.Insert(ctx, tx, ConfirmationArgs{OrderID: number.ID}, nil)
	})
}

// confirmationKey is what the keys of orders that Confirm makes begin with, and no other's do: who
// takes the key of such an order prevents it.
const confirmationKey = "reservation "

// key is that of the order: a reservation has one.
func (r ConfirmRequest) key() string { return fmt.Sprint(confirmationKey, r.ReservationID) }

// ready returns reservation and payment, if an order can be made of them.
func (r ConfirmRequest) ready(reserving *txn.Pending[db.LockReservationRow], paying *txn.Pending[db.Payment]) (
	reservation db.LockReservationRow, payment db.Payment, err error,
) {
	reservation, err = reserving.Value()
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return reservation, payment, &UnknownReservationError{ReservationID: r.ReservationID}
	case err != nil:
		return reservation, payment, fmt.Errorf("confirm: %w", err)
	case reservation.Status != db.ReservationStatusActive:
		return reservation, payment, ended(lockedReservation(reservation))
	}
	payment, err = paying.Value()
	switch {
	case errors.Is(err, txn.ErrNotFound) || err == nil && value(payment.ReservationID) != reservation.ID:
		return reservation, payment, &UnknownPaymentError{PaymentID: r.PaymentID}
	case err != nil:
		return reservation, payment, fmt.Errorf("confirm: %w", err)
	case payment.Status != db.PaymentStatusCompleted:
		return reservation, payment, &PaymentStatusError{PaymentID: payment.ID, Status: payment.Status}
	}
	return reservation, payment, nil
}
