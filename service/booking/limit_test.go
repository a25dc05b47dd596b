package booking_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// A user who may have one seat asks for two at a time. Each request counts none, and takes a
// row that the other one does not touch: no row lock and no constraint is in the way, and at
// REPEATABLE READ neither is the isolation level.
func TestWriteSkewExceedsTheLimit(t *testing.T) {
	h := setup(t, txn.Config{})
	naive := h.naive(t)
	for level, state := range map[pgx.TxIsoLevel]string{pgx.ReadCommitted: "", pgx.RepeatableRead: "", pgx.Serializable: "40001"} {
		exec(t, h.admin, "delete from naive.bookings")
		exec(t, h.admin, "update naive.seats set is_available = true")
		var txs [2]pgx.Tx
		for n := range txs {
			txs[n] = begin(t, naive, pgx.TxOptions{IsoLevel: level})
			var had int
			require.NoError(t, txs[n].QueryRow(t.Context(), "select count(*) from naive.bookings where user_id = 1").Scan(&had))
			require.Zero(t, had, level)
		}
		var errs [2]error
		for n, tx := range txs {
			seat, err := naiveLock(t.Context(), tx, fmt.Sprintf("id = %d", n+1))
			if err == nil {
				err = naiveTake(t.Context(), tx, seat, 1)
			}
			errs[n] = err
		}
		require.NoError(t, errs[0], level)
		require.Equal(t, state, txn.SQLState(errs[1]), "%s: %v", level, errs[1])
		has := 2
		if state != "" {
			has = 1
		}
		require.Equal(t, has, fromTable[int](t, h, "select count(*) from naive.bookings where user_id = 1"), level)
	}

	// So it is with the statements of this package, where nothing makes the requests meet.
	event, ada := h.event(t, 1, "A1", "A2"), h.user(t)
	booked := make([]db.BookSeatRow, 2)
	counted := txntest.NewBarrier(2)
	var running sync.WaitGroup
	var errs [2]error
	for n := range booked {
		running.Go(func() {
			opts := txn.Options{Label: "test: without", Isolation: txn.RepeatableRead, MaxAttempts: 1}
			errs[n] = txn.WithTx(t.Context(), h.db, opts, func(ctx context.Context, tx *txn.Tx) (err error) {
				booked[n], err = db.New(tx).BookSeat(ctx, db.BookSeatParams{EventID: event, Label: fmt.Sprint("A", n+1), UserID: ada})
				return errors.Join(err, counted.Wait(ctx))
			})
		})
	}
	running.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	require.True(t, booked[0].Made && booked[1].Made)
	require.Equal(t, fmt.Sprintf("A1 booked by %[1]d, A2 booked by %[1]d", ada), h.seats(t, event), "one too many")
	_, err := booking.Cancel(t.Context(), h.db, booking.ChangeRequest{Booking: booked[0].BookingID, User: ada}) // for the check at the end
	require.NoError(t, err)
}

// With the lock, the second request waits before it counts, at any level.
func TestLimitByLock(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		d := h.at(level)
		event, ada := h.event(t, 1, "A1", "A2"), h.user(t)
		opts := txn.Options{Label: "test: first", Locks: []txn.Key{booking.UserKey(ada)}}
		require.ErrorIs(t, h.during(t, d, opts,
			func(ctx context.Context, tx *txn.Tx) error {
				return book(ctx, tx, event, ada, "A1", booking.LimitByLock)
			},
			func() error { return book(t.Context(), d, event, ada, "A2", booking.LimitByLock) },
		), booking.ErrLimit, level)
		require.Equal(t, fmt.Sprintf("A1 booked by %d, A2 free", ada), h.seats(t, event), level)
	}
}

