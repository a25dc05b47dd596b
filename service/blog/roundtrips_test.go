package blog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// What each call costs once the connection knows its statements.
func TestRoundTrips(t *testing.T) {
	b := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, b.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	ada, bob := b.user(t), b.user(t)
	b.followers(t, ada, 300)
	requests := []blog.CreateRequest{b.request(ada, "Go", "SQL", "new"), b.request(ada, "Go", "SQL", "newer")}
	drafts := make([]blog.Post, 10)
	for i := range drafts {
		author := ada
		if i > 3 { // the front page has a slot for each author
			author = b.user(t)
		}
		drafts[i] = b.draft(t, author, "Go")
	}
	published, draft := b.published(t, ada), b.draft(t, ada)
	publish := func(post blog.Post, extras ...blog.Extra) (blog.Published, error) {
		return blog.Publish(t.Context(), d, blog.PublishRequest{Post: post.ID, Author: post.Author, Extras: extras})
	}
	edit := func(post *blog.Post) (err error) {
		*post, err = blog.Edit(t.Context(), d, blog.EditRequest{Post: post.ID, Author: ada, Version: post.Version, Title: "A title", Content: long})
		return err
	}
	worked := worker(d, newIndex())
	for _, c := range []struct {
		name  string
		trips int
		call  func(n int) error
	}{
		{"create", 2, func(n int) error {
			_, err := blog.Create(t.Context(), d, requests[n])
			return err
		}},
		{"create again", 4, func(int) error {
			_, err := blog.Create(t.Context(), d, requests[0])
			return err
		}},
		{"publish, to 300 followers", 3, func(n int) error {
			p, err := publish(drafts[n])
			require.EqualValues(t, 300, p.Notified)
			require.Less(t, proxy.Stats().ServerMessages, 100, "the followers stay on the server")
			return err
		}},
		{"publish again", 2, func(int) error {
			_, err := publish(drafts[0])
			require.ErrorIs(t, err, blog.ErrAlreadyPublished)
			return nil
		}},
		{"publish on the front page", 4, func(n int) error {
			p, err := publish(drafts[4+n], blog.FrontPage)
			return errors.Join(append(p.Extras, err)...)
		}},
		{"publish, with an extra that fails", 5, func(n int) error {
			p, err := publish(drafts[6+n], func(ctx context.Context, tx *txn.Tx, p blog.Post) error {
				return errors.Join(blog.FrontPage(ctx, tx, p), errDown)
			})
			require.ErrorIs(t, p.Extras[0], errDown)
			return err
		}},
		{"edit a draft", 2, func(int) error { return edit(&draft) }},
		{"edit what is published", 3, func(int) error { return edit(&published) }},
		{"stale edit", 4, func(int) error {
			stale := draft
			stale.Version--
			require.ErrorIs(t, edit(&stale), txn.ErrStale)
			return nil
		}},
		{"get", 1, func(int) error {
			_, err := blog.Get(t.Context(), d, blog.GetRequest{Post: published.ID})
			return err
		}},
		{"list", 1, func(int) error {
			_, err := blog.List(t.Context(), d, blog.ListRequest{Author: ada})
			return err
		}},
		{"count", 1, func(int) error {
			_, err := blog.Count(t.Context(), d, ada)
			return err
		}},
		{"follow", 1, func(int) error {
			return blog.Follow(t.Context(), d, blog.FollowRequest{Follower: bob, Author: ada})
		}},
		{"unfollow", 1, func(int) error {
			return blog.Unfollow(t.Context(), d, blog.FollowRequest{Follower: bob, Author: ada})
		}},
		{"news", 1, func(int) error {
			_, err := blog.News(t.Context(), d, blog.NewsRequest{User: bob})
			return err
		}},
		{"index", 1, func(int) error {
			return worked(t.Context(), blog.IndexPost{PostID: published.ID, Version: 2})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxy.Reset()
			require.NoError(t, c.call(0))
			proxy.Reset()
			require.NoError(t, c.call(1))
			require.Equal(t, c.trips, proxy.RoundTrips())
		})
	}
}
