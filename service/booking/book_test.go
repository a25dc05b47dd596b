package booking_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

func TestBook(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada := h.event(t, 2, "A1", "A2"), h.user(t)
	r := booking.BookRequest{Event: event, User: ada, Seat: "A2"}
	ticket, err := booking.Book(t.Context(), h.db, r)
	require.NoError(t, err)
	require.Equal(t, booking.Ticket{
		BookingID: ticket.BookingID, EventID: event, SeatID: h.seatOf(t, event, "A2"), Seat: "A2", Status: db.BookingStatusConfirmed,
	}, ticket)
	require.NotZero(t, ticket.BookingID)
	require.Equal(t, fmt.Sprintf("A1 free, A2 booked by %d", ada), h.seats(t, event))

	again, err := booking.Book(t.Context(), h.db, r)
	require.NoError(t, err)
	ticket.Replayed = true
	require.Equal(t, ticket, again)
	held, err := booking.Hold(t.Context(), h.db, booking.HoldRequest{BookRequest: r, For: time.Hour})
	require.NoError(t, err, "it has more than it asks for")
	require.Equal(t, ticket, held)
	require.Equal(t, fmt.Sprint(ada, " confirmed"), h.bookings(t, ticket.SeatID))
}

func TestBookRefusals(t *testing.T) {
	h := setup(t, txn.Config{})
	event, other, ada, bob := h.event(t, 1, "A1", "A2", "A3"), h.event(t, 1, "B1"), h.user(t), h.user(t)
	_, err := booking.Book(t.Context(), h.db, booking.BookRequest{Event: event, User: ada, Seat: "A1"})
	require.NoError(t, err)
	held, err := booking.Hold(t.Context(), h.db, booking.HoldRequest{BookRequest: booking.BookRequest{Event: event, User: bob, Seat: "A2"}, For: time.Hour})
	require.NoError(t, err)
	const nobody = 1 << 40
	for name, c := range map[string]struct {
		r    booking.BookRequest
		is   error
		want error // exactly, if not nil
	}{
		"booked":                     {booking.BookRequest{Event: event, User: bob, Seat: "A1"}, booking.ErrTaken, &booking.TakenError{EventID: event, Seat: "A1"}},
		"held":                       {booking.BookRequest{Event: event, User: ada, Seat: "A2"}, booking.ErrTaken, &booking.TakenError{EventID: event, Seat: "A2"}},
		"held by the user":           {booking.BookRequest{Event: event, User: bob, Seat: "A2"}, booking.ErrState, &booking.StateError{BookingID: held.BookingID, Status: db.BookingStatusHeld}},
		"one too many":               {booking.BookRequest{Event: event, User: ada, Seat: "A3"}, booking.ErrLimit, &booking.LimitError{EventID: event, UserID: ada, Limit: 1, Has: 1}},
		"one too many beside a hold": {booking.BookRequest{Event: event, User: bob, Seat: "A3"}, booking.ErrLimit, &booking.LimitError{EventID: event, UserID: bob, Limit: 1, Has: 1}},
		"no such seat":               {booking.BookRequest{Event: event, User: ada, Seat: "Z9"}, booking.ErrUnknownSeat, nil},
		"of another event":           {booking.BookRequest{Event: other, User: ada, Seat: "A1"}, booking.ErrUnknownSeat, nil},
		"no such event":              {booking.BookRequest{Event: nobody, User: ada, Seat: "A1"}, booking.ErrUnknownSeat, nil},
		"no such user":               {booking.BookRequest{Event: event, User: nobody, Seat: "A3"}, booking.ErrUnknownUser, nil},
		"not a text":                 {booking.BookRequest{Event: event, User: ada, Seat: "A\x00"}, booking.ErrInvalid, nil},
	} {
		for _, level := range isolations {
			for _, by := range []booking.LimitBy{booking.LimitByLock, booking.LimitBySerializable} {
				for _, noWait := range []bool{false, true} {
					c.r.LimitBy, c.r.NoWait = by, noWait
					ticket, err := booking.Book(t.Context(), h.at(level), c.r)
					require.ErrorIs(t, err, c.is, "%s, %s", name, level)
					require.Zero(t, ticket, name)
					if c.want != nil {
						require.Equal(t, c.want, err, "%s, %s", name, level)
					}
				}
			}
		}
	}
	require.Equal(t, fmt.Sprintf("A1 booked by %d, A2 held by %d, A3 free", ada, bob), h.seats(t, event))
	_, err = booking.Book(t.Context(), h.db, booking.BookRequest{Event: other, User: ada, Seat: "B1"})
	require.NoError(t, err, "the number is for each event")
}

// contenders is how many want a seat at the same time.
const contenders = 50

// All of them wait for the seat when it is let go.
func TestOneWinner(t *testing.T) {
	h := setup(t, txn.Config{})
	pool := h.Pool(t, txn.ConfigurePool, func(c *pgxpool.Config) { c.MaxConns = contenders })
	users := make([]int64, contenders)
	for i := range users {
		users[i] = h.user(t)
	}
	for _, level := range isolations {
		for _, by := range []booking.LimitBy{booking.LimitByLock, booking.LimitBySerializable} {
			name := fmt.Sprint(level, ", ", by)
			// Whatever the program says of attempts: losing is not a failure.
			d := txn.New(pool, watched(txn.Config{Options: txn.Options{Isolation: level, MaxAttempts: 1}}))
			event := h.event(t, 1, "A1")
			tickets := make([]booking.Ticket, contenders)
			calls := make([]func() error, contenders)
			for i := range calls {
				calls[i] = func() (err error) {
					tickets[i], err = booking.Book(t.Context(), d, booking.BookRequest{Event: event, User: users[i], Seat: "A1", LimitBy: by})
					return err
				}
			}
			winner := -1
			for i, err := range h.together(t, h.seatOf(t, event, "A1"), calls...) {
				if err == nil {
					require.Negative(t, winner, "%s: two winners", name)
					winner = i
					continue
				}
				require.Equal(t, &booking.TakenError{EventID: event, Seat: "A1"}, err, name)
			}
			require.GreaterOrEqual(t, winner, 0, name)
			require.Equal(t, fmt.Sprint("A1 booked by ", users[winner]), h.seats(t, event), name)
			require.Equal(t, fmt.Sprint(users[winner], " confirmed"), h.bookings(t, tickets[winner].SeatID), name)
		}
	}
}

// Without the lock of the seat, two find it free, and go on to take it: the index lets one of
// them.
func TestIndexKeepsTheSeatWithoutTheLock(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada, bob := h.event(t, 1, "A1"), h.user(t), h.user(t)
	book := func(ctx context.Context, tx *txn.Tx, user int64) error {
		_, err := db.New(tx).BookSeat(ctx, db.BookSeatParams{EventID: event, Label: "A1", UserID: user})
		return err
	}
	var second <-chan error
	require.NoError(t, txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := book(ctx, tx, ada); err != nil {
			return err
		}
		second = async(func() error {
			return txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: second", MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
				return book(ctx, tx, bob)
			})
		})
		waitBlocked(t, h.admin, 1)
		return nil
	}))
	err := <-second
	require.Equal(t, "23505", txn.SQLState(err), "%v", err)
	require.Equal(t, "bookings_seat_id_live_key", txn.ConstraintName(err))
	require.Equal(t, fmt.Sprint("A1 booked by ", ada), h.seats(t, event))
}
