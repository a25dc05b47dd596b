package blog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A CreateRequest asks for a new draft.
type CreateRequest struct {
	Author  int64
	Title   string   // at most 200 characters; blanks around it are dropped
	Content string   // at most 100000 characters
	Tags    []string // at most MaxTags, of 1 to 50 characters; case and blanks around do not tell them apart
	Key     string   // names the request among the author's, see the package documentation; 1 to 200 characters
}

// A Created is what came of a CreateRequest.
type Created struct {
	Post Post

	// Replayed is true when an earlier call with the same key had created the post, and this
	// one created none. The post is as it is now.
	Replayed bool
}

// Create writes a draft with its tags, and counts it: all of it or nothing, once for each key
// of the author.
//
// It locks no row but the author's counters, at the end. Whoever adds the same new tags at the
// same time waits for this transaction, and takes them over; existing tags make nobody wait. It
// is right at each isolation level.
//
// It is refused with ErrInvalid, ErrUnknownUser or ErrKeyReused.
func Create(ctx context.Context, t txn.Transactor, r CreateRequest) (Created, error) {
	d, err := r.draft()
	if err != nil {
		return Created{}, err
	}
	return txn.WithTxValue(ctx, t, txn.Options{Label: "blog: create post"}, d.create)
}

// A draft is a CreateRequest in the form in which it is stored.
type draft struct {
	db.CreatePostParams
	tags db.AddTagsParams
}

func (r CreateRequest) draft() (draft, error) {
	switch {
	case !isText(r.Title):
		return draft{}, &InvalidError{Field: "Title"}
	case !isText(r.Content):
		return draft{}, &InvalidError{Field: "Content"}
	case r.Key == "" || !isText(r.Key):
		return draft{}, &InvalidError{Field: "Key"}
	}
	tags, err := normalized(r.Tags)
	if err != nil {
		return draft{}, err
	}
	d := draft{
		CreatePostParams: db.CreatePostParams{
			AuthorID: r.Author, Title: strings.TrimSpace(r.Title), Content: r.Content, IdempotencyKey: r.Key,
		},
		tags: tags,
	}
	d.RequestDigest, err = d.digest()
	return d, err
}

// digest tells requests apart that have the same key.
func (d draft) digest() ([]byte, error) {
	text, err := json.Marshal([]any{d.Title, d.Content, d.tags.Names})
	if err != nil {
		return nil, fmt.Errorf("create post: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// create takes two round trips: one writes what may be refused, and finds the tags; the other
// one carries the rest and COMMIT. So the answer is known before COMMIT is sent, and the
// transaction's id, by which a COMMIT whose own answer is lost can be asked about.
func (d draft) create(ctx context.Context, tx *txn.Tx) (Created, error) {
	q := db.New(tx)
	creating := q.Queued().CreatePost(d.CreatePostParams).OnError(d.refused)
	q.Queued().AddTags(d.tags).OnError(invalid)
	tags, err := q.FindTags(ctx, d.tags.Names)
	if err != nil {
		return Created{}, fmt.Errorf("create post: %w", err)
	}
	post, err := creating.Value()
	if errors.Is(err, txn.ErrNotFound) {
		return d.replay(ctx, q)
	}
	if err != nil {
		return Created{}, fmt.Errorf("create post: %w", err)
	}
	if len(tags) != len(d.tags.Names) {
		// Tags are never removed. If one was by hand, the post is not to lose it silently.
		return Created{}, fmt.Errorf("create post: %w", &txn.AffectedError{
			Query: "FindTags", None: len(tags) == 0, Want: int64(len(d.tags.Names)), Got: int64(len(tags)),
		})
	}
	ids := make([]int64, len(tags))
	for i, tag := range tags {
		ids[i] = tag.ID
	}
	q.Queued().TagPost(db.TagPostParams{PostID: post.ID, TagIds: ids})
	q.Queued().CountPost(post.AuthorID)
	err = logActivity(q.Queued(), post.AuthorID, "create_post", post.ID, map[string]any{"title": post.Title, "tags": len(tags)})
	return Created{Post: postOf(post, tags)}, err
}

// replay returns what the request, or another one of its key, created before.
func (d draft) replay(ctx context.Context, q *db.Queries) (Created, error) {
	post, err := q.FindPostByKey(ctx, db.FindPostByKeyParams{AuthorID: d.AuthorID, IdempotencyKey: d.IdempotencyKey})
	if err != nil {
		return Created{}, fmt.Errorf("create post: find the post of a key: %w", err)
	}
	if string(post.RequestDigest) != string(d.RequestDigest) {
		return Created{}, fmt.Errorf("%w: key %q", ErrKeyReused, d.IdempotencyKey)
	}
	tags, err := q.ListTagsOfPost(ctx, post.ID)
	if err != nil {
		return Created{}, fmt.Errorf("create post: find the post of a key: %w", err)
	}
	return Created{Post: postOf(post, tags), Replayed: true}, nil
}

func (d draft) refused(err error) error {
	if txn.SQLState(err) == stateForeignKeyViolation && txn.ConstraintName(err) == "posts_author_id_fkey" {
		return &UnknownUserError{UserID: d.AuthorID}
	}
	return invalid(err)
}

// logActivity notes what an author did with a post, in the transaction that does it.
func logActivity(q *db.QueuedQueries, user int64, action string, post int64, details map[string]any) error {
	object, err := json.Marshal(details)
	if err != nil {
		return fmt.Errorf("log activity: %w", err)
	}
	q.AddActivity(db.AddActivityParams{UserID: user, Action: action, Entity: fmt.Sprintf("posts:%d", post), Details: object})
	return nil
}
