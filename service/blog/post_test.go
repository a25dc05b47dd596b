package blog_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

// What one post goes through.
func TestPost(t *testing.T) {
	b := setup(t, txn.Config{})
	ada, bob := b.user(t), b.user(t)
	require.NoError(t, blog.Follow(t.Context(), b.db, blog.FollowRequest{Follower: bob, Author: ada}))

	created, err := blog.Create(t.Context(), b.db, blog.CreateRequest{
		Author: ada, Title: "  On engines ", Content: long, Tags: []string{" Engines", "Go"}, Key: "k",
	})
	require.NoError(t, err)
	draft := created.Post
	require.Equal(t, blog.Post{
		ID: draft.ID, Author: ada, Title: "On engines", Content: long, Status: db.PostStatusDraft, Version: 1,
		Tags:      []blog.Tag{{Name: "engines", Display: "Engines"}, {Name: "go", Display: "Go"}},
		CreatedAt: draft.CreatedAt, UpdatedAt: draft.CreatedAt,
	}, draft)
	require.Equal(t, blog.Counters{Posts: 1}, b.count(t, ada))

	published, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: draft.ID, Author: ada})
	require.NoError(t, err)
	require.EqualValues(t, 1, published.Notified)
	require.Empty(t, published.Extras)
	require.NotNil(t, published.Post.PublishedAt)
	want := draft
	want.Status, want.Version = db.PostStatusPublished, 2
	want.UpdatedAt, want.PublishedAt = published.Post.UpdatedAt, published.Post.PublishedAt
	require.Equal(t, want, published.Post)
	require.Equal(t, blog.Counters{Posts: 1, Published: 1}, b.count(t, ada))

	news, err := blog.News(t.Context(), b.db, blog.NewsRequest{User: bob})
	require.NoError(t, err)
	require.Len(t, news.Notifications, 1)
	require.Equal(t, draft.ID, news.Notifications[0].Post)
	require.Equal(t, `User 1 published "On engines"`, news.Notifications[0].Message)

	edited, err := blog.Edit(t.Context(), b.db, blog.EditRequest{
		Post: draft.ID, Author: ada, Version: 2, Title: "On engines, again", Content: long + long,
	})
	require.NoError(t, err)
	want.Title, want.Content, want.Version, want.UpdatedAt = "On engines, again", long+long, 3, edited.UpdatedAt
	require.Equal(t, want, edited)

	read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: draft.ID})
	require.NoError(t, err)
	require.Equal(t, want, read)
	require.Equal(t, []int64{2, 3}, b.indexed(t, draft.ID))
	require.Equal(t, []string{"create_post", "publish_post", "edit_post"},
		fromTable[[]string](t, b, "select array_agg(action order by id) from activity_log where user_id = $1 and entity = 'posts:1'", ada))
}

func TestGet(t *testing.T) {
	b := setup(t, txn.Config{})
	ada, bob := b.user(t), b.user(t)
	draft, published := b.draft(t, ada), b.published(t, ada, "Go")
	for _, reader := range []int64{0, bob} {
		_, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: draft.ID, Reader: reader})
		require.Equal(t, &blog.UnknownPostError{PostID: draft.ID}, err, "a draft is its author's alone")
		read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: published.ID, Reader: reader})
		require.NoError(t, err)
		require.Equal(t, published, read)
	}
	read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: draft.ID, Reader: ada})
	require.NoError(t, err)
	require.Equal(t, draft, read)
	_, err = blog.Get(t.Context(), b.db, blog.GetRequest{Post: 1 << 40, Reader: ada})
	require.ErrorIs(t, err, blog.ErrUnknownPost)
	require.ErrorIs(t, err, txn.ErrNotFound)
}

// Pages of two, while the author goes on writing.
func TestList(t *testing.T) {
	b := setup(t, txn.Config{})
	ada, bob := b.user(t), b.user(t)
	var all, published []int64 // newest first
	for n := range 7 {
		post := b.draft(t, ada)
		all = append([]int64{post.ID}, all...)
		if n%2 == 0 {
			_, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: post.ID, Author: ada})
			require.NoError(t, err)
			published = append([]int64{post.ID}, published...)
		}
	}
	b.published(t, bob)
	var written []int64 // meanwhile
	pages := func(reader int64) (ids []int64) {
		r := blog.ListRequest{Author: ada, Reader: reader, Limit: 2}
		for {
			page, err := blog.List(t.Context(), b.db, r)
			require.NoError(t, err)
			for _, p := range page.Posts {
				require.Equal(t, ada, p.Author)
				require.Equal(t, p.Status == db.PostStatusPublished, p.PublishedAt != nil)
				ids = append(ids, p.ID)
			}
			if r.Before = page.Next; r.Before == 0 {
				return ids
			}
			written = append([]int64{b.draft(t, ada).ID}, written...)
		}
	}
	require.Equal(t, published, pages(bob))
	require.NotEmpty(t, written)
	all = append(written, all...)
	require.Equal(t, all, pages(ada))

	page, err := blog.List(t.Context(), b.db, blog.ListRequest{Author: ada, Reader: bob})
	require.NoError(t, err)
	require.Len(t, page.Posts, len(published))
	require.Zero(t, page.Next)
	page, err = blog.List(t.Context(), b.db, blog.ListRequest{Author: 1 << 40})
	require.NoError(t, err)
	require.Empty(t, page.Posts)
	for field, r := range map[string]blog.ListRequest{"Limit": {Limit: -1}, "Before": {Before: -1}} {
		_, err = blog.List(t.Context(), b.db, r)
		require.Equal(t, &blog.InvalidError{Field: field}, err)
	}
}

// What reads runs in a read-only transaction of the caller's, too, and sees its snapshot.
func TestReadsJoin(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	b.followers(t, ada, 1)
	post := b.published(t, ada)
	opts := txn.Options{Label: "test: read", Isolation: txn.RepeatableRead}
	require.NoError(t, txn.WithReadTx(t.Context(), b.db, opts, func(ctx context.Context, rx *txn.ReadTx) error {
		for range 2 {
			read, err := blog.Get(ctx, rx, blog.GetRequest{Post: post.ID})
			require.NoError(t, err)
			require.Equal(t, post, read)
			page, err := blog.List(ctx, rx, blog.ListRequest{Author: ada})
			require.NoError(t, err)
			require.Len(t, page.Posts, 1)
			count, err := blog.Count(ctx, rx, ada)
			require.NoError(t, err)
			require.Equal(t, blog.Counters{Posts: 1, Published: 1}, count)
			news, err := blog.News(ctx, rx, blog.NewsRequest{User: ada})
			require.NoError(t, err)
			require.Empty(t, news.Notifications)

			_, err = blog.Edit(txn.Detach(ctx), b.db, blog.EditRequest{Post: post.ID, Author: ada, Version: 2, Title: "Another", Content: long})
			if err != nil {
				require.ErrorIs(t, err, txn.ErrStale, "the second time")
			}
		}
		return nil
	}))
}
