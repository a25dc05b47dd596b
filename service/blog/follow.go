package blog

import (
	"context"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A FollowRequest is about a user who wants to hear of an author's posts, or no more.
type FollowRequest struct {
	Follower int64
	Author   int64
}

// Follow makes a user hear of an author's posts, from the next publication on. It may be
// repeated, also after an unknown outcome: who follows already goes on following.
//
// It locks neither of the two against anything but deletion, and is right at each isolation
// level.
//
// It is refused with ErrSelfFollow or ErrUnknownUser.
func Follow(ctx context.Context, t txn.Transactor, r FollowRequest) error {
	// In one round trip: a repeated call does what a lost answer would have said.
	opts := txn.Options{Label: "blog: follow", FlushJoined: true}
	return txn.WithTx(ctx, t, opts, func(_ context.Context, tx *txn.Tx) error {
		db.New(tx).Queued().AddFollow(db.AddFollowParams{AuthorID: r.Author, FollowerID: r.Follower}).OnError(r.refused)
		return nil
	})
}

func (r FollowRequest) refused(err error) error {
	switch txn.SQLState(err) {
	case stateCheckViolation:
		if txn.ConstraintName(err) == "follows_others_only" {
			return ErrSelfFollow
		}
	case stateForeignKeyViolation:
		switch txn.ConstraintName(err) {
		case "follows_author_id_fkey":
			return &UnknownUserError{UserID: r.Author}
		case "follows_follower_id_fkey":
			return &UnknownUserError{UserID: r.Follower}
		}
	}
	return err
}

// Unfollow takes a Follow back. What the user was told stays. It may be repeated.
//
// It locks the row of the Follow, which nobody else waits for but the same call, and is right at
// each isolation level. It is refused with no error of this package.
func Unfollow(ctx context.Context, t txn.Transactor, r FollowRequest) error {
	opts := txn.Options{Label: "blog: unfollow", FlushJoined: true}
	return txn.WithTx(ctx, t, opts, func(_ context.Context, tx *txn.Tx) error {
		db.New(tx).Queued().RemoveFollow(db.RemoveFollowParams{AuthorID: r.Author, FollowerID: r.Follower})
		return nil
	})
}

// A NewsRequest asks for a page of what a user was told.
type NewsRequest struct {
	User   int64
	Before int64 // the Next of the page before; zero for the latest
	Limit  int   // how many notifications; zero is DefaultPage, more than MaxPage is MaxPage
}

// A NewsPage is a part of what a user was told, latest first.
type NewsPage struct {
	Notifications []Notification
	Next          int64 // Before of the next page's request; zero if this is the last one
}

// A Notification tells a follower of a post.
type Notification struct {
	ID      int64
	Post    int64
	Message string // with the names that author and post had when it was published
	At      time.Time
}

// News returns a page of what a user was told. It locks nothing, at any isolation level.
//
// It is refused with ErrInvalid.
func News(ctx context.Context, t txn.ReadTransactor, r NewsRequest) (NewsPage, error) {
	limit, before, err := pageBounds(r.Limit, r.Before)
	if err != nil {
		return NewsPage{}, err
	}
	rows, err := readQueued(ctx, t, "blog: news", func(q *db.QueuedReadQueries) *txn.Pending[[]db.ListNotificationsRow] {
		return q.ListNotifications(db.ListNotificationsParams{UserID: r.User, BeforeID: before, MaxRows: int64(limit) + 1})
	})
	if err != nil {
		return NewsPage{}, fmt.Errorf("news: %w", err)
	}
	rows, more := cut(rows, limit)
	p := NewsPage{Notifications: make([]Notification, len(rows))}
	for i, row := range rows {
		p.Notifications[i] = Notification{ID: row.ID, Post: row.PostID, Message: row.Message, At: row.CreatedAt}
	}
	if more {
		p.Next = rows[limit-1].ID
	}
	return p, nil
}
