package blog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
)

// An EditRequest asks for a post to be changed.
type EditRequest struct {
	Post    int64
	Author  int64
	Version int64  // the Version of the Post that the author read
	Title   string // as in CreateRequest; of a published post, at least MinTitle
	Content string // as in CreateRequest; of a published post, at least MinContent
}

// Edit changes a post if nobody has changed it since the version that the edit is made on, and
// returns it as it is then. A published one is indexed again.
//
// It locks the post, FOR NO KEY UPDATE. An edit that waited for another one is made on what
// was, and refused; it is not tried again. It is right at each isolation level.
//
// It is refused with an *EditConflictError, which is txn.ErrStale, and with ErrUnknownPost,
// ErrInvalid or ErrTooShort.
func Edit(ctx context.Context, t txn.Transactor, r EditRequest) (Post, error) {
	switch {
	case !isText(r.Title):
		return Post{}, &InvalidError{Field: "Title"}
	case !isText(r.Content):
		return Post{}, &InvalidError{Field: "Content"}
	}
	r.Title = strings.TrimSpace(r.Title)
	return txn.WithTxValue(ctx, t, txn.Options{Label: "blog: edit"}, r.edit)
}

// edit takes two round trips, and one more where the index has to be told. What it returns is
// of the UPDATE's own answer: after COMMIT nothing is asked that could fail.
func (r EditRequest) edit(ctx context.Context, tx *txn.Tx) (Post, error) {
	q := db.New(tx)
	listing := q.Queued().ListTagsOfPost(r.Post)
	edited, err := q.EditPost(ctx, db.EditPostParams{
		ID: r.Post, AuthorID: r.Author, Version: r.Version, Title: r.Title, Content: r.Content,
	})
	if err != nil {
		return Post{}, r.refused(ctx, q, listing, err)
	}
	tags, err := listing.Value()
	if err != nil {
		return Post{}, fmt.Errorf("edit: %w", err)
	}
	if err := logActivity(q.Queued(), r.Author, "edit_post", r.Post, map[string]any{"version": edited.Version}); err != nil {
		return Post{}, err
	}
	if edited.Status == db.PostStatusPublished {
		if err := jobs.Insert(ctx, tx, IndexPost{PostID: edited.ID, Version: edited.Version}, nil); err != nil {
			return Post{}, fmt.Errorf("edit: %w", err)
		}
	}
	return postOf(edited, tags), nil
}

// refused gives the error of the UPDATE its meaning.
func (r EditRequest) refused(ctx context.Context, q *db.Queries, listing *txn.Pending[[]db.Tag], err error) error {
	if errors.Is(err, txn.ErrStale) {
		return r.conflict(ctx, q, listing, err)
	}
	if errors.Is(err, txn.ErrNotFound) {
		return &UnknownPostError{PostID: r.Post}
	}
	if txn.SQLState(err) == stateCheckViolation {
		switch txn.ConstraintName(err) {
		case "posts_published_title_length":
			return &TooShortError{Field: "Title", Have: characters(r.Title), Need: MinTitle}
		case "posts_published_content_length":
			return &TooShortError{Field: "Content", Have: characters(r.Content), Need: MinContent}
		}
	}
	return fmt.Errorf("edit: %w", invalid(err))
}

// conflict says what the edit met.
func (r EditRequest) conflict(ctx context.Context, q *db.Queries, listing *txn.Pending[[]db.Tag], stale error) error {
	current, err := q.GetPost(ctx, r.Post)
	if err != nil {
		return fmt.Errorf("edit: read the current version: %w", err)
	}
	tags, err := listing.Value()
	if err != nil {
		return fmt.Errorf("edit: read the current version: %w", err)
	}
	return &EditConflictError{Version: r.Version, Current: postOf(current, tags), Err: stale}
}