// At SERIALIZABLE both may count before either has committed; the server lets one of them, and
// the other one runs again and sees it.
func TestLimitBySerializable(t *testing.T) {
	var failed atomic.Int64
	h := setup(t, txn.Config{Options: txn.Options{OnRetry: func(_ context.Context, r txn.Retry) {
		if txn.SQLState(r.Err) == "40001" {
			failed.Add(1)
		}
	}}})
	event, ada := h.event(t, 1, "A1", "A2"), h.user(t)
	counted := txntest.NewBarrier(2)
	var errs [2]error
	var running sync.WaitGroup
	for n := range errs {
		running.Go(func() {
			opts := txn.Options{Label: "test: both", Isolation: txn.Serializable, Locks: []txn.Key{booking.UserKey(ada).Shared()}}
			errs[n] = txn.WithTx(t.Context(), h.db, opts, func(ctx context.Context, tx *txn.Tx) error {
				if err := book(ctx, tx, event, ada, fmt.Sprint("A", n+1), booking.LimitBySerializable); err != nil {
					return err
				}
				if tx.Attempt() > 1 {
					return nil
				}
				return counted.Wait(ctx)
			})
		})
	}
	running.Wait()
	if errs[0] != nil {
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.NoError(t, errs[0])
	require.Equal(t, &booking.LimitError{EventID: event, UserID: ada, Limit: 1, Has: 1}, errs[1])
	require.Positive(t, failed.Load())
	require.EqualValues(t, 1, fromTable[int64](t, h, "select count(*) from bookings where user_id = $1", ada))
}

// A request of one way does not overlook one of the other.
func TestWaysOfTheLimitMixed(t *testing.T) {
	h := setup(t, txn.Config{})
	for first, second := range map[booking.LimitBy]booking.LimitBy{
		booking.LimitByLock:         booking.LimitBySerializable,
		booking.LimitBySerializable: booking.LimitByLock,
	} {
		event, ada := h.event(t, 1, "A1", "A2"), h.user(t)
		opts := txn.Options{Label: "test: first", Locks: []txn.Key{booking.UserKey(ada)}}
		if first == booking.LimitBySerializable {
			opts.Isolation, opts.Locks = txn.Serializable, []txn.Key{booking.UserKey(ada).Shared()}
		}
		require.ErrorIs(t, h.during(t, h.db, opts,
			func(ctx context.Context, tx *txn.Tx) error { return book(ctx, tx, event, ada, "A1", first) },
			func() error { return book(t.Context(), h.db, event, ada, "A2", second) },
		), booking.ErrLimit)
		require.Equal(t, fmt.Sprintf("A1 booked by %d, A2 free", ada), h.seats(t, event))
	}
}

// A hold that is confirmed just before it ends, and still uncommitted after that, does not
// count as a live one for others, and will: the next request waits for what becomes of it.
func TestLimitAndTheEndOfAHold(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, by := range []booking.LimitBy{booking.LimitByLock, booking.LimitBySerializable} {
		ada := h.user(t)
		// If the machine is too slow to confirm in time, it gets more.
		for d := 100 * time.Millisecond; ; d *= 2 {
			event := h.event(t, 1, "A1", "A2")
			ticket, err := booking.Hold(t.Context(), h.db, booking.HoldRequest{
				BookRequest: booking.BookRequest{Event: event, User: ada, Seat: "A1"}, For: d,
			})
			require.NoError(t, err)
			var second <-chan error
			err = txn.WithTx(t.Context(), h.db, txn.Options{Label: "test: confirm"}, func(ctx context.Context, tx *txn.Tx) error {
				if _, err := booking.Confirm(ctx, tx, booking.ChangeRequest{Booking: ticket.BookingID, User: ada}); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, "select pg_sleep_until($1)", ticket.Until); err != nil {
					return err
				}
				second = async(func() error { return book(t.Context(), h.db, event, ada, "A2", by) })
				waitBlocked(t, h.admin, 1)
				return nil
			})
			if errors.Is(err, booking.ErrExpired) && d < 10*time.Second {
				continue
			}
			require.NoError(t, err)
			require.ErrorIs(t, <-second, booking.ErrLimit)
			break
		}
	}
}

// Above READ COMMITTED a transaction that did not begin with the lock cannot take it in time.
func TestJoinedWithoutTheLock(t *testing.T) {
	h := setup(t, txn.Config{})
	event, ada := h.event(t, 1, "A1"), h.user(t)
	join := func(opts txn.Options, by booking.LimitBy) error {
		opts.Label = "test: outer"
		undone := errors.New("undone")
		err := txn.WithTx(t.Context(), h.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			return errors.Join(book(ctx, tx, event, ada, "A1", by), undone)
		})
		require.ErrorIs(t, err, undone)
		if errors.Is(err, txn.ErrOptionsConflict) {
			return txn.ErrOptionsConflict
		}
		require.Equal(t, undone.Error(), err.Error())
		return nil
	}
	key := []txn.Key{booking.UserKey(ada)}
	shared := []txn.Key{booking.UserKey(ada).Shared()}
	for _, c := range []struct {
		opts txn.Options
		by   booking.LimitBy
		want error
	}{
		{txn.Options{}, booking.LimitByLock, nil},
		{txn.Options{}, booking.LimitBySerializable, txn.ErrOptionsConflict},
		{txn.Options{Isolation: txn.RepeatableRead}, booking.LimitByLock, txn.ErrOptionsConflict},
		{txn.Options{Isolation: txn.RepeatableRead, Locks: shared}, booking.LimitByLock, txn.ErrOptionsConflict},
		{txn.Options{Isolation: txn.RepeatableRead, Locks: key}, booking.LimitByLock, nil},
		{txn.Options{Isolation: txn.RepeatableRead, Locks: key}, booking.LimitBySerializable, txn.ErrOptionsConflict},
		{txn.Options{Isolation: txn.Serializable}, booking.LimitBySerializable, txn.ErrOptionsConflict},
		{txn.Options{Isolation: txn.Serializable, Locks: shared}, booking.LimitBySerializable, nil},
		{txn.Options{Isolation: txn.Serializable, Locks: key}, booking.LimitBySerializable, nil},
	} {
		require.Equal(t, c.want, join(c.opts, c.by), "%v, %v", c.opts, c.by)
	}
}

func book(ctx context.Context, in txn.Transactor, event, user int64, seat string, by booking.LimitBy) error {
	_, err := booking.Book(ctx, in, booking.BookRequest{Event: event, User: user, Seat: seat, LimitBy: by})
	return err
}

// during runs second while a transaction is open in which first was done, and that commits
// when second waits for a lock. It returns second's error.
func (h *hall) during(t *testing.T, d *txn.DB, opts txn.Options, first func(context.Context, *txn.Tx) error, second func() error) error {
	t.Helper()
	var done <-chan error
	require.NoError(t, txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
		if err := first(ctx, tx); err != nil {
			return err
		}
		done = async(second)
		waitBlocked(t, h.admin, 1)
		return nil
	}))
	return <-done
}
