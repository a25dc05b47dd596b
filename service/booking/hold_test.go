package booking_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

// hold makes a hold of an hour.
func (h *hall) hold(t *testing.T, event, user int64, seat string) booking.Ticket {
	t.Helper()
	ticket, err := booking.Hold(t.Context(), h.db, booking.HoldRequest{
		BookRequest: booking.BookRequest{Event: event, User: user, Seat: seat}, For: time.Hour,
	})
	require.NoError(t, err)
	require.False(t, ticket.Replayed)
	require.Equal(t, db.BookingStatusHeld, ticket.Status)
	return ticket
}

func TestHold(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada := h.event(t, 1, "A1"), h.user(t)
	ticket := h.hold(t, event, ada, "A1")
	require.True(t, fromTable[bool](t, h, `
		select expires_at - created_at = interval '1 hour' and created_at between clock_timestamp() - interval '1 minute' and clock_timestamp()
			and expires_at = $2
		from bookings where id = $1`, ticket.BookingID, ticket.Until))
	require.Equal(t, fmt.Sprint("A1 held by ", ada), h.seats(t, event))

	// It is not prolonged.
	again, err := booking.Hold(t.Context(), h.db, booking.HoldRequest{
		BookRequest: booking.BookRequest{Event: event, User: ada, Seat: "A1"}, For: 2 * time.Hour,
	})
	require.NoError(t, err)
	ticket.Replayed = true
	require.Equal(t, ticket, again)

	for _, d := range []time.Duration{0, -time.Hour, time.Microsecond - 1, booking.MaxHold + 1} {
		_, err := booking.Hold(t.Context(), h.db, booking.HoldRequest{
			BookRequest: booking.BookRequest{Event: event, User: ada, Seat: "A1"}, For: d,
		})
		require.Equal(t, &booking.InvalidError{Field: "For"}, err, d)
		_, err = booking.HoldAny(t.Context(), h.db, booking.HoldAnyRequest{
			BookAnyRequest: booking.BookAnyRequest{Event: event, User: ada, Key: "k"}, For: d,
		})
		require.Equal(t, &booking.InvalidError{Field: "For"}, err, d)
	}
}

// What may become of a booking, from each state that it can be in.
func TestTransitions(t *testing.T) {
	h := setup(t, txn.Config{})
	type change = func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error)
	must := func(c change) func(booking.Ticket) {
		return func(ticket booking.Ticket) {
			_, err := c(t.Context(), h.db, booking.ChangeRequest{Booking: ticket.BookingID, User: fromTable[int64](t, h, "select user_id from bookings where id = $1", ticket.BookingID)})
			require.NoError(t, err)
		}
	}
	over := func(ticket booking.Ticket) { h.pass(t, ticket) }
	swept := func(ticket booking.Ticket) {
		h.pass(t, ticket)
		_, err := booking.Sweep(t.Context(), h.db, 0)
		require.NoError(t, err)
	}
	operations := []struct {
		name string
		do   change
	}{{"confirm", booking.Confirm}, {"release", booking.Release}, {"cancel", booking.Cancel}}
	const expired, wrong, again = "expired", "wrong", "again"
	for _, from := range []struct {
		name  string
		reach func(booking.Ticket)
		then  [3]string // by confirm, release, cancel: the new status, or how it is refused
		seat  string    // before
	}{
		{"held", func(booking.Ticket) {}, [3]string{"confirmed", "released", "cancelled"}, "held"},
		{"held too long", over, [3]string{expired, expired, expired}, "held"}, // as if it were swept
		{"confirmed", must(booking.Confirm), [3]string{again, wrong, "cancelled"}, "booked"},
		{"released", must(booking.Release), [3]string{wrong, again, wrong}, "free"},
		{"swept", swept, [3]string{expired, expired, expired}, "free"},
		{"cancelled", must(booking.Cancel), [3]string{wrong, wrong, again}, "free"},
	} {
		for n, op := range operations {
			for _, level := range isolations {
				name := fmt.Sprintf("%s, %s, %s", from.name, op.name, level)
				event, ada, bob := h.event(t, 1, "A1"), h.user(t), h.user(t)
				ticket := h.hold(t, event, ada, "A1")
				from.reach(ticket)
				before := h.bookings(t, ticket.SeatID)

				_, err := op.do(t.Context(), h.at(level), booking.ChangeRequest{Booking: ticket.BookingID, User: bob})
				require.ErrorIs(t, err, booking.ErrUnknownBooking, name)
				require.Equal(t, before, h.bookings(t, ticket.SeatID), name)

				r := booking.ChangeRequest{Booking: ticket.BookingID, User: ada}
				got, err := op.do(t.Context(), h.at(level), r)
				switch then := from.then[n]; then {
				case expired:
					e := &booking.ExpiredError{}
					require.ErrorAs(t, err, &e, name)
					require.ErrorIs(t, err, booking.ErrExpired)
					require.Equal(t, ticket.BookingID, e.BookingID, name)
					require.True(t, e.At.Before(ticket.Until), name)
				case wrong:
					require.ErrorIs(t, err, booking.ErrState, name)
					require.Equal(t, before, fmt.Sprint(ada, " ", err.(*booking.StateError).Status), name)
				default:
					require.NoError(t, err, name)
					require.Equal(t, then == again, got.Replayed, name)
					require.Equal(t, fmt.Sprint(ada, " ", got.Status), h.bookings(t, ticket.SeatID), name)
					found, err := booking.Find(t.Context(), h.at(level), r)
					require.NoError(t, err, name)
					got.Replayed = false
					require.Equal(t, got, found, name)
					continue
				}
				require.Equal(t, before, h.bookings(t, ticket.SeatID), name)
				require.Equal(t, from.seat, fromTable[string](t, h, "select status::text from seats where id = $1", ticket.SeatID), name)
			}
		}
	}
	for _, op := range operations {
		_, err := op.do(t.Context(), h.db, booking.ChangeRequest{Booking: 1 << 40, User: 1})
		require.ErrorIs(t, err, booking.ErrUnknownBooking, op.name)
	}
	_, err := booking.Find(t.Context(), h.db, booking.ChangeRequest{Booking: 1 << 40, User: 1})
	require.ErrorIs(t, err, booking.ErrUnknownBooking)
}

