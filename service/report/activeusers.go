package report

import (
	"context"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// Sizes of a page of users.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// An ActiveUsersRequest asks for a page of the active users.
type ActiveUsersRequest struct {
	After int64 // the Next of the page before; zero for the first
	Limit int   // how many; zero is DefaultPage, more than MaxPage is MaxPage
}

// A Page is a part of the active users, by id.
type Page struct {
	Users []db.User
	Next  int64 // After of the next page's request; zero if this is the last one
}

// ActiveUsers returns a page of the users whom a report counts as active, in one round trip.
//
// It locks nothing. At READ COMMITTED each page is of its own moment: pages may then be as many
// as Figures.ActiveUsers says, and yet not the same users. In one txn.WithReadTx at REPEATABLE
// READ, or on one *txn.SharedSnapshot, pages and figures are of one moment.
//
// It is refused with ErrInvalid.
func ActiveUsers(ctx context.Context, t txn.ReadTransactor, r ActiveUsersRequest) (Page, error) {
	switch {
	case r.After < 0:
		return Page{}, &InvalidError{Field: "After"}
	case r.Limit < 0:
		return Page{}, &InvalidError{Field: "Limit"}
	case r.Limit == 0:
		r.Limit = DefaultPage
	}
	r.Limit = min(r.Limit, MaxPage)
	opts := txn.Options{Label: "report: active users", FlushJoined: true}
	rows, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (*txn.Pending[[]db.User], error) {
		// One more than asked for tells whether there is another page.
		return db.NewRead(rx).Queued().ListActiveUsers(db.ListActiveUsersParams{AfterID: r.After, MaxRows: int64(r.Limit) + 1}), nil
	})
	if err != nil {
		return Page{}, fmt.Errorf("report: active users: %w", err)
	}
	users, err := rows.Value()
	if err != nil {
		return Page{}, fmt.Errorf("report: active users: %w", err)
	}
	p := Page{Users: users}
	if len(users) > r.Limit {
		p.Users = users[:r.Limit]
		p.Next = p.Users[r.Limit-1].ID
	}
	return p, nil
}
