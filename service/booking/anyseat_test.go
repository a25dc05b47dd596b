package booking_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestBookAny(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada := h.event(t, 2, "A2", "A1", "A3"), h.user(t)
	r := booking.BookAnyRequest{Event: event, User: ada, Key: "first"}
	first, err := booking.BookAny(t.Context(), h.db, r)
	require.NoError(t, err)
	require.Equal(t, booking.Ticket{
		BookingID: first.BookingID, EventID: event, SeatID: h.seatOf(t, event, "A2"), Seat: "A2", Status: db.BookingStatusConfirmed,
	}, first, "in the order in which the event has them")
	held, err := booking.HoldAny(t.Context(), h.db, booking.HoldAnyRequest{
		BookAnyRequest: booking.BookAnyRequest{Event: event, User: ada, Key: "second"}, For: time.Hour,
	})
	require.NoError(t, err)
	require.Equal(t, "A1", held.Seat)
	require.Equal(t, db.BookingStatusHeld, held.Status)
	require.False(t, held.Until.IsZero())
	require.Equal(t, fmt.Sprintf("A2 booked by %[1]d, A1 held by %[1]d, A3 free", ada), h.seats(t, event))

	// Sent again, the requests take no other seat, whatever has become of the bookings.
	again, err := booking.BookAny(t.Context(), h.db, r)
	require.NoError(t, err)
	first.Replayed = true
	require.Equal(t, first, again)
	_, err = booking.Cancel(t.Context(), h.db, booking.ChangeRequest{Booking: first.BookingID, User: ada})
	require.NoError(t, err)
	again, err = booking.BookAny(t.Context(), h.db, r)
	require.NoError(t, err)
	first.Status = db.BookingStatusCancelled
	require.Equal(t, first, again)
	_, err = booking.Confirm(t.Context(), h.db, booking.ChangeRequest{Booking: held.BookingID, User: ada})
	require.NoError(t, err)
	heldAgain, err := booking.HoldAny(t.Context(), h.db, booking.HoldAnyRequest{
		BookAnyRequest: booking.BookAnyRequest{Event: event, User: ada, Key: "second"}, For: time.Minute,
	})
	require.NoError(t, err)
	held.Status, held.Replayed = db.BookingStatusConfirmed, true
	require.Equal(t, held, heldAgain)
	require.Equal(t, fmt.Sprintf("A2 free, A1 booked by %d, A3 free", ada), h.seats(t, event))
}

