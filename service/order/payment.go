package order

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
)

// A PaymentRequest asks for a reservation to be paid.
type PaymentRequest struct {
	ReservationID int64
	Method        db.PaymentMethod

	// Key names the request, see the package documentation; 1 to 200 printable characters of
	// ASCII, without spaces at the ends. It is also the provider's key for the charge; those that
	// begin with "order-" or "refund " are this package's own.
	Key string
}

// A Payment is what is to be paid, and what came of it.
type Payment struct {
	ID            int64
	UserID        int64
	ReservationID int64 // zero for the payment of an order that had none
	OrderID       int64 // zero while there is no order
	Amount        money.Minor
	Method        db.PaymentMethod
	Status        db.PaymentStatus
	DeclineCode   string // why the provider declined, if the status is failed

	// Replayed is true when an earlier call had done what this one asks for, and this one
	// did nothing.
	Replayed bool
}

// RequestPayment notes that a reservation is to be paid, of its total, and leaves it to a worker
// to ask the provider: the note is committed first, so that no charge is without one. What came
// of it, FindPayment says, and Confirm asks. A reservation has one payment; only if that was
// declined can there be another one, with another key.
//
// It locks the reservation FOR NO KEY UPDATE, and needs no more than READ COMMITTED. It is refused
// with ErrInvalid, ErrUnknownReservation, ErrReservationEnded (also if only its time is over),
// ErrPaymentExists, ErrKeyReused or ErrLocked.
func RequestPayment(ctx context.Context, t txn.Transactor, r PaymentRequest) (Payment, error) {
	switch {
	case !chargeable(r.Key):
		return Payment{}, &InvalidError{Field: "Key"}
	case !r.Method.Valid():
		return Payment{}, &InvalidError{Field: "Method"}
	}
	opts := txn.Options{
		Label:     "order: request payment",
		RetryAlso: []string{stateUniqueViolation}, // as for Reserve
	}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (Payment, error) {
		q := db.New(tx)
		locking := q.Queued().LockReservation(r.ReservationID)
		next := q.Queued().NextPayment()
		other := q.Queued().FindPaymentOfReservation(r.ReservationID)
		// After the lock: what another call with the key did under it is seen here.
		before, err := q.FindPaymentByKey(ctx, r.Key)
		if err == nil {
			return r.replay(before)
		}
		if !errors.Is(err, txn.ErrNotFound) {
			return Payment{}, fmt.Errorf("request payment: %w", refused(err))
		}
		reservation, err := r.payable(locking, other)
		if err != nil {
			return Payment{}, err
		}
		id, err := next.Value()
		if err != nil {
			return Payment{}, fmt.Errorf("request payment: %w", err)
		}
		q.Queued().CreateReservationPayment(db.CreateReservationPaymentParams{
			ID: id, ReservationID: reservation.ID, UserID: reservation.UserID, AmountMinor: reservation.TotalMinor,
			Method: r.Method, ProviderKey: r.Key,
		}).OnError(refused)
		payment := Payment{
			ID: id, UserID: reservation.UserID, ReservationID: reservation.ID, Amount: reservation.TotalMinor,
			Method: r.Method, Status: db.PaymentStatusPending,
		}
		return payment, jobs.Insert(ctx, tx, ChargeArgs{PaymentID: id}, nil)
	})
}

// chargeable reports whether a key can be that of a charge. It travels in a header, where spaces
// at the ends get lost: the provider would take "k" and "k " for one charge, of two payments.
func chargeable(key string) bool {
	printable := strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	own := strings.HasPrefix(key, "order-") || strings.HasPrefix(key, "refund ")
	return key != "" && printable && !own && strings.Trim(key, " ") == key
}

// payable returns the reservation if it can be paid.
func (r PaymentRequest) payable(locking *txn.Pending[db.LockReservationRow], other *txn.Pending[db.Payment]) (db.LockReservationRow, error) {
	reservation, err := locking.Value()
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return reservation, &UnknownReservationError{ReservationID: r.ReservationID}
	case err != nil:
		return reservation, fmt.Errorf("request payment: %w", err)
	}
	payment, err := other.Value()
	switch {
	case err == nil:
		return reservation, &PaymentExistsError{ReservationID: reservation.ID, PaymentID: payment.ID, Status: payment.Status}
	case !errors.Is(err, txn.ErrNotFound):
		return reservation, fmt.Errorf("request payment: %w", err)
	case reservation.Status != db.ReservationStatusActive || reservation.Overdue:
		return reservation, ended(lockedReservation(reservation))
	}
	return reservation, nil
}

// replay answers with what the request's key did before, if that was the same request.
func (r PaymentRequest) replay(before db.Payment) (Payment, error) {
	payment := paymentOf(before)
	if payment.ReservationID != r.ReservationID || payment.Method != r.Method {
		return Payment{}, fmt.Errorf("%w: key %q", ErrKeyReused, r.Key)
	}
	payment.Replayed = true
	return payment, nil
}

