package booking

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A ChangeRequest names a booking that a user wants to change.
type ChangeRequest struct {
	Booking int64
	User    int64 // whose it is
}

// Confirm makes a booking of a hold, if it has not ended, by the server's clock. What is
// confirmed already stays so.
//
// It locks the user's key, so that the number of seats is not exceeded by one that is confirmed
// at the moment at which it would have ended; then the seat FOR NO KEY UPDATE, then the
// booking; at any isolation level.
//
// It is refused with ErrExpired, ErrState, ErrBusy or ErrUnknownBooking.
func Confirm(ctx context.Context, t txn.Transactor, r ChangeRequest) (Ticket, error) {
	opts := LimitByLock.options("booking: confirm", r.User)
	row, err := ask(ctx, t, opts, func(q *db.QueuedQueries) *txn.Pending[db.ConfirmBookingRow] {
		q.LockSeatOfBooking(db.LockSeatOfBookingParams{BookingID: r.Booking, UserID: r.User})
		return q.ConfirmBooking(db.ConfirmBookingParams{ID: r.Booking, UserID: r.User})
	})
	if err != nil {
		return Ticket{}, r.failed(err)
	}
	return r.changed(db.EndBookingRow(row), db.BookingStatusConfirmed)
}

// Release gives a hold back before it ends, by the server's clock. What is released already
// stays so. What has been confirmed is not a hold any more: Cancel is for that.
//
// It locks the seat FOR NO KEY UPDATE, then the booking; at any isolation level.
//
// It is refused with ErrExpired, ErrState, ErrBusy or ErrUnknownBooking.
func Release(ctx context.Context, t txn.Transactor, r ChangeRequest) (Ticket, error) {
	return r.end(ctx, t, "booking: release", db.BookingStatusReleased)
}

// Cancel ends a confirmed booking, or a hold that has not ended by itself: the seat is free
// again. What is cancelled already stays so.
//
// It locks the seat FOR NO KEY UPDATE, then the booking; at any isolation level.
//
// It is refused with ErrExpired, ErrState, ErrBusy or ErrUnknownBooking.
func Cancel(ctx context.Context, t txn.Transactor, r ChangeRequest) (Ticket, error) {
	return r.end(ctx, t, "booking: cancel", db.BookingStatusCancelled)
}

func (r ChangeRequest) end(ctx context.Context, t txn.Transactor, label string, status db.BookingStatus) (Ticket, error) {
	row, err := ask(ctx, t, txn.Options{Label: label}, func(q *db.QueuedQueries) *txn.Pending[db.EndBookingRow] {
		q.LockSeatOfBooking(db.LockSeatOfBookingParams{BookingID: r.Booking, UserID: r.User})
		return q.EndBooking(db.EndBookingParams{ID: r.Booking, UserID: r.User, Status: status})
	})
	if err != nil {
		return Ticket{}, r.failed(err)
	}
	return r.changed(row, status)
}

func (r ChangeRequest) failed(err error) error {
	if errors.Is(err, txn.ErrNotFound) {
		return fmt.Errorf("%w: %d", ErrUnknownBooking, r.Booking)
	}
	return fmt.Errorf("booking %d: %w", r.Booking, err)
}

// changed is what became of a booking that was to get a status, and before was what row says.
func (r ChangeRequest) changed(row db.EndBookingRow, status db.BookingStatus) (Ticket, error) {
	switch {
	case row.Done || row.Status == status:
		return Ticket{
			BookingID: r.Booking, EventID: row.EventID, SeatID: row.SeatID, Seat: row.Label,
			Status: status, Until: until(row.ExpiresAt), Replayed: !row.Done,
		}, nil
	case row.Status == db.BookingStatusExpired || row.Status == db.BookingStatusHeld:
		return Ticket{}, &ExpiredError{BookingID: r.Booking, At: until(row.ExpiresAt)}
	}
	return Ticket{}, &StateError{BookingID: r.Booking, Status: row.Status}
}

// Find returns a user's booking. A hold that has ended is expired, whether it was swept or
// not. It locks nothing, at any isolation level.
//
// It is refused with ErrUnknownBooking.
func Find(ctx context.Context, t txn.ReadTransactor, r ChangeRequest) (Ticket, error) {
	row, err := read(ctx, t, "booking: find", func(q *db.QueuedReadQueries) *txn.Pending[db.GetBookingRow] {
		return q.GetBooking(db.GetBookingParams{ID: r.Booking, UserID: r.User})
	})
	if err != nil {
		return Ticket{}, r.failed(err)
	}
	b := row.Booking
	if row.Overdue {
		b.Status = db.BookingStatusExpired
	}
	return Ticket{
		BookingID: b.ID, EventID: b.EventID, SeatID: b.SeatID, Seat: row.Label, Status: b.Status, Until: until(b.ExpiresAt),
	}, nil
}
