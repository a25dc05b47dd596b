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
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// What each call costs once the connection knows its statements: all that decides is in the
// server, so locks, decision, record and COMMIT are one message and one answer. Above READ
// COMMITTED it is the same, although the advisory lock is taken in a transaction of its own
// before the snapshot.
func TestRoundTrips(t *testing.T) {
	h := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, h.AppURL())
	for _, level := range isolations {
		d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", watched(txn.Config{Options: txn.Options{Isolation: level}}))
		require.NoError(t, err)
		t.Cleanup(d.Close)
		event, user, n := h.event(t, 1000, "A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9"), h.user(t), 0
		book := func(ctx context.Context, in txn.Transactor) (booking.Ticket, error) {
			n++
			return booking.BookAny(ctx, in, booking.BookAnyRequest{Event: event, User: user, Key: fmt.Sprint(level, n)})
		}
		change := func(do func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error), with ...booking.Ticket) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := do(ctx, d, booking.ChangeRequest{Booking: with[0].BookingID, User: user})
				with = with[1:]
				return err
			}
		}
		changeEither := func(do func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error)) func(context.Context) error {
			var holds []booking.Ticket
			for range 2 {
				n++
				ticket, err := booking.HoldAny(t.Context(), h.db, booking.HoldAnyRequest{
					BookAnyRequest: booking.BookAnyRequest{Event: event, User: user, Key: fmt.Sprint(level, n)}, For: time.Hour})
				require.NoError(t, err)
				holds = append(holds, ticket)
			}
			return change(do, holds...)
		}
		for _, c := range []struct {
			name  string
			trips int
			call  func(ctx context.Context) error
		}{
			{"create event", 1, func(ctx context.Context) error {
				n++
				_, err := booking.CreateEvent(ctx, d, booking.CreateEventRequest{Code: fmt.Sprint(level, n), Name: "N", SeatsPerUser: 1, Seats: []string{"A1", "A2"}})
				return err
			}},
			{"book", 1, func(ctx context.Context) error {
				n++
				_, err := booking.Book(ctx, d, booking.BookRequest{Event: event, User: user, Seat: "A9"})
				return err
			}},
			{"book without waiting", 1, func(ctx context.Context) error {
				_, err := booking.Book(ctx, d, booking.BookRequest{Event: event, User: user, Seat: "A9", NoWait: true})
				return err
			}},
			{"book at SERIALIZABLE", 1, func(ctx context.Context) error {
				_, err := booking.Book(ctx, d, booking.BookRequest{Event: event, User: user, Seat: "A9", LimitBy: booking.LimitBySerializable})
				return err
			}},
			{"book what is taken", 1, func(ctx context.Context) error {
				_, err := booking.Book(ctx, d, booking.BookRequest{Event: event, User: h.user(t), Seat: "A9"})
				if errors.Is(err, booking.ErrTaken) {
					return nil
				}
				return fmt.Errorf("it was not taken: %w", err)
			}},
			{"book any", 1, func(ctx context.Context) error { _, err := book(ctx, d); return err }},
			{"hold", 1, func(ctx context.Context) error {
				_, err := booking.Hold(ctx, d, booking.HoldRequest{BookRequest: booking.BookRequest{Event: event, User: user, Seat: "A8"}, For: time.Hour})
				return err
			}},
			{"confirm", 1, changeEither(booking.Confirm)},
			{"release", 1, changeEither(booking.Release)},
			{"cancel", 1, changeEither(booking.Cancel)},
			{"sweep", 1, func(ctx context.Context) error { _, err := booking.Sweep(ctx, d, 0); return err }},
			{"find", 1, func(ctx context.Context) error {
				_, err := booking.Find(ctx, d, booking.ChangeRequest{Booking: 1, User: 1})
				if errors.Is(err, booking.ErrUnknownBooking) {
					return nil
				}
				return err
			}},
			{"available seats", 1, func(ctx context.Context) error {
				_, err := booking.AvailableSeats(ctx, d, booking.SeatsRequest{Event: event})
				return err
			}},
			{"find event", 1, func(ctx context.Context) error { _, err := booking.FindEvent(ctx, d, "event 1"); return err }},
		} {
			name := fmt.Sprintf("%s, %s", c.name, level)
			require.NoError(t, c.call(t.Context()), name)
			proxy.Reset()
			require.NoError(t, c.call(t.Context()), name)
			require.Equal(t, c.trips, proxy.RoundTrips(), name)
		}
		// One that joins is told before the outer one goes on, which costs a round trip.
		for warm := range 2 {
			proxy.Reset()
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: joined", Locks: []txn.Key{booking.UserKey(user)}}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := book(ctx, tx)
				return err
			}), level)
			if warm == 1 {
				require.Equal(t, 2, proxy.RoundTrips(), level)
			}
		}
	}
}

