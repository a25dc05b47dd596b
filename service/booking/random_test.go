package booking_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

// Many users do what they like to a few seats at a time, at all isolation levels and by both
// ways of the limit, with holds so short that they end all the time. Whatever they hear is one
// of this package's refusals, and the invariants hold at the end.
func TestEverybodyAtOnce(t *testing.T) {
	h := setup(t, txn.Config{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const workers, calls = 8, 40
	labels := []string{"A1", "A2", "A3", "A4"}
	events := []int64{h.event(t, 2, labels...), h.event(t, 1, labels...)}
	var users []int64
	for range 5 {
		users = append(users, h.user(t))
	}
	refusals := []error{
		booking.ErrTaken, booking.ErrSoldOut, booking.ErrLimit, booking.ErrExpired, booking.ErrState, booking.ErrBusy,
	}
	errs := make([]error, workers)
	var running sync.WaitGroup
	for n := range workers {
		running.Go(func() {
			v := visitor{Rand: rand.New(rand.NewPCG(seed, uint64(n)))}
			for call := range calls {
				d := h.at(isolations[v.IntN(len(isolations))])
				err := v.anything(t.Context(), d, events[v.IntN(len(events))], users[v.IntN(len(users))], fmt.Sprint(n, " ", call))
				if err != nil && !slices.ContainsFunc(refusals, func(is error) bool { return errors.Is(err, is) }) {
					errs[n] = fmt.Errorf("seed %d, worker %d, call %d: %w", seed, n, call, err)
					return
				}
			}
		})
	}
	running.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Greater(t, fromTable[int](t, h, "select count(distinct status) from bookings"), 3, "of seed %d", seed)
}

// A visitor does at random what a user can do, to seats or to what came of earlier calls.
type visitor struct {
	*rand.Rand
	tickets []booking.ChangeRequest
}

func (v *visitor) anything(ctx context.Context, d *txn.DB, event, user int64, key string) error {
	seat := booking.BookRequest{
		Event: event, User: user, Seat: fmt.Sprint("A", 1+v.IntN(4)), NoWait: v.IntN(3) == 0, LimitBy: booking.LimitBy(v.IntN(2)),
	}
	anySeat := booking.BookAnyRequest{Event: event, User: user, Key: key, LimitBy: seat.LimitBy}
	holdFor := time.Duration(1+v.IntN(50_000)) * time.Microsecond
	var ticket booking.Ticket
	var err error
	switch n := v.IntN(10); {
	case n == 0:
		ticket, err = booking.Book(ctx, d, seat)
	case n == 1:
		ticket, err = booking.BookAny(ctx, d, anySeat)
	case n < 4:
		ticket, err = booking.Hold(ctx, d, booking.HoldRequest{BookRequest: seat, For: holdFor})
	case n == 4:
		ticket, err = booking.HoldAny(ctx, d, booking.HoldAnyRequest{BookAnyRequest: anySeat, For: holdFor})
	case n == 5:
		_, err = booking.Sweep(ctx, d, 1+v.IntN(3))
	case len(v.tickets) > 0:
		change := []func(context.Context, txn.Transactor, booking.ChangeRequest) (booking.Ticket, error){
			booking.Confirm, booking.Confirm, booking.Release, booking.Cancel,
		}[n-6]
		_, err = change(ctx, d, v.tickets[len(v.tickets)-1-v.IntN(min(3, len(v.tickets)))])
	}
	if err == nil && ticket.BookingID != 0 {
		v.tickets = append(v.tickets, booking.ChangeRequest{Booking: ticket.BookingID, User: user})
	}
	return err
}
