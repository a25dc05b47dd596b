package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

// seats is the scene in which more users want the seats of an event than there are. Each request
// is about an event of its own, with a few seats, and all of its clients come at once.
type seats struct {
	size  int // how many users
	users []int64
}

func (s *seats) open(ctx context.Context, d *txn.DB) error {
	users, err := signUp(ctx, d, "seats", s.size)
	for _, user := range users {
		s.users = append(s.users, user.UserID)
	}
	return err
}

// Shares of the requests, in percent. The rest are bookings of one seat by several users.
const (
	percentAnySeat = 25 // five users want some of three seats, one of them by two clients
	percentHolds   = 25 // seats are held first, and then booked, given back, or too late
	percentLimit   = 15 // a user wants four seats by four clients, and may have two
	percentSweep   = 5  // of holds that have ended
)

// What the keys of bookings begin with.
const (
	bookKey    = "book"    // of one seat
	anyKey     = "any"     // of any seat
	confirmKey = "confirm" // of a hold, in time
	lateKey    = "late"    // of a hold, perhaps too late
	releaseKey = "release" // of a hold
	cancelKey  = "cancel"  // of what was booked
	limitKey   = "limit"   // of any seat, by a user who has enough
)

// seatsPerUser is how many seats of an event a user may have.
const seatsPerUser = 2

func (s *seats) requests(seed uint64) iter.Seq[request] {
	return func(yield func(request) bool) {
		rng := rand.New(rand.NewPCG(seed, 2))
		for n := 1; ; n++ {
			r := s.request(rng, fmt.Sprintf("%d-%d", seed, n))
			if !yield(r) {
				return
			}
		}
	}
}

func (s *seats) request(rng *rand.Rand, name string) (r request) {
	event := showing{code: name, seats: 3}
	users := rng.Perm(len(s.users))
	any := func(kind string, user int) anySeat {
		return anySeat{showing: event, kind: kind, user: s.users[users[user]], client: user}
	}
	switch throw := dice(rng.IntN(100)); {
	case throw.below(percentAnySeat):
		for user := range 5 {
			r = append(r, any(anyKey, user))
		}
		return append(r, any(anyKey, 0))
	case throw.below(percentHolds):
		return request{any(confirmKey, 0), any(confirmKey, 1), any(lateKey, 2), any(releaseKey, 3), any(cancelKey, 4)}
	case throw.below(percentLimit):
		event.seats = 5
		for client := range 4 {
			one := any(limitKey, 0)
			one.client, one.serializable = client, rng.IntN(2) == 0
			r = append(r, one)
		}
		return r
	case throw.below(percentSweep):
		return request{sweep{}}
	}
	event.seats = 1
	for user := range 2 + rng.IntN(4) {
		r = append(r, oneSeat{showing: event, user: s.users[users[user]], noWait: rng.IntN(4) == 0})
	}
	return r
}

// A showing is an event that is made by who comes first.
type showing struct {
	code  string
	seats int
}

func (e showing) ensure(ctx context.Context, d *txn.DB) (event int64, err error) {
	r := booking.CreateEventRequest{Code: e.code, Name: "Showing " + e.code, SeatsPerUser: seatsPerUser}
	for n := range e.seats {
		r.Seats = append(r.Seats, fmt.Sprintf("A%d", n+1))
	}
	event, err = booking.CreateEvent(ctx, d, r)
	if errors.Is(err, booking.ErrCodeTaken) {
		return booking.FindEvent(ctx, d, e.code)
	}
	return event, err
}

// mayLackID: seats are taken in one flush.
func (showing) mayLackID() {}

// oneSeat is a call for the seat that others want, too.
type oneSeat struct {
	showing
	user   int64
	noWait bool
}

func (c oneSeat) keys() []string { return []string{fmt.Sprintf("%s-%s-%d", bookKey, c.code, c.user)} }

func (c oneSeat) ask(ctx context.Context, d *txn.DB) (answer, error) {
	event, err := c.ensure(ctx, d)
	if err != nil {
		return did, err
	}
	ticket, err := booking.Book(ctx, d, booking.BookRequest{Event: event, User: c.user, Seat: "A1", NoWait: c.noWait})
	return found(ticket), err
}

// anySeat is a call for a seat whichever, and for what is done with it afterwards.
type anySeat struct {
	showing
	kind         string
	user         int64
	client       int
	serializable bool
}

func (c anySeat) key() string    { return fmt.Sprintf("%s-%s-%d", c.kind, c.code, c.client) }
func (c anySeat) keys() []string { return []string{c.key()} }

func (c anySeat) ask(ctx context.Context, d *txn.DB) (answer, error) {
	event, err := c.ensure(ctx, d)
	if err != nil {
		return did, err
	}
	r := booking.BookAnyRequest{Event: event, User: c.user, Key: c.key()}
	if c.serializable {
		r.LimitBy = booking.LimitBySerializable
	}
	hold := time.Hour
	if c.kind == lateKey {
		hold = time.Millisecond
	}
	var ticket booking.Ticket
	switch c.kind {
	case confirmKey, lateKey, releaseKey:
		ticket, err = booking.HoldAny(ctx, d, booking.HoldAnyRequest{BookAnyRequest: r, For: hold})
	default:
		ticket, err = booking.BookAny(ctx, d, r)
	}
	if err != nil {
		return did, err
	}
	change := booking.ChangeRequest{Booking: ticket.BookingID, User: c.user}
	switch c.kind {
	case confirmKey, lateKey:
		ticket, err = booking.Confirm(ctx, d, change)
	case releaseKey:
		ticket, err = booking.Release(ctx, d, change)
	case cancelKey:
		ticket, err = booking.Cancel(ctx, d, change)
	}
	return found(ticket), err
}

// found is the answer of a ticket. One that was there already may be this call's own: it looks
// again when it has not heard.
func found(t booking.Ticket) answer {
	if t.Replayed {
		return isDone
	}
	return did
}

// A sweep is a call that frees the seats of holds that have ended.
type sweep struct{ showing }

func (sweep) keys() []string { return nil }

func (sweep) ask(ctx context.Context, d *txn.DB) (answer, error) {
	_, err := booking.Sweep(ctx, d, 0)
	return isDone, err
}

// The rules that refuse who comes too late, and who wants too much.
const (
	ruleTaken = "seat taken"
	ruleLimit = "too many seats"
)

func (s *seats) rule(err error) string {
	for _, rule := range []struct {
		err  error
		name string
	}{
		{booking.ErrTaken, ruleTaken},
		{booking.ErrSoldOut, "sold out"},
		{booking.ErrLimit, ruleLimit},
		{booking.ErrBusy, "seat in use"},
		{booking.ErrExpired, "hold expired"},
	} {
		if errors.Is(err, rule.err) {
			return rule.name
		}
	}
	return ""
}

// storedSeatsSQL are the keys that the bookings show to have been served.
const storedSeatsSQL = `
	select coalesce(b.idempotency_key, format('book-%s-%s', e.code, b.user_id))
	from bookings b join events e on e.id = b.event_id
	where b.status = case split_part(b.idempotency_key, '-', 1)
		when 'release' then 'released' when 'cancel' then 'cancelled' else 'confirmed' end::booking_status`

func (s *seats) audit(ctx context.Context, tx pgx.Tx, told *tally) (audit, error) {
	stored, err := keysThere(ctx, tx, storedSeatsSQL)
	return audit{stored, []sum{
		told.race("each seat that several wanted has one owner", bookKey, ruleTaken, 1),
		told.race("who has all seats that it may have gets no more", limitKey, ruleLimit, seatsPerUser),
	}}, err
}