// lostCommits are a COMMIT that the server does not get, and one that it has done when the
// connection breaks. The client sees the same in both cases.
var lostCommits = map[string]faultproxy.Fault{
	"before": {SQL: "^commit$", Do: faultproxy.Cut{}},
	"after":  {SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}},
}

// What was asked for in one message with COMMIT has no transaction id by which to find out what
// became of it. Here it is asked for again, and done once.
func TestLostCommit(t *testing.T) {
	h := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, h.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	event, ada := h.event(t, 4, "A1", "A2", "A3"), h.user(t)
	keys := 0
	for kind, prepare := range map[string]func() func() (booking.Ticket, error){
		"book": func() func() (booking.Ticket, error) {
			return func() (booking.Ticket, error) {
				return booking.Book(t.Context(), d, booking.BookRequest{Event: event, User: ada, Seat: "A1"})
			}
		},
		"hold": func() func() (booking.Ticket, error) {
			return func() (booking.Ticket, error) {
				return booking.Hold(t.Context(), d, booking.HoldRequest{
					BookRequest: booking.BookRequest{Event: event, User: ada, Seat: "A1"}, For: time.Hour})
			}
		},
		"book any": func() func() (booking.Ticket, error) {
			keys++
			key := fmt.Sprint(keys)
			return func() (booking.Ticket, error) {
				return booking.BookAny(t.Context(), d, booking.BookAnyRequest{Event: event, User: ada, Key: key})
			}
		},
		"confirm": func() func() (booking.Ticket, error) {
			ticket := h.hold(t, event, ada, "A1")
			return func() (booking.Ticket, error) {
				return booking.Confirm(t.Context(), d, booking.ChangeRequest{Booking: ticket.BookingID, User: ada})
			}
		},
		"release": func() func() (booking.Ticket, error) {
			ticket := h.hold(t, event, ada, "A1")
			return func() (booking.Ticket, error) {
				return booking.Release(t.Context(), d, booking.ChangeRequest{Booking: ticket.BookingID, User: ada})
			}
		},
		"cancel": func() func() (booking.Ticket, error) {
			ticket := h.hold(t, event, ada, "A1")
			return func() (booking.Ticket, error) {
				return booking.Cancel(t.Context(), d, booking.ChangeRequest{Booking: ticket.BookingID, User: ada})
			}
		},
	} {
		for moment, lost := range lostCommits {
			name := kind + ", " + moment
			send := prepare()
			cut := proxy.Arm(lost)
			ticket, err := send()
			require.NoError(t, err, name)
			require.NoError(t, cut.WaitSession(t.Context()))
			require.Equal(t, moment == "after", ticket.Replayed, name)
			once(t, h, ticket)

			// Where nobody answers, it stays unknown, until the caller asks once more.
			send = prepare()
			lost.Every = true
			cut = proxy.Arm(lost)
			ticket, err = send()
			_, unknown := errors.AsType[*txn.CommitUnknownError](err)
			require.True(t, unknown, "%s: %v", name, err)
			require.False(t, txn.IsRetryable(err), name)
			require.Zero(t, ticket, name)
			require.Equal(t, 2, cut.Fired(), name)
			cut.Disarm()
			ticket, err = send()
			require.NoError(t, err, name)
			require.Equal(t, moment == "after", ticket.Replayed, name)
			once(t, h, ticket)
		}
	}
}

// once checks that nobody has the seat but by the ticket, and makes it free again.
func once(t *testing.T, h *hall, ticket booking.Ticket) {
	t.Helper()
	require.Equal(t, ticket.BookingID, fromTable[int64](t, h, "select max(id) from bookings where seat_id = $1", ticket.SeatID))
	user := fromTable[int64](t, h, "select user_id from bookings where id = $1", ticket.BookingID)
	live := 0
	if ticket.Status == db.BookingStatusConfirmed || ticket.Status == db.BookingStatusHeld {
		live = 1
	}
	require.Equal(t, live, fromTable[int](t, h, "select count(*) from bookings where user_id = $1 and live", user))
	if live == 1 {
		_, err := booking.Cancel(t.Context(), h.db, booking.ChangeRequest{Booking: ticket.BookingID, User: user})
		require.NoError(t, err)
	}
}

// An event is not made twice either, but only the caller can tell whether it is the one meant.
func TestLostCommitOfEvent(t *testing.T) {
	h := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, h.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	for moment, lost := range lostCommits {
		cut := proxy.Arm(lost)
		r := booking.CreateEventRequest{Code: moment, Name: "Gala", SeatsPerUser: 1, Seats: []string{"A1"}}
		_, err := booking.CreateEvent(t.Context(), d, r)
		require.NoError(t, cut.WaitSession(t.Context()))
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%s: %v", moment, err)
		_, err = booking.CreateEvent(t.Context(), d, r)
		if moment == "after" {
			require.ErrorIs(t, err, booking.ErrCodeTaken)
		} else {
			require.NoError(t, err)
		}
		_, err = booking.FindEvent(t.Context(), d, moment)
		require.NoError(t, err)
	}
}
