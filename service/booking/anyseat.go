package booking

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A BookAnyRequest asks for some seat of an event.
type BookAnyRequest struct {
	Event   int64
	User    int64
	Key     string  // names the request among the user's, see the package documentation; 1 to 200 characters
	LimitBy LimitBy // zero: LimitByLock
}

// BookAny books the first seat that is free, or whose hold has ended, and that nobody else is
// taking at the moment. Many who ask at a time get different seats, without waiting for one
// another. A request with a key that was carried out before gets the ticket of then: its
// Status says what has become of it.
//
// It locks the user's key, then the seat FOR NO KEY UPDATE SKIP LOCKED, at any isolation
// level. READ COMMITTED suits it best: above it, a seat that was taken since the snapshot is a
// serialization failure, and the request is run again.
//
// It is refused with ErrSoldOut, ErrLimit, ErrBusy, ErrUnknownEvent, ErrUnknownUser,
// ErrKeyReused or ErrInvalid.
func BookAny(ctx context.Context, t txn.Transactor, r BookAnyRequest) (Ticket, error) {
	return r.take(ctx, t, "booking: book any", nil)
}

// A HoldAnyRequest asks for some seat of an event to be kept for a user.
type HoldAnyRequest struct {
	BookAnyRequest
	For time.Duration // up to MaxHold, from a microsecond on
}

// HoldAny is BookAny for a hold. It locks as BookAny does, at any isolation level, and is
// refused with the same errors.
func HoldAny(ctx context.Context, t txn.Transactor, r HoldAnyRequest) (Ticket, error) {
	holdFor, err := holdTime(r.For)
	if err != nil {
		return Ticket{}, err
	}
	return r.take(ctx, t, "booking: hold any", &holdFor)
}

func (r BookAnyRequest) take(ctx context.Context, t txn.Transactor, label string, holdFor *int64) (Ticket, error) {
	if r.Key == "" {
		return Ticket{}, &InvalidError{Field: "Key"}
	}
	row, err := ask(ctx, t, r.LimitBy.options(label, r.User), func(q *db.QueuedQueries) *txn.Pending[db.BookAnySeatRow] {
		return q.BookAnySeat(db.BookAnySeatParams{EventID: r.Event, UserID: r.User, IdempotencyKey: r.Key, HoldFor: holdFor})
	})
	if errors.Is(err, txn.ErrNotFound) {
		return Ticket{}, fmt.Errorf("%w: %d", ErrUnknownEvent, r.Event)
	}
	if err != nil {
		return Ticket{}, fmt.Errorf("any seat of event %d: %w", r.Event, err)
	}
	switch {
	case row.BookingID != 0 && !row.Made && (row.EventID != r.Event || (row.ExpiresAt == nil) != (holdFor == nil)):
		return Ticket{}, fmt.Errorf("%w: key %q", ErrKeyReused, r.Key)
	case row.BookingID != 0:
		return Ticket{
			BookingID: row.BookingID, EventID: row.EventID, SeatID: row.SeatID, Seat: row.Label,
			Status: row.Status, Until: until(row.ExpiresAt), Replayed: !row.Made,
		}, nil
	case row.SeatsHad >= int64(row.SeatsPerUser):
		return Ticket{}, &LimitError{EventID: r.Event, UserID: r.User, Limit: int(row.SeatsPerUser), Has: int(row.SeatsHad)}
	}
	return Ticket{}, &SoldOutError{EventID: r.Event, Contended: row.Contended}
}
