package booking_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// The check of a foreign key takes a KEY SHARE lock on the seat. FOR UPDATE, the lock that
// comes to mind first, makes everybody wait who only refers to the seat.
func TestReferencesDoNotWait(t *testing.T) {
	h := setup(t, txn.Config{})
	ada, bob := h.user(t), h.user(t)
	event := h.event(t, 9, "A1")
	seat := h.seatOf(t, event, "A1")
	undone := errors.New("undone")
	take := func(ctx context.Context, tx *txn.Tx) (booking.Ticket, error) {
		return booking.Hold(ctx, tx, booking.HoldRequest{BookRequest: booking.BookRequest{Event: event, User: ada, Seat: "A1"}, For: time.Hour})
	}
	then := func(change func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error)) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error {
			ticket, err := take(ctx, tx)
			if err == nil {
				_, err = change(ctx, tx, booking.ChangeRequest{Booking: ticket.BookingID, User: ada})
			}
			return err
		}
	}
	for _, held := range []struct {
		name  string
		hold  func(context.Context, *txn.Tx) error
		waits bool
	}{
		{"for update", func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select from seats where id = $1 for update", seat)
			return err
		}, true},
		{"Book", func(ctx context.Context, tx *txn.Tx) error {
			return book(ctx, tx, event, ada, "A1", booking.LimitByLock)
		}, false},
		{"BookAny", func(ctx context.Context, tx *txn.Tx) error {
			_, err := booking.BookAny(ctx, tx, booking.BookAnyRequest{Event: event, User: ada, Key: "k"})
			return err
		}, false},
		{"Hold", func(ctx context.Context, tx *txn.Tx) error { _, err := take(ctx, tx); return err }, false},
		{"Confirm", then(booking.Confirm), false},
		{"Release", then(booking.Release), false},
		{"Cancel", then(booking.Cancel), false},
		{"Sweep", func(ctx context.Context, tx *txn.Tx) error {
			h.pass(t, h.hold(t, event, ada, "A1")) // beside the transaction, before it
			swept, err := booking.Sweep(ctx, tx, 0)
			require.EqualValues(t, 1, swept)
			return err
		}, false},
	} {
		inserting := begin(t, h.db.Pool())
		exec(t, inserting, "set local lock_timeout = '5s'")
		insert := func() error {
			_, err := inserting.Exec(t.Context(), "insert into bookings (event_id, seat_id, user_id, status) values ($1, $2, $3, 'cancelled')", event, seat, bob)
			return err
		}
		var inserted <-chan error
		err := txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: " + held.name}, func(ctx context.Context, tx *txn.Tx) error {
			if err := held.hold(ctx, tx); err != nil {
				return err
			}
			if held.waits {
				inserted = async(insert)
				txntest.WaitBlocked(t, h.admin, int(inserting.Conn().PgConn().PID()))
			} else if err := insert(); err != nil {
				return err
			}
			return undone
		})
		require.ErrorIs(t, err, undone, held.name)
		require.Equal(t, undone.Error(), err.Error(), held.name)
		if held.waits {
			require.NoError(t, <-inserted, held.name)
		}
		require.NoError(t, inserting.Rollback(t.Context()))
	}
}