// A seat that was given back, by whichever way, is anybody's, and the one before keeps no
// claim to it.
func TestFreeAgain(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada, bob := h.event(t, 1, "A1"), h.user(t), h.user(t)
	first, err := booking.Book(t.Context(), h.db, booking.BookRequest{Event: event, User: ada, Seat: "A1"})
	require.NoError(t, err)
	_, err = booking.Cancel(t.Context(), h.db, booking.ChangeRequest{Booking: first.BookingID, User: ada})
	require.NoError(t, err)
	second := h.hold(t, event, bob, "A1")
	_, err = booking.Book(t.Context(), h.db, booking.BookRequest{Event: event, User: ada, Seat: "A1"})
	require.ErrorIs(t, err, booking.ErrTaken)
	_, err = booking.Release(t.Context(), h.db, booking.ChangeRequest{Booking: second.BookingID, User: bob})
	require.NoError(t, err)
	third, err := booking.Book(t.Context(), h.db, booking.BookRequest{Event: event, User: ada, Seat: "A1"})
	require.NoError(t, err)
	require.False(t, third.Replayed)
	require.Equal(t, fmt.Sprintf("%d cancelled, %d released, %d confirmed", ada, bob, ada), h.bookings(t, first.SeatID))
	// Repeated, it does not cancel the booking that has come after.
	again, err := booking.Cancel(t.Context(), h.db, booking.ChangeRequest{Booking: first.BookingID, User: ada})
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, fmt.Sprint("A1 booked by ", ada), h.seats(t, event))
}

// What counts is the time at which something is done, by the server's clock. The transaction
// began earlier, and by its own time, now(), the hold would not have ended.
func TestHoldEndsByTheClock(t *testing.T) {
	h := setup(t, txn.Config{})
	undone := errors.New("undone")
	for _, level := range isolations {
		event, ada, bob := h.event(t, 1, "A1"), h.user(t), h.user(t)
		opts := txn.Options{Label: "test: slow", Locks: []txn.Key{booking.UserKey(ada), booking.UserKey(bob)}}
		require.NoError(t, txn.WithTx(t.Context(), h.at(level), opts, func(ctx context.Context, tx *txn.Tx) error {
			var began time.Time
			require.NoError(t, tx.QueryRow(ctx, "select now() from pg_sleep(0.02)").Scan(&began))
			ticket, err := booking.Hold(ctx, tx, booking.HoldRequest{
				BookRequest: booking.BookRequest{Event: event, User: ada, Seat: "A1"}, For: 10 * time.Millisecond,
			})
			require.NoError(t, err)
			require.True(t, ticket.Until.After(began.Add(20*time.Millisecond)), "it does not begin with the transaction")
			_, err = tx.Exec(ctx, "select pg_sleep_until($1)", ticket.Until)
			require.NoError(t, err)

			r := booking.ChangeRequest{Booking: ticket.BookingID, User: ada}
			_, err = booking.Confirm(ctx, tx, r)
			require.Equal(t, &booking.ExpiredError{BookingID: ticket.BookingID, At: ticket.Until}, err)
			found, err := booking.Find(ctx, tx, r)
			require.NoError(t, err)
			require.Equal(t, db.BookingStatusExpired, found.Status)
			page, err := booking.AvailableSeats(ctx, tx, booking.SeatsRequest{Event: event})
			require.NoError(t, err)
			require.Len(t, page.Seats, 1)
			if err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				_, err := booking.Book(ctx, tx, booking.BookRequest{Event: event, User: bob, Seat: "A1"})
				return errors.Join(err, undone)
			}); err.Error() != undone.Error() {
				return err
			}
			_, err = booking.BookAny(ctx, tx, booking.BookAnyRequest{Event: event, User: bob, Key: fmt.Sprint("k", event)})
			return err
		}), level)
		require.Equal(t, fmt.Sprint("A1 booked by ", bob), h.seats(t, event), level)
	}
}

