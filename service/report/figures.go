package report

import (
	"context"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// Figures are what a report says. They are read by five statements, one for each line.
type Figures struct {
	Users, ActiveUsers    int64
	Accounts              int64       // of customers
	Balances              money.Minor // what those accounts hold
	Entries               money.Minor // what their ledger says that they hold
	Transfers             int64
	Posts, PublishedPosts int64

	ReadAt time.Time // when the first statement ran, by the server's clock
}

// PostsPerUser is the average. Without users it is 0.
func (f Figures) PostsPerUser() float64 {
	if f.Users == 0 {
		return 0
	}
	return float64(f.Posts) / float64(f.Users)
}

// Balanced reports whether the accounts hold what the ledger says. If not, either the figures
// are of different moments, or the books are wrong.
func (f Figures) Balanced() bool { return f.Balances == f.Entries }

// A ReadRequest asks for figures that are not stored.
type ReadRequest struct {
	Isolation  txn.Isolation // zero is RepeatableRead
	Deferrable bool          // at Serializable: wait for a moment that no anomaly reaches
}

// Read reads the figures in one round trip, without storing them.
//
// It locks nothing, and waits for nobody, unless r.Deferrable says so. Isolation is r's: from
// REPEATABLE READ up all figures are of one moment. At SERIALIZABLE without Deferrable it may
// be repeated, or make a writer repeat: the package documentation compares the levels. Errors
// are the server's, and txn.ErrOptionsConflict if t is a transaction of a weaker level. On a
// *txn.SharedSnapshot the figures are of its moment.
func Read(ctx context.Context, t txn.ReadTransactor, r ReadRequest) (Figures, error) {
	if r.Isolation == txn.IsolationUnspecified {
		r.Isolation = txn.RepeatableRead
	}
	opts := txn.Options{Label: "report: read", Isolation: r.Isolation, Deferrable: r.Deferrable, FlushJoined: true}
	p, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (pending, error) {
		return reads(db.NewRead(rx).Queued()), nil
	})
	if err != nil {
		return Figures{}, fmt.Errorf("report: read: %w", err)
	}
	return p.figures()
}

// pending are the answers that a report is made of.
type pending struct {
	users    func() (db.CountUsersRow, error)
	balances func() (db.SumBalancesRow, error)
	entries  func() (int64, error)
	transfer func() (int64, error)
	posts    func() (db.CountPostsRow, error)
}

// queued are the reads; those of transactions that may write, and those of others.
type queued interface {
	CountUsers() *txn.Pending[db.CountUsersRow]
	SumBalances() *txn.Pending[db.SumBalancesRow]
	SumCustomerEntries() *txn.Pending[int64]
	CountTransfers() *txn.Pending[int64]
	CountPosts() *txn.Pending[db.CountPostsRow]
}

func reads(q queued) pending {
	return pending{
		users: q.CountUsers().Value, balances: q.SumBalances().Value, entries: q.SumCustomerEntries().Value,
		transfer: q.CountTransfers().Value, posts: q.CountPosts().Value,
	}
}

// lockingReads are reads whose rows stay as they are. The rows of transfers and entries are
// never changed, so that there is nothing to keep.
func lockingReads(q *db.QueuedQueries) pending {
	users, balances := q.CountUsersForShare(), q.SumBalancesForShare()
	entries, transfers := q.SumCustomerEntries(), q.CountTransfers()
	posts := q.CountPostsForShare()
	return pending{
		users:    func() (db.CountUsersRow, error) { v, err := users.Value(); return db.CountUsersRow(v), err },
		balances: func() (db.SumBalancesRow, error) { v, err := balances.Value(); return db.SumBalancesRow(v), err },
		entries:  entries.Value,
		transfer: transfers.Value,
		posts:    func() (db.CountPostsRow, error) { v, err := posts.Value(); return db.CountPostsRow(v), err },
	}
}

// figures reads the answers, once they are there.
func (p pending) figures() (f Figures, err error) {
	for _, read := range []func() error{
		func() error {
			v, err := p.users()
			f.Users, f.ActiveUsers, f.ReadAt = v.Users, v.ActiveUsers, v.ReadAt
			return err
		},
		func() error {
			v, err := p.balances()
			f.Accounts, f.Balances = v.Accounts, money.Minor(v.Balances)
			return err
		},
		func() error {
			v, err := p.entries()
			f.Entries = money.Minor(v)
			return err
		},
		func() error {
			v, err := p.transfer()
			f.Transfers = v
			return err
		},
		func() error {
			v, err := p.posts()
			f.Posts, f.PublishedPosts = v.Posts, v.PublishedPosts
			return err
		},
	} {
		if err := read(); err != nil {
			return Figures{}, fmt.Errorf("report: read: %w", err)
		}
	}
	return f, nil
}
