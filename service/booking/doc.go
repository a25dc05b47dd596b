// Package booking lets users book and hold the seats of events.
//
//	ticket, err := booking.Book(ctx, d, booking.BookRequest{Event: event, User: user, Seat: "C14"})
//	if errors.Is(err, booking.ErrTaken) {
//		// somebody else has it
//	}
//
// Each function is one transaction of the handle it is given: on a *txn.DB it begins one, on
// a *txn.Tx it joins that one, and then it is done when the outer transaction commits.
//
// # Who gets a seat
//
// The first one who locks its row, at every isolation level. Book and Hold wait for whoever
// is there, and then have the seat, or ErrTaken: a wait ends in a seat only if the other one
// was rolled back. With NoWait they return ErrBusy instead of waiting. BookAny and HoldAny wait
// for nobody: they pass over the seats that others are taking. A unique index keeps a seat
// from having two bookings even where no lock was taken.
//
// # Holds
//
// A hold keeps a seat for a time; Confirm makes a booking of it, Release gives it back. When
// its time is over, by the server's clock, it cannot be confirmed any more, and anybody may
// take the seat. Sweep frees the seats that nobody took since; nothing depends on when it
// runs.
//
// # How many seats a user may have
//
// The number is the event's. Two transactions that each count and then take another seat
// exceed it together, unless something makes them meet: see LimitBy for the two ways.
//
// # Requests that are sent twice
//
// A user who has the seat already gets its ticket, with Replayed set, and so does whoever
// confirms, releases or cancels twice. Requests for any seat carry a key, because otherwise the
// second one would be for another seat. So a request may be sent again by anybody who does not
// know what became of it, after a *txn.CommitUnknownError or an answer of its own that was
// lost; the functions do so themselves, once.
//
// # What is refused
//
// Refusals are the errors of this package; see errors.go. Nothing has changed after one. A
// transaction that the function had joined can go on after a refusal that was found in the
// rows, so that another seat can be tried in it: ErrTaken, ErrSoldOut, ErrLimit,
// ErrUnknownSeat, ErrUnknownEvent, ErrUnknownBooking, ErrExpired, ErrState, ErrKeyReused. After
// the others, which the server raised, it can only be rolled back.
//
// # Locks
//
// Before anything is read: the advisory lock of the user, where the number of seats needs it
// (UserKey). Then the seat, FOR NO KEY UPDATE, so that rows that refer to it may be inserted
// meanwhile; then its bookings, which nobody changes without holding the seat. The user's row
// is referred to, and so locked FOR KEY SHARE, which only its deletion waits for. Calls that
// are put together in one transaction lock in the order of the calls: they may deadlock with
// one another, and are then repeated as txn.Options says.
package booking