func TestBookAnyRefusals(t *testing.T) {
	h := setup(t, txn.Config{})
	event, full, ada, bob := h.event(t, 1, "A1", "A2"), h.event(t, 1, "B1"), h.user(t), h.user(t)
	_, err := booking.BookAny(t.Context(), h.db, booking.BookAnyRequest{Event: event, User: ada, Key: "first"})
	require.NoError(t, err)
	_, err = booking.BookAny(t.Context(), h.db, booking.BookAnyRequest{Event: full, User: ada, Key: "second"})
	require.NoError(t, err)
	const nobody = 1 << 40
	for name, c := range map[string]struct {
		r    booking.BookAnyRequest
		is   error
		want error // exactly, if not nil
	}{
		"no seat":         {booking.BookAnyRequest{Event: full, User: bob, Key: "k"}, booking.ErrSoldOut, &booking.SoldOutError{EventID: full}},
		"one too many":    {booking.BookAnyRequest{Event: event, User: ada, Key: "k"}, booking.ErrLimit, &booking.LimitError{EventID: event, UserID: ada, Limit: 1, Has: 1}},
		"no such event":   {booking.BookAnyRequest{Event: nobody, User: ada, Key: "k"}, booking.ErrUnknownEvent, nil},
		"no such user":    {booking.BookAnyRequest{Event: event, User: nobody, Key: "k"}, booking.ErrUnknownUser, nil},
		"no key":          {booking.BookAnyRequest{Event: event, User: bob}, booking.ErrInvalid, &booking.InvalidError{Field: "Key"}},
		"key not a text":  {booking.BookAnyRequest{Event: event, User: bob, Key: "k\x00"}, booking.ErrInvalid, nil},
		"key of 201":      {booking.BookAnyRequest{Event: event, User: bob, Key: fmt.Sprintf("%201d", 1)}, booking.ErrInvalid, nil},
		"key of an event": {booking.BookAnyRequest{Event: full, User: ada, Key: "first"}, booking.ErrKeyReused, nil},
		"key of no event": {booking.BookAnyRequest{Event: event, User: ada, Key: "second"}, booking.ErrKeyReused, nil},
	} {
		for _, level := range isolations {
			for _, by := range []booking.LimitBy{booking.LimitByLock, booking.LimitBySerializable} {
				c.r.LimitBy = by
				ticket, err := booking.BookAny(t.Context(), h.at(level), c.r)
				require.ErrorIs(t, err, c.is, "%s, %s", name, level)
				require.Zero(t, ticket, name)
				if c.want != nil {
					require.Equal(t, c.want, err, "%s, %s", name, level)
				}
			}
		}
	}
	_, err = booking.HoldAny(t.Context(), h.db, booking.HoldAnyRequest{
		BookAnyRequest: booking.BookAnyRequest{Event: event, User: ada, Key: "first"}, For: time.Hour})
	require.ErrorIs(t, err, booking.ErrKeyReused, "what was booked is not what is to be held")
	require.Equal(t, fmt.Sprintf("A1 booked by %d, A2 free", ada), h.seats(t, event))
}

// Each contender has a seat of its own while the transactions of all others are open.
func TestAnySeatWithoutWaiting(t *testing.T) {
	h := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1, LockTimeout: 5 * time.Second}})
	naive := h.naive(t)
	// As it is often written: the second one waits until the first one is done, although two
	// other seats are free, and the third one for both. At SERIALIZABLE it fails instead.
	for level, state := range map[pgx.TxIsoLevel]string{pgx.ReadCommitted: "", pgx.Serializable: "40001"} {
		exec(t, h.admin, "update naive.seats set is_available = true")
		one, other := begin(t, naive, pgx.TxOptions{IsoLevel: level}), begin(t, naive, pgx.TxOptions{IsoLevel: level})
		seat, err := naiveLock(t.Context(), one, "true order by id limit 1")
		require.NoError(t, err)
		second := async(func() error {
			_, err := naiveLock(t.Context(), other, "true order by id limit 1")
			return err
		})
		txntest.WaitBlocked(t, h.admin, int(other.Conn().PgConn().PID()))
		require.NoError(t, naiveTake(t.Context(), one, seat, 1))
		require.Equal(t, state, txn.SQLState(<-second))
		require.NoError(t, other.Rollback(t.Context()))
	}

	const n = 15
	var labels []string
	for i := range n {
		labels = append(labels, fmt.Sprintf("A%02d", i))
	}
	event, all := h.event(t, 1, labels...), txntest.NewBarrier(n)
	seats, errs := make([]string, n), make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		user := h.user(t)
		running.Go(func() {
			errs[i] = txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: one of many"}, func(ctx context.Context, tx *txn.Tx) error {
				ticket, err := booking.BookAny(ctx, tx, booking.BookAnyRequest{Event: event, User: user, Key: "k"})
				seats[i] = ticket.Seat
				return errors.Join(err, all.Wait(ctx))
			})
		})
	}
	running.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	slices.Sort(seats)
	require.Equal(t, labels, seats)
}