// Who would rather not wait hears at once that somebody is at the seat, or that the user's
// other request is on its way.
func TestNoWait(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		d := h.at(level)
		event, ada, bob := h.event(t, 1, "A1", "A2"), h.user(t), h.user(t)
		request := func(user int64, seat string) booking.BookRequest {
			return booking.BookRequest{Event: event, User: user, Seat: seat, NoWait: true}
		}
		broke := errors.New("the caller changed its mind")
		err := txn.WithTx(t.Context(), d, txn.Options{
			Label: "test: first", Locks: []txn.Key{booking.UserKey(ada)},
		}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := booking.Book(ctx, tx, request(ada, "A1")); err != nil {
				return err
			}
			for _, r := range []booking.BookRequest{request(bob, "A1"), request(ada, "A2")} {
				_, err := booking.Book(txn.Detach(ctx), d, r)
				require.ErrorIs(t, err, booking.ErrBusy, level)
				require.ErrorIs(t, err, txn.ErrLockNotAvailable, level)
				_, err = booking.Hold(txn.Detach(ctx), d, booking.HoldRequest{BookRequest: r, For: time.Hour})
				require.ErrorIs(t, err, booking.ErrBusy, level)
			}
			_, err := booking.Book(txn.Detach(ctx), d, request(bob, "A2"))
			require.NoError(t, err, level)
			return broke
		})
		require.ErrorIs(t, err, broke, level)
		_, err = booking.Book(t.Context(), d, request(ada, "A1"))
		require.NoError(t, err, level)
		_, err = booking.Book(t.Context(), d, request(h.user(t), "A1"))
		require.ErrorIs(t, err, booking.ErrTaken, level)
		require.Equal(t, fmt.Sprintf("A1 booked by %d, A2 booked by %d", ada, bob), h.seats(t, event), level)
	}
}

// A program that bounds its waits gets the same error after them.
func TestLockTimeout(t *testing.T) {
	h := setup(t, txn.Config{Options: txn.Options{LockTimeout: 20 * time.Millisecond}})
	event, ada := h.event(t, 1, "A1"), h.user(t)
	ticket := h.hold(t, event, ada, "A1")
	holder := begin(t, h.admin)
	exec(t, holder, "select from seats where id = $1 for update", ticket.SeatID)
	_, err := booking.Book(t.Context(), h.db, booking.BookRequest{Event: event, User: h.user(t), Seat: "A1"})
	require.ErrorIs(t, err, booking.ErrBusy)
	for _, change := range []func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error){
		booking.Confirm, booking.Release, booking.Cancel,
	} {
		_, err := change(t.Context(), h.db, booking.ChangeRequest{Booking: ticket.BookingID, User: ada})
		require.ErrorIs(t, err, booking.ErrBusy)
		require.ErrorIs(t, err, txn.ErrLockNotAvailable)
	}
	require.NoError(t, holder.Rollback(t.Context()))
}

// After a refusal that was found in the rows, the transaction goes on: another seat is tried.
func TestAnotherSeatInTheSameTransaction(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada, bob := h.event(t, 1, "A1", "A2"), h.user(t), h.user(t)
	h.hold(t, event, bob, "A1")
	require.NoError(t, txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: either"}, func(ctx context.Context, tx *txn.Tx) error {
		err := book(ctx, tx, event, ada, "A1", booking.LimitByLock)
		require.ErrorIs(t, err, booking.ErrTaken)
		return book(ctx, tx, event, ada, "A2", booking.LimitByLock)
	}))
	require.Equal(t, fmt.Sprintf("A1 held by %d, A2 booked by %d", bob, ada), h.seats(t, event))
}

// What a function has done in a transaction that is repeated is not done twice.
func TestRepeatedByItsTransaction(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada := h.event(t, 1, "A1"), h.user(t)
	var tickets []booking.Ticket
	require.NoError(t, txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: repeated"}, func(ctx context.Context, tx *txn.Tx) error {
		ticket, err := booking.BookAny(ctx, tx, booking.BookAnyRequest{Event: event, User: ada, Key: "k"})
		if err != nil {
			return err
		}
		tickets = append(tickets, ticket)
		if tx.Attempt() == 1 {
			_, err = tx.Exec(ctx, "do $$ begin raise exception 'injected' using errcode = 'serialization_failure'; end $$")
		}
		return err
	}))
	require.Len(t, tickets, 2)
	require.False(t, tickets[1].Replayed)
	require.Equal(t, fmt.Sprint(ada, " confirmed"), h.bookings(t, tickets[1].SeatID))
}
