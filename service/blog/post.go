package blog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A Post is what somebody wrote.
type Post struct {
	ID          int64
	Author      int64
	Title       string
	Content     string // "" in a Page
	Status      db.PostStatus
	Version     int64 // for an EditRequest
	Tags        []Tag // in the order in which they came to be; nil in a Page
	CreatedAt   time.Time
	UpdatedAt   time.Time
	PublishedAt *time.Time // nil for a draft
}

// A Tag says what a post is about.
type Tag struct {
	Name    string // in lower case, without blanks around it
	Display string // as the first one to use it wrote it
}

func postOf(p db.Post, tags []db.Tag) Post {
	post := Post{
		ID: p.ID, Author: p.AuthorID, Title: p.Title, Content: p.Content, Status: p.Status, Version: p.Version,
		CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, PublishedAt: p.PublishedAt, Tags: make([]Tag, len(tags)),
	}
	for i, t := range tags {
		post.Tags[i] = Tag{Name: t.Name, Display: t.DisplayName}
	}
	return post
}

// A GetRequest asks for a post.
type GetRequest struct {
	Post   int64
	Reader int64 // a user; zero for somebody who is none
}

// Get reads a post as it was last committed, drafts for their authors alone. It locks
// nothing, at any isolation level.
//
// It is refused with ErrUnknownPost.
func Get(ctx context.Context, t txn.ReadTransactor, r GetRequest) (Post, error) {
	type answers struct {
		post *txn.Pending[db.Post]
		tags *txn.Pending[[]db.Tag]
	}
	opts := txn.Options{Label: "blog: get post", FlushJoined: true}
	a, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (answers, error) {
		q := db.NewRead(rx).Queued()
		return answers{q.GetPost(r.Post), q.ListTagsOfPost(r.Post)}, nil
	})
	if err != nil {
		return Post{}, fmt.Errorf("get post: %w", err)
	}
	post, err := a.post.Value()
	if errors.Is(err, txn.ErrNotFound) || err == nil && post.Status == db.PostStatusDraft && post.AuthorID != r.Reader {
		return Post{}, &UnknownPostError{PostID: r.Post}
	}
	tags, tagsErr := a.tags.Value()
	if err := errors.Join(err, tagsErr); err != nil {
		return Post{}, fmt.Errorf("get post: %w", err)
	}
	return postOf(post, tags), nil
}

// Sizes of a page.
const (
	DefaultPage = 20
	MaxPage     = 100
)

// A ListRequest asks for a page of an author's posts.
type ListRequest struct {
	Author int64
	Reader int64 // as in GetRequest
	Before int64 // the Next of the page before; zero for the newest posts
	Limit  int   // how many posts; zero is DefaultPage, more than MaxPage is MaxPage
}

// A Page is a part of an author's posts, newest first.
type Page struct {
	Posts []Post // without content and tags
	Next  int64  // Before of the next page's request; zero if this is the last one
}

// List returns a page of an author's posts, with drafts for the author alone. Posts that are
// written while somebody turns pages neither repeat nor hide others: a page begins below a
// post, not after a number of them. It locks nothing, at any isolation level.
//
// It is refused with ErrInvalid.
func List(ctx context.Context, t txn.ReadTransactor, r ListRequest) (Page, error) {
	limit, before, err := pageBounds(r.Limit, r.Before)
	if err != nil {
		return Page{}, err
	}
	rows, err := readQueued(ctx, t, "blog: list posts", func(q *db.QueuedReadQueries) *txn.Pending[[]db.ListPostsOfAuthorRow] {
		return q.ListPostsOfAuthor(db.ListPostsOfAuthorParams{
			AuthorID: r.Author, WithDrafts: r.Author == r.Reader, BeforeID: before, MaxRows: int64(limit) + 1,
		})
	})
	if err != nil {
		return Page{}, fmt.Errorf("list posts: %w", err)
	}
	rows, more := cut(rows, limit)
	p := Page{Posts: make([]Post, len(rows))}
	for i, row := range rows {
		p.Posts[i] = Post{
			ID: row.ID, Author: r.Author, Title: row.Title, Status: row.Status, Version: row.Version,
			CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, PublishedAt: row.PublishedAt,
		}
	}
	if more {
		p.Next = rows[limit-1].ID
	}
	return p, nil
}

// Counters are how many posts an author has.
type Counters struct {
	Posts     int64 // drafts included
	Published int64
}

// Count returns how many posts an author has, from the counters that are kept with them: it
// costs the same for any number. Who never wrote, or does not exist, has none: that is
// no error. It locks nothing, at any isolation level.
func Count(ctx context.Context, t txn.ReadTransactor, author int64) (Counters, error) {
	c, err := readQueued(ctx, t, "blog: count posts", func(q *db.QueuedReadQueries) *txn.Pending[db.AuthorCounter] {
		return q.GetAuthorCounters(author)
	})
	if err != nil && !errors.Is(err, txn.ErrNotFound) {
		return Counters{}, fmt.Errorf("count posts: %w", err)
	}
	return Counters{Posts: c.Posts, Published: c.PublishedPosts}, nil
}

// readQueued runs one query in a round trip, BEGIN and COMMIT included.
func readQueued[T any](ctx context.Context, t txn.ReadTransactor, label string, ask func(*db.QueuedReadQueries) *txn.Pending[T]) (T, error) {
	opts := txn.Options{Label: label, FlushJoined: true}
	answer, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (*txn.Pending[T], error) {
		return ask(db.NewRead(rx).Queued()), nil
	})
	if err != nil {
		return *new(T), err
	}
	return answer.Value()
}

// pageBounds are a page's length, and the id that it begins below.
func pageBounds(limit int, before int64) (int, int64, error) {
	switch {
	case limit < 0:
		return 0, 0, &InvalidError{Field: "Limit"}
	case before < 0:
		return 0, 0, &InvalidError{Field: "Before"}
	}
	if limit == 0 {
		limit = DefaultPage
	}
	if before == 0 {
		before = math.MaxInt64
	}
	return min(limit, MaxPage), before, nil
}

// cut takes away the row that was asked for beyond the limit, to tell whether there is another
// page.
func cut[T any](rows []T, limit int) (kept []T, more bool) {
	if len(rows) <= limit {
		return rows, false
	}
	return rows[:limit], true
}

// isText reports whether PostgreSQL can store a string as text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