// A hold that has ended is in nobody's way, although nobody has swept it, and does not count
// against its user.
func TestOverdueHoldIsTakenOver(t *testing.T) {
	h := setup(t, txn.Config{})
	for name, take := range map[string]func(d *txn.DB, event, user int64) (booking.Ticket, error){
		"book": func(d *txn.DB, event, user int64) (booking.Ticket, error) {
			return booking.Book(t.Context(), d, booking.BookRequest{Event: event, User: user, Seat: "A1"})
		},
		"hold": func(d *txn.DB, event, user int64) (booking.Ticket, error) {
			return booking.Hold(t.Context(), d, booking.HoldRequest{
				BookRequest: booking.BookRequest{Event: event, User: user, Seat: "A1", LimitBy: booking.LimitBySerializable}, For: time.Hour})
		},
		"book any": func(d *txn.DB, event, user int64) (booking.Ticket, error) {
			return booking.BookAny(t.Context(), d, booking.BookAnyRequest{Event: event, User: user, Key: fmt.Sprint("k", event)})
		},
		"hold any": func(d *txn.DB, event, user int64) (booking.Ticket, error) {
			return booking.HoldAny(t.Context(), d, booking.HoldAnyRequest{
				BookAnyRequest: booking.BookAnyRequest{Event: event, User: user, Key: fmt.Sprint("k", event)}, For: time.Hour})
		},
	} {
		for _, level := range isolations {
			name := fmt.Sprintf("%s, %s", name, level)
			event, ada, bob := h.event(t, 1, "A1", "A2"), h.user(t), h.user(t)
			first := h.hold(t, event, ada, "A1")
			h.pass(t, first)
			second, err := take(h.at(level), event, bob)
			require.NoError(t, err, name)
			require.Equal(t, first.SeatID, second.SeatID, name)
			require.False(t, second.Replayed, name)
			require.Equal(t, fmt.Sprintf("%d expired, %d %s", ada, bob, second.Status), h.bookings(t, first.SeatID), name)
			for _, late := range []func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error){
				booking.Confirm, booking.Release, booking.Cancel,
			} {
				_, err = late(t.Context(), h.at(level), booking.ChangeRequest{Booking: first.BookingID, User: ada})
				require.ErrorIs(t, err, booking.ErrExpired, name)
			}
			_, err = booking.Book(t.Context(), h.at(level), booking.BookRequest{Event: event, User: ada, Seat: "A2"})
			require.NoError(t, err, name)

			// The user's own one is not a reason to refuse either.
			if second.Status == db.BookingStatusHeld {
				h.pass(t, second)
				third, err := booking.Book(t.Context(), h.at(level), booking.BookRequest{Event: event, User: bob, Seat: "A1"})
				require.NoError(t, err, name)
				require.False(t, third.Replayed, name)
			}
		}
	}
}

// Whoever is first at the seat decides, and the other one sees what was decided.
func TestConfirmMeetsTakeover(t *testing.T) {
	h := setup(t, txn.Config{})
	ada, bob := h.user(t), h.user(t)
	for _, level := range isolations {
		d := h.at(level)
		event := h.event(t, 1, "A1", "A2")
		kept, lost := h.hold(t, event, ada, "A1"), booking.Ticket{}
		confirm := func(ctx context.Context, in txn.Transactor, ticket *booking.Ticket) error {
			_, err := booking.Confirm(ctx, in, booking.ChangeRequest{Booking: ticket.BookingID, User: ada})
			return err
		}
		book := func(ctx context.Context, in txn.Transactor, ticket *booking.Ticket) error {
			_, err := booking.Book(ctx, in, booking.BookRequest{Event: event, User: bob, Seat: ticket.Seat})
			return err
		}
		for _, c := range []struct {
			user          int64
			first, second func(context.Context, txn.Transactor, *booking.Ticket) error
			ticket        *booking.Ticket
			refused       error
		}{
			{ada, confirm, book, &kept, booking.ErrTaken},
			{bob, book, confirm, &lost, booking.ErrExpired},
		} {
			if c.ticket == &lost {
				_, err := booking.Cancel(t.Context(), d, booking.ChangeRequest{Booking: kept.BookingID, User: ada})
				require.NoError(t, err)
				lost = h.hold(t, event, ada, "A2")
				h.pass(t, lost)
			}
			var second <-chan error
			opts := txn.Options{Label: "test: first", Locks: []txn.Key{booking.UserKey(c.user)}}
			require.NoError(t, txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
				if err := c.first(ctx, tx, c.ticket); err != nil {
					return err
				}
				second = async(func() error { return c.second(t.Context(), d, c.ticket) })
				waitBlocked(t, h.admin, 1)
				return nil
			}), level)
			require.ErrorIs(t, <-second, c.refused, level)
		}
		require.Equal(t, fmt.Sprintf("%d cancelled", ada), h.bookings(t, kept.SeatID))
		require.Equal(t, fmt.Sprintf("%d expired, %d confirmed", ada, bob), h.bookings(t, lost.SeatID))
	}
}
