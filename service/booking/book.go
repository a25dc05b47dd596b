package booking

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A Ticket says which booking a request has made, found or changed.
type Ticket struct {
	BookingID int64
	EventID   int64
	SeatID    int64
	Seat      string           // its label
	Status    db.BookingStatus // of the booking, after the request
	Until     time.Time        // when a hold ends, or ended; zero for what never was a hold

	// Replayed is true when the booking was found as the request wants it: an earlier one had
	// done it, or this one, if its first answer was lost.
	Replayed bool
}

// A BookRequest asks for one seat.
type BookRequest struct {
	Event int64
	User  int64
	Seat  string // its label

	// NoWait makes the request fail with ErrBusy at once if somebody else is at the seat, or
	// another request of the user on its way.
	NoWait bool

	LimitBy LimitBy // zero: LimitByLock
}

// Book books a seat for a user. Of those who want one seat at a time one gets it, the others
// are refused with ErrTaken. A hold that has ended is in nobody's way. If the user has booked
// the seat already, that is the answer; if it holds the seat, it is refused with ErrState, and
// Confirm is the way.
//
// It locks the user's key, then the seat FOR NO KEY UPDATE, at any isolation level; see
// LimitBy. At SERIALIZABLE those who lose run twice before they are told.
//
// It is refused with ErrTaken, ErrBusy, ErrLimit, ErrState, ErrUnknownSeat, ErrUnknownUser or
// ErrInvalid.
func Book(ctx context.Context, t txn.Transactor, r BookRequest) (Ticket, error) {
	return r.take(ctx, t, "booking: book", nil)
}

// A HoldRequest asks for one seat to be kept for a user.
type HoldRequest struct {
	BookRequest
	For time.Duration // up to MaxHold, from a microsecond on
}

// MaxHold is the longest time that a seat can be held.
const MaxHold = 24 * time.Hour

// Hold keeps a seat for a user for some time, in which Confirm makes a booking of it. If the
// user has the seat already, that is the answer: a hold is not prolonged by another one, and
// what is booked stays booked.
//
// It locks as Book does, at any isolation level. It is refused with ErrTaken, ErrBusy, ErrLimit, ErrUnknownSeat,
// ErrUnknownUser or ErrInvalid.
func Hold(ctx context.Context, t txn.Transactor, r HoldRequest) (Ticket, error) {
	holdFor, err := holdTime(r.For)
	if err != nil {
		return Ticket{}, err
	}
	return r.take(ctx, t, "booking: hold", &holdFor)
}

// holdTime is the time of a hold as the server takes it.
func holdTime(d time.Duration) (microseconds int64, err error) {
	if d < time.Microsecond || d > MaxHold {
		return 0, &InvalidError{Field: "For"}
	}
	return d.Microseconds(), nil
}

// take takes the seat, for holdFor microseconds or for good.
//
// All that decides is in the server: locks, decision and COMMIT are one round trip.
func (r BookRequest) take(ctx context.Context, t txn.Transactor, label string, holdFor *int64) (Ticket, error) {
	opts := r.LimitBy.options(label, r.User)
	if r.NoWait {
		opts.LockTimeout = time.Millisecond // for the user's key, and whatever else; the least there is
	}
	row, err := ask(ctx, t, opts, func(q *db.QueuedQueries) *txn.Pending[db.BookSeatRow] {
		if r.NoWait {
			q.LockSeatNowait(db.LockSeatNowaitParams{EventID: r.Event, Label: r.Seat})
		} else {
			q.LockSeat(db.LockSeatParams{EventID: r.Event, Label: r.Seat})
		}
		return q.BookSeat(db.BookSeatParams{EventID: r.Event, Label: r.Seat, UserID: r.User, HoldFor: holdFor})
	})
	if errors.Is(err, txn.ErrNotFound) {
		return Ticket{}, fmt.Errorf("%w: %q of event %d", ErrUnknownSeat, r.Seat, r.Event)
	}
	if err != nil {
		return Ticket{}, fmt.Errorf("seat %q of event %d: %w", r.Seat, r.Event, err)
	}
	switch {
	case row.BookingID != 0 && !row.Made && row.Status == db.BookingStatusHeld && holdFor == nil:
		return Ticket{}, &StateError{BookingID: row.BookingID, Status: row.Status}
	case row.BookingID != 0:
		return Ticket{
			BookingID: row.BookingID, EventID: r.Event, SeatID: row.SeatID, Seat: r.Seat,
			Status: row.Status, Until: until(row.ExpiresAt), Replayed: !row.Made,
		}, nil
	case !row.Available:
		return Ticket{}, &TakenError{EventID: r.Event, Seat: r.Seat}
	}
	return Ticket{}, &LimitError{EventID: r.Event, UserID: r.User, Limit: int(row.SeatsPerUser), Has: int(row.SeatsHad)}
}

func until(expiresAt *time.Time) time.Time {
	if expiresAt == nil {
		return time.Time{}
	}
	return *expiresAt
}

// attempts is how often a request may run. At SERIALIZABLE whoever lost finds out to whom, and
// to what, by running again: one attempt, however an application is configured, is not enough.
const attempts = 10

// ask makes a transaction of what queue queues, and returns the answer of the statement whose
// Pending it returns. If the connection breaks before the answer comes, it asks again: each
// request finds what it has done before, so that it is not done twice, and what there is by
// then is the answer.
func ask[T any](ctx context.Context, t txn.Transactor, opts txn.Options, queue func(*db.QueuedQueries) *txn.Pending[T]) (T, error) {
	answer, err := askOnce(ctx, t, opts, queue)
	_, unknown := errors.AsType[*txn.CommitUnknownError](err)
	if !unknown && !errors.Is(err, txn.ErrAnswerLost) {
		return answer, err
	}
	answer, again := askOnce(ctx, t, opts, queue)
	if again != nil && !errors.Is(again, txn.ErrNotFound) {
		return answer, fmt.Errorf("%w; asked again: %w", err, again) // still unknown
	}
	return answer, again
}

// askOnce is ask for what does not find what it has done before.
func askOnce[T any](ctx context.Context, t txn.Transactor, opts txn.Options, queue func(*db.QueuedQueries) *txn.Pending[T]) (answer T, err error) {
	opts.FlushJoined, opts.MaxAttempts = true, attempts
	pending, err := txn.WithTxValue(ctx, t, opts, func(_ context.Context, tx *txn.Tx) (*txn.Pending[T], error) {
		return queue(db.New(tx).Queued()), nil
	})
	if err != nil {
		return answer, refused(err)
	}
	return pending.Value()
}

// read makes a read-only transaction of what queue queues, and returns the answer.
func read[T any](ctx context.Context, t txn.ReadTransactor, label string, queue func(*db.QueuedReadQueries) *txn.Pending[T]) (answer T, err error) {
	opts := txn.Options{Label: label, FlushJoined: true}
	pending, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (*txn.Pending[T], error) {
		return queue(db.NewRead(rx).Queued()), nil
	})
	if err != nil {
		return answer, refused(err)
	}
	return pending.Value()
}