func paymentOf(row db.Payment) Payment {
	return Payment{
		ID: row.ID, UserID: row.UserID, ReservationID: value(row.ReservationID), OrderID: value(row.OrderID),
		Amount: row.AmountMinor, Method: row.Method, Status: row.Status, DeclineCode: value(row.DeclineCode),
	}
}

// value is what a column holds, or zero for NULL.
func value[T any](column *T) (v T) {
	if column != nil {
		v = *column
	}
	return v
}

// lockedReservation is the row that LockReservation returns, without what that adds.
func lockedReservation(r db.LockReservationRow) db.InventoryReservation {
	return db.InventoryReservation{
		ID: r.ID, UserID: r.UserID, IdempotencyKey: r.IdempotencyKey, Status: r.Status, TotalMinor: r.TotalMinor,
		OrderID: r.OrderID, ExpiresAt: r.ExpiresAt, ClosedAt: r.ClosedAt, CreatedAt: r.CreatedAt,
	}
}

// RequestCharge leaves the payment of an order that was placed (Place) to a worker. It may be
// called again: the worker asks for what is still to be paid, and the provider charges once.
//
// It locks nothing, and needs no more than READ COMMITTED. It is refused with ErrUnknownPayment,
// which has no id, if there is no such order, or ErrPaymentStatus if its payment is not pending.
func RequestCharge(ctx context.Context, t txn.Transactor, order int64) error {
	return txn.WithTx(ctx, t, txn.Options{Label: "order: request charge"}, func(ctx context.Context, tx *txn.Tx) error {
		payment, err := db.New(tx).FindPaymentOfOrder(ctx, order)
		switch {
		case errors.Is(err, txn.ErrNotFound):
			return &UnknownPaymentError{}
		case err != nil:
			return fmt.Errorf("request charge: %w", err)
		case payment.Status != db.PaymentStatusPending:
			return &PaymentStatusError{PaymentID: payment.ID, Status: payment.Status}
		}
		return jobs.Insert(ctx, tx, ChargeArgs{PaymentID: payment.ID}, nil)
	})
}

// FindPayment returns a payment as it was last committed, by its id.
//
// It locks nothing, and needs no more than READ COMMITTED. It is refused with ErrUnknownPayment.
func FindPayment(ctx context.Context, t txn.ReadTransactor, payment int64) (Payment, error) {
	opts := txn.Options{Label: "order: find a payment"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (Payment, error) {
		row, err := db.NewRead(rx).GetPayment(ctx, payment)
		if errors.Is(err, txn.ErrNotFound) {
			return Payment{}, &UnknownPaymentError{PaymentID: payment}
		}
		if err != nil {
			return Payment{}, fmt.Errorf("find a payment: %w", err)
		}
		return paymentOf(row), nil
	})
}

// An UnsettledRequest asks for what somebody has to look into.
type UnsettledRequest struct {
	After time.Duration // without an answer; zero is KeyLifetime, after which nobody asks again
	Limit int           // how many of each; zero is DefaultUnsettled
}

// DefaultUnsettled is how many payments and how many refunds FindUnsettled returns.
const DefaultUnsettled = 100

// An Unsettled is money of which nobody knows where it is, or that does not go where it should.
type Unsettled struct {
	Payments []Payment // not answered, or never asked for
	Refunds  []Refund  // not answered, or never asked for, or declined and not asked for anew
}

// FindUnsettled lists the payments and refunds that workers have given up on (ErrUnsettled) or
// never came to, because nobody told them or the job was lost, and the refunds that were declined,
// those first that have been for longest. Look them up at the provider, and tell RecordCharge or
// RecordRefund; ask for a refund that was declined by RequestRefund, when what was in its way is
// gone, and for an order's payment by RequestCharge, or cancel the order.
//
// It locks nothing, and READ COMMITTED is enough. Its errors are the server's, or ErrInvalid.
func FindUnsettled(ctx context.Context, t txn.ReadTransactor, r UnsettledRequest) (Unsettled, error) {
	switch {
	case r.After < 0:
		return Unsettled{}, &InvalidError{Field: "After"}
	case r.Limit < 0:
		return Unsettled{}, &InvalidError{Field: "Limit"}
	case r.Limit == 0:
		r.Limit = DefaultUnsettled
	}
	age, limit := milliseconds(r.After), int64(r.Limit)
	opts := txn.Options{Label: "order: find unsettled"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (Unsettled, error) {
		q := db.NewRead(rx)
		listing := q.Queued().ListUnsettledPayments(db.ListUnsettledPaymentsParams{MaxAgeMs: age, MaxRows: limit})
		refunds, err := q.ListUnsettledRefunds(ctx, db.ListUnsettledRefundsParams{MaxAgeMs: age, MaxRows: limit})
		if err != nil {
			return Unsettled{}, fmt.Errorf("find unsettled: %w", err)
		}
		payments, err := listing.Value()
		if err != nil {
			return Unsettled{}, fmt.Errorf("find unsettled: %w", err)
		}
		return Unsettled{Payments: column(payments, paymentOf), Refunds: column(refunds, refundOf)}, nil
	})
}

