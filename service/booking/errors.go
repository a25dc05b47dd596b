package booking

import (
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// Refusals. Repeating the same request does not help until something else has changed.
var (
	// ErrInvalid is returned when a field of a request can never be right. It comes as an
	// *InvalidError, which names the field.
	ErrInvalid = errors.New("booking: invalid request")

	// ErrCodeTaken is returned when there is an event with the code. Where the request may
	// have been sent before, FindEvent finds what it made.
	ErrCodeTaken = errors.New("booking: an event has the code")

	// ErrUnknownEvent is returned when there is no such event.
	ErrUnknownEvent = errors.New("booking: no such event")

	// ErrUnknownSeat is returned when the event has no such seat, or there is no such event.
	ErrUnknownSeat = errors.New("booking: no such seat")

	// ErrUnknownUser is returned when there is no such user.
	ErrUnknownUser = errors.New("booking: no such user")

	// ErrUnknownBooking is returned when there is no such booking, or it is another user's.
	ErrUnknownBooking = errors.New("booking: no such booking")

	// ErrTaken is returned when somebody else has booked the seat, or holds it.
	ErrTaken = errors.New("booking: the seat is taken")

	// ErrSoldOut is returned when no seat of an event could be taken. It comes as a
	// *SoldOutError, which says whether one may become free within moments.
	ErrSoldOut = errors.New("booking: no seat is left")

	// ErrLimit is returned when the user has as many seats of the event as it may have. It
	// comes as a *LimitError, which says how many that are.
	ErrLimit = errors.New("booking: the user has as many seats as it may have")

	// ErrExpired is returned when a hold has ended before it was confirmed, released or
	// cancelled. It comes as an *ExpiredError. Ask for the seat anew.
	ErrExpired = errors.New("booking: the hold has expired")

	// ErrState is returned when a booking cannot go from the state in which it is to the one
	// asked for. It comes as a *StateError, which says in which one it is.
	ErrState = errors.New("booking: not possible in the booking's state")

	// ErrKeyReused is returned when a request carries the key of another one that differs
	// from it. Nothing was done now; what was done then is unchanged. Choose a new key for
	// a new request.
	ErrKeyReused = errors.New("booking: the key belongs to another request")
)

// ErrBusy is returned when somebody else was at the seat, and the request was not to wait, or
// not so long: NoWait, or Options.LockTimeout. It is txn.ErrLockNotAvailable, too. Whether the
// seat will be taken is not known yet: try again, or another seat.
var ErrBusy = errors.New("booking: somebody else is at the seat")

// An InvalidError is returned when a field of a request can never be right, such as a text
// that is too long. errors.Is(err, ErrInvalid) is true.
type InvalidError struct {
	Field string // as the request's type calls it; "" if the server did not say
	Err   error  // what found it; nil if it was seen before anything was sent
}

func (e *InvalidError) Error() string {
	field := e.Field
	if field == "" {
		field = "text"
	}
	if e.Err == nil {
		return fmt.Sprintf("%v: %s", ErrInvalid, field)
	}
	return fmt.Sprintf("%v: %s: %v", ErrInvalid, field, e.Err)
}

func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }
func (e *InvalidError) Unwrap() error        { return e.Err }

// A TakenError is returned when somebody else has booked a seat, or holds it.
// errors.Is(err, ErrTaken) is true.
type TakenError struct {
	EventID int64
	Seat    string // its label
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%v: %q of event %d", ErrTaken, e.Seat, e.EventID)
}

func (e *TakenError) Is(target error) bool { return target == ErrTaken }

// A SoldOutError is returned when no seat of an event could be taken.
// errors.Is(err, ErrSoldOut) is true.
type SoldOutError struct {
	EventID int64

	// Contended is true when there were seats that nobody had yet, and others were about to
	// take all of them. Whoever of those is rolled back leaves a seat: a request that is sent
	// again a moment later may get it. False: each seat is booked, or held, by what is
	// committed, and one becomes free only by a cancellation or the end of a hold.
	Contended bool
}

func (e *SoldOutError) Error() string {
	if e.Contended {
		return fmt.Sprintf("%v: event %d, others are taking the last seats", ErrSoldOut, e.EventID)
	}
	return fmt.Sprintf("%v: event %d", ErrSoldOut, e.EventID)
}

func (e *SoldOutError) Is(target error) bool { return target == ErrSoldOut }

// A LimitError is returned when a user has as many seats of an event as it may have.
// errors.Is(err, ErrLimit) is true.
type LimitError struct {
	EventID int64
	UserID  int64
	Limit   int // how many seats of the event a user may have
	Has     int // how many the user had when the request was refused
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: user %d has %d of event %d, the limit is %d", ErrLimit, e.UserID, e.Has, e.EventID, e.Limit)
}

func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// An ExpiredError is returned when a hold has ended. errors.Is(err, ErrExpired) is true.
type ExpiredError struct {
	BookingID int64
	At        time.Time // when it ended
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("%v: booking %d, at %s", ErrExpired, e.BookingID, e.At.UTC().Format(time.RFC3339Nano))
}

func (e *ExpiredError) Is(target error) bool { return target == ErrExpired }

// A StateError is returned when a booking is in a state from which what was asked for is not
// possible. errors.Is(err, ErrState) is true.
type StateError struct {
	BookingID int64
	Status    db.BookingStatus
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%v: booking %d is %s", ErrState, e.BookingID, e.Status)
}

func (e *StateError) Is(target error) bool { return target == ErrState }

// SQLSTATEs that this package decides by.
const (
	stateForeignKeyViolation = "23503"
	stateUniqueViolation     = "23505"
	stateCheckViolation      = "23514"
	stateInvalidText         = "22021" // not UTF-8, or a zero byte
)

// fields says which field of a request a constraint speaks of.
var fields = map[string]string{
	"events_code_length":              "Code",
	"events_name_length":              "Name",
	"events_seats_per_user_positive":  "SeatsPerUser",
	"seats_label_length":              "Seats",
	"seats_event_id_label_key":        "Seats",
	"bookings_idempotency_key_length": "Key",
}

// refused gives an error of a transaction its meaning, where it is the request's fault, or
// somebody else's who was first.
func refused(err error) error {
	if errors.Is(err, txn.ErrLockNotAvailable) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	constraint := txn.ConstraintName(err)
	field, known := fields[constraint]
	switch state := txn.SQLState(err); {
	case state == stateInvalidText:
		return &InvalidError{Err: err}
	case known && (state == stateCheckViolation || state == stateUniqueViolation):
		return &InvalidError{Field: field, Err: err}
	case state == stateForeignKeyViolation && constraint == "bookings_user_id_fkey":
		return fmt.Errorf("%w: %w", ErrUnknownUser, err)
	case state == stateUniqueViolation && constraint == "events_code_key":
		return fmt.Errorf("%w: %w", ErrCodeTaken, err)
	case state == stateUniqueViolation && constraint == "bookings_seat_id_live_key":
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
	return err
}