// Above READ COMMITTED they meet all the same, and are run again.
func TestAnySeatAboveReadCommitted(t *testing.T) {
	h := setup(t, txn.Config{})
	const n = 5
	for _, level := range isolations {
		for _, by := range []booking.LimitBy{booking.LimitByLock, booking.LimitBySerializable} {
			name := fmt.Sprint(level, ", ", by)
			d := h.at(level)
			labels := []string{"A1", "A2", "A3", "A4", "A5"}
			event, all := h.event(t, 1, labels...), txntest.NewBarrier(n)
			seats, errs := make([]string, n), make([]error, n)
			var running sync.WaitGroup
			for i := range n {
				user := h.user(t)
				running.Go(func() {
					if errs[i] = all.Wait(t.Context()); errs[i] != nil {
						return
					}
					var ticket booking.Ticket
					ticket, errs[i] = booking.BookAny(t.Context(), d, booking.BookAnyRequest{Event: event, User: user, Key: "k", LimitBy: by})
					seats[i] = ticket.Seat
				})
			}
			running.Wait()
			for _, err := range errs {
				require.NoError(t, err, name)
			}
			slices.Sort(seats)
			require.Equal(t, labels, seats, name)
		}
	}
}

// The last seat is being taken by somebody who may be rolled back: that is not the same as
// having been sold.
func TestSoldOutForTheMoment(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		event, ada, bob := h.event(t, 1, "A1", "A2"), h.user(t), h.user(t)
		_, err := booking.Book(t.Context(), h.db, booking.BookRequest{Event: event, User: h.user(t), Seat: "A1"})
		require.NoError(t, err)
		broke := errors.New("the caller changed its mind")
		bobs := booking.BookAnyRequest{Event: event, User: bob, Key: fmt.Sprint("k", event)}
		err = txn.WithTx(t.Context(), h.at(level), txn.Options{
			Label: "test: first", Locks: []txn.Key{booking.UserKey(ada)},
		}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := booking.Book(ctx, tx, booking.BookRequest{Event: event, User: ada, Seat: "A2"}); err != nil {
				return err
			}
			// It does not wait, or it would for its own end.
			waiting, cancel := context.WithTimeout(txn.Detach(ctx), 5*time.Second)
			defer cancel()
			_, err := booking.BookAny(waiting, h.at(level), bobs)
			require.Equal(t, &booking.SoldOutError{EventID: event, Contended: true}, err, level)
			return broke
		})
		require.ErrorIs(t, err, broke)
		ticket, err := booking.BookAny(t.Context(), h.at(level), bobs)
		require.NoError(t, err, level)
		require.Equal(t, "A2", ticket.Seat, level)
		_, err = booking.BookAny(t.Context(), h.at(level), booking.BookAnyRequest{Event: event, User: ada, Key: fmt.Sprint("k", event)})
		require.Equal(t, &booking.SoldOutError{EventID: event}, err, level)
	}
}

// A request that is sent twice at a time takes one seat.
func TestSameRequestForAnySeatAtOnce(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		for _, by := range []booking.LimitBy{booking.LimitByLock, booking.LimitBySerializable} {
			name := fmt.Sprint(level, ", ", by)
			d := h.at(level)
			event, ada := h.event(t, 5, "A1", "A2"), h.user(t)
			r := booking.BookAnyRequest{Event: event, User: ada, Key: "k", LimitBy: by}
			opts := txn.Options{Label: "test: first", Locks: []txn.Key{booking.UserKey(ada)}}
			if by == booking.LimitBySerializable {
				opts.Isolation, opts.Locks = txn.Serializable, []txn.Key{booking.UserKey(ada).Shared()}
			}
			var first, second booking.Ticket
			var again <-chan error
			require.NoError(t, txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) (err error) {
				if first, err = booking.BookAny(ctx, tx, r); err != nil {
					return err
				}
				again = async(func() (err error) {
					second, err = booking.BookAny(t.Context(), d, r)
					return err
				})
				waitBlocked(t, h.admin, 1)
				return nil
			}), name)
			require.NoError(t, <-again, name)
			first.Replayed = true
			require.Equal(t, first, second, name)
			require.Equal(t, fmt.Sprintf("A1 booked by %d, A2 free", ada), h.seats(t, event), name)
		}
	}
}
