package httpapi

import (
	"errors"
	"net/http"

	"github.com/interlock-go/interlock/service/booking"
)

// Problems of package booking.
var (
	unknownEvent = &problemType{name: "unknown-event", status: http.StatusNotFound,
		title: "There is no such event"}
	unknownSeat = &problemType{name: "unknown-seat", status: http.StatusNotFound,
		title: "There is no such seat"}
	unknownBooking = &problemType{name: "unknown-booking", status: http.StatusNotFound,
		title: "There is no such booking of the user"}
	eventCodeTaken = &problemType{name: "event-code-taken", status: http.StatusConflict,
		title: "There is an event with the code"}
	seatTaken = &problemType{name: "seat-taken", status: http.StatusConflict,
		title: "Somebody else has the seat"}
	soldOut = &problemType{name: "sold-out", status: http.StatusConflict,
		title: "No seat is left", detail: "If contended is true, others are taking the last ones, and one of those may become free within moments."}
	seatLimit = &problemType{name: "seat-limit", status: http.StatusConflict,
		title: "The user has as many seats as it may have"}
	bookingState = &problemType{name: "booking-state", status: http.StatusConflict,
		title: "The booking is in a state in which this is not possible"}

	bookingProblems = []*problemType{
		unknownEvent, unknownSeat, unknownBooking, eventCodeTaken, seatTaken, soldOut, seatLimit, bookingState,
	}
)

// bookingProblem says what a refusal of package booking is for a client, or nil.
func bookingProblem(err error) *problem {
	if e, ok := errors.AsType[*booking.SoldOutError](err); ok {
		return because(soldOut, err, extension{"event": e.EventID, "contended": e.Contended})
	}
	if e, ok := errors.AsType[*booking.LimitError](err); ok {
		return because(seatLimit, err, extension{"event": e.EventID, "user": e.UserID, "limit": e.Limit, "has": e.Has})
	}
	if e, ok := errors.AsType[*booking.StateError](err); ok {
		return because(bookingState, err, extension{"booking": e.BookingID, "booking_status": e.Status})
	}
	if e, ok := errors.AsType[*booking.InvalidError](err); ok {
		return invalidOf(e.Field, err)
	}
	return among(bookingRefusals, err)
}

var bookingRefusals = []refusal{
	{booking.ErrTaken, seatTaken},
	{booking.ErrUnknownEvent, unknownEvent},
	{booking.ErrUnknownSeat, unknownSeat},
	{booking.ErrUnknownUser, unknownUser},
	{booking.ErrUnknownBooking, unknownBooking},
	{booking.ErrCodeTaken, eventCodeTaken},
	{booking.ErrExpired, bookingState},
	{booking.ErrKeyReused, keyReused},
}

func (a *API) bookings() {
	a.handle("POST /events", a.createEvent)
	a.handle("GET /events/{event}/seats", a.availableSeats)
	a.handle("PUT /events/{event}/seats/{seat}/booking", a.bookSeat)
	a.handle("POST /events/{event}/bookings", a.bookAny)
	a.handle("DELETE /bookings/{booking}", a.cancelBooking)
}

func (a *API) createEvent(r *http.Request) (answer, error) {
	var in struct {
		Code         string   `json:"code"`
		Name         string   `json:"name"`
		SeatsPerUser int32    `json:"seats_per_user"`
		Seats        []string `json:"seats"`
	}
	if err := decode(r, &in, "code", "name", "seats_per_user", "seats"); err != nil {
		return answer{}, err
	}
	whenRepeated(r, "If the repetition is refused because of the code, the event is there.")
	id, err := booking.CreateEvent(r.Context(), a.db, booking.CreateEventRequest{
		Code: in.Code, Name: in.Name, SeatsPerUser: in.SeatsPerUser, Seats: in.Seats,
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: struct {
		Event int64 `json:"event"`
	}{id}}, nil
}

func (a *API) availableSeats(r *http.Request) (answer, error) {
	event, err := pathID(r, "event")
	if err != nil {
		return answer{}, err
	}
	after, limit, err := pageOf(r, "after", booking.MaxPage)
	if err != nil {
		return answer{}, err
	}
	page, err := booking.AvailableSeats(r.Context(), a.db, booking.SeatsRequest{Event: event, After: after, Limit: limit})
	if err != nil {
		return answer{}, err
	}
	seats := make([]string, len(page.Seats))
	for i, s := range page.Seats {
		seats[i] = s.Label
	}
	return answer{status: http.StatusOK, body: struct {
		Seats []string `json:"seats"`
		Next  int64    `json:"next_after,omitempty"` // the next page's after; missing on the last one
	}{seats, page.Next}}, nil
}

// A ticket is the answer to a request about a booking.
type ticket struct {
	Booking  int64  `json:"booking"`
	Event    int64  `json:"event"`
	Seat     string `json:"seat"`
	Status   string `json:"status"`
	Replayed bool   `json:"replayed"` // it was found as the request wants it
}

func ticketOf(status int, t booking.Ticket, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return answer{status: status, body: ticket{t.BookingID, t.EventID, t.Seat, string(t.Status), t.Replayed}}, nil
}

// seatRequest reads the event and the user of a request for a seat.
func seatRequest(r *http.Request) (event, user int64, err error) {
	if event, err = pathID(r, "event"); err != nil {
		return 0, 0, err
	}
	var in struct {
		User int64 `json:"user"`
	}
	err = decode(r, &in, "user")
	return event, in.User, err
}

// bookSeat needs no key: a seat is booked for a user once, however often that is asked for.
func (a *API) bookSeat(r *http.Request) (answer, error) {
	event, user, err := seatRequest(r)
	if err != nil {
		return answer{}, err
	}
	whenRepeated(r, "If the user has the seat by then, the repetition says so.")
	t, err := booking.Book(r.Context(), a.db, booking.BookRequest{Event: event, User: user, Seat: r.PathValue("seat")})
	return ticketOf(http.StatusOK, t, err)
}

func (a *API) bookAny(r *http.Request) (answer, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return answer{}, err
	}
	event, user, err := seatRequest(r)
	if err != nil {
		return answer{}, err
	}
	t, err := booking.BookAny(r.Context(), a.db, booking.BookAnyRequest{Event: event, User: user, Key: key})
	return ticketOf(http.StatusCreated, t, err)
}

func (a *API) cancelBooking(r *http.Request) (answer, error) {
	id, err := pathID(r, "booking")
	if err != nil {
		return answer{}, err
	}
	if err := onlyQuery(r, "user"); err != nil {
		return answer{}, err
	}
	user, err := queryInt(r, "user")
	if err != nil {
		return answer{}, err
	}
	whenRepeated(r, "What is cancelled already stays so.")
	t, err := booking.Cancel(r.Context(), a.db, booking.ChangeRequest{Booking: id, User: user})
	return ticketOf(http.StatusOK, t, err)
}
