package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
)

func TestSeats(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada, bob := s.userOf(t, s.customer(t)), s.userOf(t, s.customer(t))
	const concert = `{"code": "concert", "name": "Concert", "seats_per_user": 2, "seats": ["A1", "A2", "A3"]}`
	a := s.post(t, "/events", concert)
	require.Equal(t, http.StatusCreated, a.status, a.text)
	event := a.number("event")
	path := fmt.Sprintf("/events/%d", event)
	user := func(id int64) string { return fmt.Sprintf(`{"user": %d}`, id) }
	book := func(seat string, id int64) answer {
		a, err := s.do(t.Context(), http.MethodPut, path+"/seats/"+seat+"/booking", user(id))
		require.NoError(t, err)
		return a
	}
	seats := func() string { return fmt.Sprint(s.get(t, path+"/seats").body["seats"]) }
	require.Equal(t, "[A1 A2 A3]", seats())

	first := book("A2", ada)
	require.Equal(t, http.StatusOK, first.status, first.text)
	require.Equal(t, "confirmed", first.body["status"])
	again := book("A2", ada)
	require.Equal(t, http.StatusOK, again.status)
	require.Equal(t, first.body["booking"], again.body["booking"])
	require.Equal(t, true, again.body["replayed"])
	for range 2 {
		a = s.post(t, path+"/bookings", user(ada), "Idempotency-Key: any")
		require.Equal(t, http.StatusCreated, a.status, a.text)
		require.Equal(t, "A1", a.body["seat"])
	}
	page := s.get(t, path+"/seats?limit=1")
	require.Equal(t, "[A3]", seats())
	require.NotContains(t, page.body, "next_after")
	mine := fmt.Sprintf("/bookings/%d?user=%d", first.number("booking"), ada)

	const key = "Idempotency-Key: k"
	for name, c := range map[string]refused{
		"taken":                {method: http.MethodPut, path: path + "/seats/A2/booking", body: user(bob), problem: "seat-taken"},
		"one too many":         {method: http.MethodPut, path: path + "/seats/A3/booking", body: user(ada), problem: "seat-limit", members: map[string]string{"limit": "2", "has": "2", "user": fmt.Sprint(ada)}},
		"no such seat":         {method: http.MethodPut, path: path + "/seats/Z9/booking", body: user(bob), problem: "unknown-seat"},
		"nobody":               {method: http.MethodPut, path: path + "/seats/A3/booking", body: user(9999), problem: "unknown-user"},
		"no user":              {method: http.MethodPut, path: path + "/seats/A3/booking", body: `{}`, problem: "invalid-request", members: map[string]string{"field": "user"}},
		"any without a key":    {path: path + "/bookings", body: user(bob), problem: "idempotency-key-missing"},
		"any of none":          {path: "/events/9999/bookings", body: user(bob), headers: []string{key}, problem: "unknown-event"},
		"a code twice":         {path: "/events", body: concert, problem: "event-code-taken"},
		"seats twice":          {path: "/events", body: `{"code": "c", "name": "C", "seats_per_user": 2, "seats": ["A1", "A1"]}`, problem: "invalid-request", members: map[string]string{"field": "seats"}},
		"nothing for a user":   {path: "/events", body: `{"code": "c", "name": "C", "seats_per_user": 0, "seats": ["A1"]}`, problem: "invalid-request", members: map[string]string{"field": "seats_per_user"}},
		"another's booking":    {method: http.MethodDelete, path: fmt.Sprintf("/bookings/%d?user=%d", first.number("booking"), bob), problem: "unknown-booking"},
		"no user's booking":    {method: http.MethodDelete, path: fmt.Sprintf("/bookings/%d", first.number("booking")), problem: "unknown-booking"},
		"a parameter misspelt": {method: http.MethodDelete, path: mine + "&force=1", problem: "invalid-request"},
	} {
		t.Run(name, func(t *testing.T) { s.requireRefused(t, c) })
	}

	require.Equal(t, http.StatusOK, book("A3", bob).status)
	a = s.post(t, path+"/bookings", user(bob), key)
	requireProblem(t, "sold-out", a)
	require.Equal(t, false, a.body["contended"])
	for _, replayed := range []bool{false, true} {
		a, err := s.do(t.Context(), http.MethodDelete, mine, "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, a.status, a.text)
		require.Equal(t, replayed, a.body["replayed"])
		require.Equal(t, "cancelled", a.body["status"])
	}
	require.Equal(t, "[A2]", seats())
	// The key was of the seat that the user then got, whatever became of that.
	a = s.post(t, path+"/bookings", user(bob), key)
	require.Equal(t, http.StatusCreated, a.status, "a refusal is not kept: %s", a.text)
	play := s.post(t, "/events", `{"code": "play", "name": "Play", "seats_per_user": 2, "seats": ["A1", "A2"]}`).number("event")
	requireProblem(t, "idempotency-key-reused", s.post(t, fmt.Sprintf("/events/%d/bookings", play), user(bob), key))

	// What is held is confirmed, not booked.
	d := txn.New(s.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{lockOrder}})
	_, err := booking.Hold(t.Context(), d, booking.HoldRequest{BookRequest: booking.BookRequest{Event: play, User: bob, Seat: "A1"}, For: time.Hour})
	require.NoError(t, err)
	s.requireRefused(t, refused{method: http.MethodPut, path: fmt.Sprintf("/events/%d/seats/A1/booking", play), body: user(bob),
		problem: "booking-state", members: map[string]string{"booking_status": "held"}})
}
