package booking_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

// overdue makes an event of as many seats, each with a hold that has ended, and another one
// that is held still.
func (h *hall) overdue(t *testing.T, n int) (event int64, tickets []booking.Ticket) {
	t.Helper()
	labels := []string{"held"}
	for i := range n {
		labels = append(labels, fmt.Sprint("A", i))
	}
	event = h.event(t, int32(n), labels...)
	user := h.user(t)
	for _, label := range labels[1:] {
		tickets = append(tickets, h.hold(t, event, user, label))
	}
	h.pass(t, tickets...)
	h.hold(t, event, h.user(t), "held")
	return event, tickets
}

func (h *hall) free(t *testing.T, event int64) int {
	t.Helper()
	return fromTable[int](t, h, "select count(*) from seats where event_id = $1 and status = 'free'", event)
}

func TestSweep(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		d := h.at(level)
		event, tickets := h.overdue(t, 5)
		for _, want := range []int64{2, 2, 1, 0} {
			swept, err := booking.Sweep(t.Context(), d, 2)
			require.NoError(t, err)
			require.Equal(t, want, swept, level)
		}
		require.Equal(t, 5, h.free(t, event), "and the sixth one is held")
		require.Equal(t, 5, fromTable[int](t, h, "select count(*) from bookings where event_id = $1 and status = 'expired'", event))
		require.NotEmpty(t, tickets)
	}
	_, err := booking.Sweep(t.Context(), h.db, -1)
	require.Equal(t, &booking.InvalidError{Field: "limit"}, err)
}

// The hold that ended first is swept first.
func TestSweepInOrder(t *testing.T) {
	h := setup(t, txn.Config{})
	_, tickets := h.overdue(t, 2)
	h.pass(t, tickets[1])
	swept, err := booking.Sweep(t.Context(), h.db, 1)
	require.NoError(t, err)
	require.EqualValues(t, 1, swept)
	require.Equal(t, "free", fromTable[string](t, h, "select status::text from seats where id = $1", tickets[1].SeatID))
}

// A sweeper passes over what another one, or somebody who takes the seat, has locked, and waits
// for none of them.
func TestSweepPassesOver(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		event, tickets := h.overdue(t, 4)
		bob := h.user(t)
		opts := txn.Options{Label: "test: busy", Locks: []txn.Key{booking.UserKey(bob)}}
		require.NoError(t, txn.WithTx(t.Context(), h.at(level), opts, func(ctx context.Context, tx *txn.Tx) error {
			if err := book(ctx, tx, event, bob, tickets[0].Seat, booking.LimitByLock); err != nil {
				return err
			}
			swept, err := booking.Sweep(txn.Detach(ctx), h.at(level), 1)
			require.NoError(t, err, level)
			require.EqualValues(t, 1, swept, level)
			return nil
		}))
		require.NoError(t, txn.WithTx(t.Context(), h.at(level), txn.Options{Label: "test: sweeping"}, func(ctx context.Context, tx *txn.Tx) error {
			swept, err := booking.Sweep(ctx, tx, 1)
			require.EqualValues(t, 1, swept, level)
			if err != nil {
				return err
			}
			swept, err = booking.Sweep(txn.Detach(ctx), h.at(level), 0)
			require.EqualValues(t, 1, swept, level)
			return err
		}))
		require.Equal(t, 3, h.free(t, event), level)
		require.Equal(t, fromTable[int64](t, h, "select user_id from bookings where seat_id = $1 and live", tickets[0].SeatID), bob, level)
	}
}

// Whoever comes to a seat that is being swept waits for it, and gets it; the late one is told.
func TestSweepMeetsOthers(t *testing.T) {
	h := setup(t, txn.Config{})
	for _, level := range isolations {
		d := h.at(level)
		sweep := func(ctx context.Context, tx *txn.Tx) error {
			swept, err := booking.Sweep(ctx, tx, 0)
			require.EqualValues(t, 1, swept, level)
			return err
		}
		event, tickets := h.overdue(t, 1)
		bob := h.user(t)
		require.NoError(t, h.during(t, d, txn.Options{Label: "test: sweeping"}, sweep,
			func() error { return book(t.Context(), d, event, bob, tickets[0].Seat, booking.LimitByLock) }), level)
		_, tickets = h.overdue(t, 1)
		ada := fromTable[int64](t, h, "select user_id from bookings where id = $1", tickets[0].BookingID)
		require.ErrorIs(t, h.during(t, d, txn.Options{Label: "test: sweeping"}, sweep, func() error {
			_, err := booking.Release(t.Context(), d, booking.ChangeRequest{Booking: tickets[0].BookingID, User: ada})
			return err
		}), booking.ErrExpired, level)
	}
}

// The job goes on until nothing is left.
func TestSweepWorker(t *testing.T) {
	h := setup(t, txn.Config{})
	event := h.event(t, 1, "A1")
	// More than one transaction takes.
	exec(t, h.admin, `
		with u as (insert into users (email, name) values ('many@example.com', 'Many') returning id),
		s as (
			insert into seats (event_id, label, status, held_until)
			select $1, format('B%s', n), 'held', clock_timestamp() - interval '1 hour' from generate_series(1, $2::int) n
			returning id, event_id, held_until
		)
		insert into bookings (event_id, seat_id, user_id, status, expires_at, created_at)
		select s.event_id, s.id, u.id, 'held', s.held_until, s.held_until - interval '1 hour' from s, u`,
		event, booking.DefaultSweep+7)
	workers := river.NewWorkers()
	booking.AddWorkers(workers, h.db)
	client, err := river.NewClient(riverpgxv5.New(h.Pool(t)), &river.Config{
		Schema: jobs.Schema, Workers: workers, PeriodicJobs: booking.PeriodicJobs(), Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
	})
	require.NoError(t, err)
	done, cancel := client.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed)
	defer cancel()
	require.NoError(t, client.Start(t.Context()))
	worked := <-done
	require.NoError(t, client.Stop(context.WithoutCancel(t.Context())))
	require.Equal(t, rivertype.JobStateCompleted, worked.Job.State)
	require.Equal(t, booking.SweepArgs{}.Kind(), worked.Job.Kind)
	require.Equal(t, booking.DefaultSweep+8, h.free(t, event))
}
