package order

import (
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
)

// Refusals of the checkout. Repeating the same request does not help until something else has
// changed.
var (
	// ErrUnknownReservation is returned when there is no such reservation. It comes as an
	// *UnknownReservationError.
	ErrUnknownReservation = errors.New("order: no such reservation")

	// ErrReservationEnded is returned when a reservation is not active any more, or its time is
	// over where the request needs some. It comes as a *ReservationEndedError, which says how it
	// ended.
	ErrReservationEnded = errors.New("order: the reservation has ended")

	// ErrUnknownPayment is returned when there is no such payment, or it is not the
	// reservation's. It comes as an *UnknownPaymentError.
	ErrUnknownPayment = errors.New("order: no such payment")

	// ErrPaymentExists is returned when a reservation is to be paid that has a payment already,
	// which is neither declined nor given up. It comes as a *PaymentExistsError.
	ErrPaymentExists = errors.New("order: the reservation has a payment")

	// ErrPaymentStatus is returned when a payment's status does not allow what the request
	// needs: an order needs a completed one. It comes as a *PaymentStatusError.
	ErrPaymentStatus = errors.New("order: the payment's status does not allow it")

	// ErrPaymentInUse is returned when money is to go back that has paid for an order which has
	// not ended. Cancel the order instead. It comes as a *PaymentInUseError.
	ErrPaymentInUse = errors.New("order: the payment is an order's")

	// ErrContradiction is returned when a provider's answer is recorded that says otherwise than
	// the one before about money that has moved: it was charged twice, or given back twice, or
	// although it was declined. What is recorded stays. It comes as a *ContradictionError;
	// somebody has to look it up at the provider.
	ErrContradiction = errors.New("order: the provider's answer contradicts what is recorded")

	// ErrRefundAmount is returned when more or less is to go back than was paid. It comes as a
	// *RefundAmountError, which has both amounts.
	ErrRefundAmount = errors.New("order: a refund is of the whole payment")
)

// An UnknownReservationError is returned when there is no such reservation.
// errors.Is(err, ErrUnknownReservation) is true.
type UnknownReservationError struct {
	ReservationID int64
}

func (e *UnknownReservationError) Error() string {
	return fmt.Sprintf("%v: %d", ErrUnknownReservation, e.ReservationID)
}

func (e *UnknownReservationError) Is(target error) bool { return target == ErrUnknownReservation }

// A ReservationEndedError is returned when a reservation is not active any more, or its time is
// over where the request needs some. errors.Is(err, ErrReservationEnded) is true.
type ReservationEndedError struct {
	ReservationID int64
	Status        db.ReservationStatus // active if only its time is over
	OrderID       int64                // the order of a confirmed one, else zero
	ExpiresAt     time.Time
}

func (e *ReservationEndedError) Error() string {
	return fmt.Sprintf("%v: %d is %s, and lasts until %s", ErrReservationEnded, e.ReservationID, e.Status, e.ExpiresAt.Format(time.RFC3339))
}

func (e *ReservationEndedError) Is(target error) bool { return target == ErrReservationEnded }

// An UnknownPaymentError is returned when there is no such payment, or it is not the
// reservation's. errors.Is(err, ErrUnknownPayment) is true.
type UnknownPaymentError struct {
	PaymentID int64
}

func (e *UnknownPaymentError) Error() string {
	return fmt.Sprintf("%v: %d", ErrUnknownPayment, e.PaymentID)
}

func (e *UnknownPaymentError) Is(target error) bool { return target == ErrUnknownPayment }

// A PaymentExistsError is returned when a reservation is to be paid that has a payment already.
// errors.Is(err, ErrPaymentExists) is true.
type PaymentExistsError struct {
	ReservationID int64
	PaymentID     int64 // the one that there is
	Status        db.PaymentStatus
}

func (e *PaymentExistsError) Error() string {
	return fmt.Sprintf("%v: payment %d of reservation %d is %s", ErrPaymentExists, e.PaymentID, e.ReservationID, e.Status)
}

func (e *PaymentExistsError) Is(target error) bool { return target == ErrPaymentExists }

// A PaymentStatusError is returned when a payment's status does not allow what the request
// needs. errors.Is(err, ErrPaymentStatus) is true.
type PaymentStatusError struct {
	PaymentID int64
	Status    db.PaymentStatus
}

func (e *PaymentStatusError) Error() string {
	return fmt.Sprintf("%v: payment %d is %s", ErrPaymentStatus, e.PaymentID, e.Status)
}

func (e *PaymentStatusError) Is(target error) bool { return target == ErrPaymentStatus }

// A PaymentInUseError is returned when money is to go back that has paid for an order which has
// not ended. errors.Is(err, ErrPaymentInUse) is true.
type PaymentInUseError struct {
	PaymentID int64
	OrderID   int64
	Status    db.OrderStatus // the order's
}

func (e *PaymentInUseError) Error() string {
	return fmt.Sprintf("%v: payment %d of order %d, which is %s", ErrPaymentInUse, e.PaymentID, e.OrderID, e.Status)
}

func (e *PaymentInUseError) Is(target error) bool { return target == ErrPaymentInUse }

// A ContradictionError is returned when a provider's answer says otherwise than the one that was
// recorded before. errors.Is(err, ErrContradiction) is true.
type ContradictionError struct {
	PaymentID int64
	RefundID  int64  // zero if it is about the charge
	Reference string // of the answer that was not recorded; "" if it was that the provider declined
}

func (e *ContradictionError) Error() string {
	what := fmt.Sprintf("the charge of payment %d", e.PaymentID)
	if e.RefundID != 0 {
		what = fmt.Sprintf("refund %d of payment %d", e.RefundID, e.PaymentID)
	}
	if e.Reference == "" {
		return fmt.Sprintf("%v: %s was declined", ErrContradiction, what)
	}
	return fmt.Sprintf("%v: %s is %q", ErrContradiction, what, e.Reference)
}

func (e *ContradictionError) Is(target error) bool { return target == ErrContradiction }

// A RefundAmountError is returned when more or less is to go back than was paid.
// errors.Is(err, ErrRefundAmount) is true.
type RefundAmountError struct {
	PaymentID   int64
	Paid, Asked money.Minor
}

func (e *RefundAmountError) Error() string {
	return fmt.Sprintf("%v: %s of the %s of payment %d", ErrRefundAmount, e.Asked, e.Paid, e.PaymentID)
}

func (e *RefundAmountError) Is(target error) bool { return target == ErrRefundAmount }