// A ChargeResult is what a provider answered to a charge: either it has a reference, or it was
// declined.
type ChargeResult struct {
	PaymentID   int64
	Reference   string // the provider's name for the charge; "" if it declined
	DeclineCode string // why it declined; "" if it did not
}

// RecordCharge records what the provider answered, once: a payment that is not pending any more
// stays as it is, and is returned with Replayed set, or, if the answer is another one about the
// money, refused. Money that comes too late, because the
// reservation or the order ended meanwhile, goes back: the refund is noted in the same
// transaction. An order that waited for its payment is paid by it, or, if the provider declined,
// cancelled by a job.
//
// It locks the payment's reservation or order, and the payment, FOR NO KEY UPDATE, in this order,
// and needs no more than READ COMMITTED. It is refused with ErrInvalid, ErrUnknownPayment or
// ErrContradiction.
func RecordCharge(ctx context.Context, t txn.Transactor, r ChargeResult) (Payment, error) {
	if (r.Reference == "") == (r.DeclineCode == "") {
		return Payment{}, &InvalidError{Field: "Reference"}
	}
	return txn.WithTxValue(ctx, t, txn.Options{Label: "order: record charge"}, func(ctx context.Context, tx *txn.Tx) (Payment, error) {
		q := db.New(tx)
		reserving := q.Queued().LockReservationOfPayment(r.PaymentID)
		ordering := q.Queued().LockOrderOfPayment(r.PaymentID)
		row, err := q.LockPayment(ctx, r.PaymentID)
		if errors.Is(err, txn.ErrNotFound) {
			return Payment{}, &UnknownPaymentError{PaymentID: r.PaymentID}
		}
		if err != nil {
			return Payment{}, fmt.Errorf("record charge: %w", refused(err))
		}
		payment := paymentOf(row)
		if row.Status != db.PaymentStatusPending {
			if r.Reference != value(row.ChargeReference) {
				return Payment{}, &ContradictionError{PaymentID: row.ID, Reference: r.Reference}
			}
			payment.Replayed = true
			return payment, nil
		}
		if r.DeclineCode != "" {
			q.Queued().FailPayment(db.FailPaymentParams{ID: row.ID, DeclineCode: r.DeclineCode}).OnError(refused)
			payment.Status, payment.DeclineCode = db.PaymentStatusFailed, r.DeclineCode
			if payment.OrderID != 0 {
				err = jobs.Insert(ctx, tx, CancelUnpaidArgs{OrderID: payment.OrderID}, nil)
			}
			return payment, err
		}
		order, isWanted, err := wanted(reserving, ordering)
		if err != nil {
			return Payment{}, fmt.Errorf("record charge: %w", err)
		}
		payment.Status = db.PaymentStatusCompleted
		if !isWanted {
			payment.Status = db.PaymentStatusRefunding
		}
		q.Queued().CompletePayment(db.CompletePaymentParams{
			ID: row.ID, Status: payment.Status, ChargeReference: r.Reference,
		}).OnError(refused)
		switch {
		case !isWanted:
			err = refundLate(ctx, tx, row)
		case order != nil && order.Status == db.OrderStatusPending:
			err = payOrder(ctx, tx, *order)
		}
		if err != nil {
			return Payment{}, fmt.Errorf("record charge: %w", err)
		}
		return payment, nil
	})
}

// refundLate gives back what was charged when nobody wanted it any more.
func refundLate(ctx context.Context, tx *txn.Tx, payment db.Payment) error {
	id, err := db.New(tx).NextRefund(ctx)
	if err != nil {
		return err
	}
	_, err = noteRefund(ctx, tx, id, payment, 1, "it was charged too late")
	return err
}

// payOrder moves an order on that waited for its payment.
func payOrder(ctx context.Context, tx *txn.Tx, order db.Order) error {
	if err := move(db.New(tx).Queued(), order, db.OrderStatusPaid, false); err != nil {
		return err
	}
	return jobs.Insert(ctx, tx, ConfirmationArgs{OrderID: order.ID}, nil)
}

// wanted says whether there is still something to pay: an order that has not ended, or goods
// that are kept for one.
func wanted(reserving *txn.Pending[db.InventoryReservation], ordering *txn.Pending[db.Order]) (*db.Order, bool, error) {
	order, err := ordering.Value()
	if err == nil {
		return &order, !hasEnded(order.Status), nil
	}
	if !errors.Is(err, txn.ErrNotFound) {
		return nil, false, err
	}
	reservation, err := reserving.Value()
	if err != nil { // payments_purpose leaves no payment without both
		return nil, false, err
	}
	return nil, reservation.Status == db.ReservationStatusActive, nil
}

func hasEnded(s db.OrderStatus) bool {
	return s == db.OrderStatusCancelled || s == db.OrderStatusRefunded
}
