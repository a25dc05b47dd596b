package booking_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

func TestCreateEvent(t *testing.T) {
	h := setup(t, txn.Config{})
	r := booking.CreateEventRequest{Code: "gala", Name: "Gala", SeatsPerUser: 2, Seats: []string{"B2", "A1", "A10"}}
	event, err := booking.CreateEvent(t.Context(), h.db, r)
	require.NoError(t, err)
	require.Equal(t, "B2 free, A1 free, A10 free", h.seats(t, event), "in the order asked for")
	found, err := booking.FindEvent(t.Context(), h.db, "gala")
	require.NoError(t, err)
	require.Equal(t, event, found)
	_, err = booking.CreateEvent(t.Context(), h.db, r)
	require.ErrorIs(t, err, booking.ErrCodeTaken)
	_, err = booking.FindEvent(t.Context(), h.db, "no such")
	require.ErrorIs(t, err, booking.ErrUnknownEvent)
	_, err = booking.FindEvent(t.Context(), h.db, "\x00")
	require.ErrorIs(t, err, booking.ErrInvalid)
	_, err = booking.CreateEvent(t.Context(), h.db, booking.CreateEventRequest{Code: "standing", Name: "N", SeatsPerUser: 1})
	require.NoError(t, err, "seats are not needed")

	for field, change := range map[string]func(*booking.CreateEventRequest){
		"Code":         func(r *booking.CreateEventRequest) { r.Code = strings.Repeat("c", 101) },
		"Name":         func(r *booking.CreateEventRequest) { r.Name = "" },
		"SeatsPerUser": func(r *booking.CreateEventRequest) { r.SeatsPerUser = 0 },
		"Seats":        func(r *booking.CreateEventRequest) { r.Seats = []string{"A1", "A1"} },
		"":             func(r *booking.CreateEventRequest) { r.Seats = []string{"\xff"} },
	} {
		r := r
		r.Code = "other"
		change(&r)
		_, err := booking.CreateEvent(t.Context(), h.db, r)
		invalid := &booking.InvalidError{}
		require.ErrorAs(t, err, &invalid, field)
		require.Equal(t, field, invalid.Field)
		require.ErrorIs(t, err, booking.ErrInvalid)
	}
	require.Equal(t, 2, fromTable[int](t, h, "select count(*) from events"))
}

func TestAvailableSeats(t *testing.T) {
	h := setup(t, txn.Config{})
	event := h.event(t, 9, "A1", "A2", "A3", "A4", "A5")
	h.event(t, 9, "B1")
	require.NoError(t, book(t.Context(), h.db, event, h.user(t), "A2", booking.LimitByLock))
	h.hold(t, event, h.user(t), "A3")
	h.pass(t, h.hold(t, event, h.user(t), "A4"))
	var labels []string
	r := booking.SeatsRequest{Event: event, Limit: 2}
	for _, want := range []int{2, 1} {
		page, err := booking.AvailableSeats(t.Context(), h.db, r)
		require.NoError(t, err)
		require.Len(t, page.Seats, want)
		for _, s := range page.Seats {
			require.Equal(t, h.seatOf(t, event, s.Label), s.ID)
			labels = append(labels, s.Label)
		}
		r.After = page.Next
	}
	require.Zero(t, r.After)
	require.Equal(t, []string{"A1", "A4", "A5"}, labels)

	all, err := booking.AvailableSeats(t.Context(), h.db, booking.SeatsRequest{Event: event})
	require.NoError(t, err)
	require.Len(t, all.Seats, 3)
	none, err := booking.AvailableSeats(t.Context(), h.db, booking.SeatsRequest{Event: 1 << 40})
	require.NoError(t, err)
	require.Empty(t, none.Seats)
	for field, r := range map[string]booking.SeatsRequest{"After": {After: -1}, "Limit": {Limit: -1}} {
		_, err := booking.AvailableSeats(t.Context(), h.db, r)
		require.Equal(t, &booking.InvalidError{Field: field}, err)
	}

	many := make([]string, booking.MaxPage+1)
	for i := range many {
		many[i] = fmt.Sprint("M", i)
	}
	event = h.event(t, 1, many...)
	for limit, want := range map[int]int{0: booking.DefaultPage, booking.MaxPage + 5: booking.MaxPage} {
		page, err := booking.AvailableSeats(t.Context(), h.db, booking.SeatsRequest{Event: event, Limit: limit})
		require.NoError(t, err)
		require.Len(t, page.Seats, want)
		require.NotZero(t, page.Next)
	}
}

func TestErrorsAnswerIs(t *testing.T) {
	t.Parallel()
	for err, is := range map[error]error{
		&booking.InvalidError{Field: "Key"}: booking.ErrInvalid, &booking.TakenError{}: booking.ErrTaken,
		&booking.SoldOutError{}: booking.ErrSoldOut, &booking.SoldOutError{Contended: true}: booking.ErrSoldOut,
		&booking.LimitError{}: booking.ErrLimit, &booking.ExpiredError{}: booking.ErrExpired, &booking.StateError{}: booking.ErrState,
	} {
		require.ErrorIs(t, err, is)
		require.Contains(t, err.Error(), is.Error())
		require.NotErrorIs(t, err, txn.ErrNotFound)
	}
}
