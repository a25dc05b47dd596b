package booking

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A CreateEventRequest asks for an event with its seats.
type CreateEventRequest struct {
	Code         string   // names the event, once and for all; 1 to 100 characters
	Name         string   // 1 to 200 characters
	SeatsPerUser int32    // how many a user may hold or have at a time; more than zero
	Seats        []string // labels of 1 to 20 characters, each once; BookAny takes the first ones first
}

// CreateEvent makes an event, and returns its id. It locks nothing that was there before, and
// is as good at any isolation level.
//
// It is refused with ErrCodeTaken or ErrInvalid.
func CreateEvent(ctx context.Context, t txn.Transactor, r CreateEventRequest) (int64, error) {
	made, err := askOnce(ctx, t, txn.Options{Label: "booking: create event"}, func(q *db.QueuedQueries) *txn.Pending[int64] {
		return q.CreateEvent(db.CreateEventParams{Code: r.Code, Name: r.Name, SeatsPerUser: r.SeatsPerUser, Labels: r.Seats})
	})
	if errors.Is(err, txn.ErrAnswerLost) { // it is committed
		found, again := FindEvent(ctx, t, r.Code)
		if again != nil {
			return 0, fmt.Errorf("create event: %w; asked for its id: %w", err, again)
		}
		return found, nil
	}
	if err != nil {
		return 0, fmt.Errorf("create event: %w", err)
	}
	return made, nil
}

// FindEvent returns the id of the event with a code. It locks nothing, at any isolation level.
//
// It is refused with ErrUnknownEvent.
func FindEvent(ctx context.Context, t txn.ReadTransactor, code string) (int64, error) {
	e, err := read(ctx, t, "booking: find event", func(q *db.QueuedReadQueries) *txn.Pending[db.Event] {
		return q.FindEventByCode(code)
	})
	if errors.Is(err, txn.ErrNotFound) {
		return 0, fmt.Errorf("%w: %q", ErrUnknownEvent, code)
	}
	if err != nil {
		return 0, fmt.Errorf("find event: %w", err)
	}
	return e.ID, nil
}

// Sizes of a page of seats.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// A SeatsRequest asks for a page of the seats of an event that can be taken.
type SeatsRequest struct {
	Event int64
	After int64 // the Next of the page before; zero for the first one
	Limit int   // how many seats; zero is DefaultPage, more than MaxPage is MaxPage
}

// A Page is a part of an event's seats.
type Page struct {
	Seats []Seat
	Next  int64 // After of the next page's request; zero if this is the last one
}

// A Seat is one that could be taken when it was looked at.
type Seat struct {
	ID    int64
	Label string
}

// AvailableSeats returns a page of the seats that are free, or whose hold has ended. It locks
// nothing, at any isolation level: by the time somebody asks for one of them, it may be taken.
// An event that does not exist has none.
//
// It is refused with ErrInvalid.
func AvailableSeats(ctx context.Context, t txn.ReadTransactor, r SeatsRequest) (Page, error) {
	switch {
	case r.After < 0:
		return Page{}, &InvalidError{Field: "After"}
	case r.Limit < 0:
		return Page{}, &InvalidError{Field: "Limit"}
	case r.Limit == 0:
		r.Limit = DefaultPage
	}
	r.Limit = min(r.Limit, MaxPage)
	found, err := read(ctx, t, "booking: available seats", func(q *db.QueuedReadQueries) *txn.Pending[[]db.ListAvailableSeatsRow] {
		// One more than asked for tells whether there is another page.
		return q.ListAvailableSeats(db.ListAvailableSeatsParams{EventID: r.Event, AfterID: r.After, MaxRows: int64(r.Limit) + 1})
	})
	if err != nil {
		return Page{}, fmt.Errorf("available seats: %w", err)
	}
	return page(found, r.Limit), nil
}

func page(rows []db.ListAvailableSeatsRow, limit int) Page {
	p := Page{Seats: make([]Seat, 0, min(len(rows), limit))}
	for _, row := range rows {
		if len(p.Seats) == limit {
			p.Next = p.Seats[limit-1].ID
			break
		}
		p.Seats = append(p.Seats, Seat{ID: row.ID, Label: row.Label})
	}
	return p
}
