package blog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/txn"
)

// What a post needs to be published, in characters, without the blanks around.
const (
	MinTitle   = 5
	MinContent = 100
)

// A PublishRequest asks for a draft to be published.
type PublishRequest struct {
	Post   int64
	Author int64
	Extras []Extra // in this order; most have none
}

// A Published is what came of a PublishRequest.
type Published struct {
	Post     Post
	Notified int64   // how many followers were told
	Extras   []error // one for each Extra: nil if it was done, else why it was not
}

// Publish makes a draft a published post, tells its author's followers, counts it, and has it
// indexed: all of it or nothing. Extras may fail alone. Who begins to follow meanwhile is told
// of the next post.
//
// It locks the post, and no other row of it or its author, FOR NO KEY UPDATE; then what Extras
// lock; the author's counters last. The second one of two calls waits at the post for what
// becomes of the first. It is right at each isolation level.
//
// It is refused with ErrUnknownPost, ErrAlreadyPublished or ErrTooShort.
func Publish(ctx context.Context, t txn.Transactor, r PublishRequest) (Published, error) {
	return txn.WithTxValue(ctx, t, txn.Options{Label: "blog: publish"}, r.publish)
}

// publish takes three round trips and those of Extras: one asks for all that decides, one
// writes and brings the answers, and the last one carries the rest and COMMIT.
func (r PublishRequest) publish(ctx context.Context, tx *txn.Tx) (Published, error) {
	q := db.New(tx)
	listing := q.Queued().ListTagsOfPost(r.Post)
	draft, err := q.LockPost(ctx, db.LockPostParams{ID: r.Post, AuthorID: r.Author})
	if errors.Is(err, txn.ErrNotFound) {
		return Published{}, &UnknownPostError{PostID: r.Post}
	}
	if err != nil {
		return Published{}, fmt.Errorf("publish: %w", err)
	}
	if err := refusal(draft); err != nil {
		return Published{}, err
	}

	publishing := q.Queued().PublishPost(r.Post)
	notifying := q.Queued().NotifyFollowers(r.Post)
	if err := jobs.Insert(ctx, tx, IndexPost{PostID: r.Post, Version: draft.Version + 1}, nil); err != nil {
		return Published{}, fmt.Errorf("publish: %w", err)
	}
	tags, tagsErr := listing.Value()
	post, postErr := publishing.Value()
	notified, notifiedErr := notifying.Value()
	if err := errors.Join(tagsErr, postErr, notifiedErr); err != nil {
		return Published{}, fmt.Errorf("publish: %w", err)
	}
	p := Published{Post: postOf(post, tags), Notified: notified}
	if p.Extras, err = doExtras(ctx, tx, r.Extras, p.Post); err != nil {
		return Published{}, err
	}

	// Last, because everybody who writes as this author waits for the counters.
	q.Queued().CountPublishedPost(r.Author)
	return p, logActivity(q.Queued(), r.Author, "publish_post", r.Post, map[string]any{
		"notified": notified, "extras": len(r.Extras), "extras_failed": failures(p.Extras),
	})
}

// refusal returns why a post cannot be published, or nil.
func refusal(p db.Post) error {
	if p.Status == db.PostStatusPublished {
		return &AlreadyPublishedError{PostID: p.ID, At: *p.PublishedAt}
	}
	return tooShort(p.Title, p.Content)
}

// tooShort returns what is missing from a title or a content, or nil.
func tooShort(title, content string) error {
	if have := characters(title); have < MinTitle {
		return &TooShortError{Field: "Title", Have: have, Need: MinTitle}
	}
	if have := characters(content); have < MinContent {
		return &TooShortError{Field: "Content", Have: have, Need: MinContent}
	}
	return nil
}

// characters counts as trimmed_length does in the schema, which holds published posts to it.
func characters(s string) int { return utf8.RuneCountInString(strings.TrimSpace(s)) }
