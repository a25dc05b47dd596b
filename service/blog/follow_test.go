package blog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestFollow(t *testing.T) {
	b := setup(t, once)
	ada, bob := b.user(t), b.user(t)
	follow := blog.FollowRequest{Follower: bob, Author: ada}
	notified := func() int64 {
		t.Helper()
		p, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: b.draft(t, ada).ID, Author: ada})
		require.NoError(t, err)
		return p.Notified
	}
	require.Zero(t, notified())
	for range 2 {
		require.NoError(t, blog.Follow(t.Context(), b.db, follow))
	}
	require.EqualValues(t, 1, notified())
	for range 2 {
		require.NoError(t, blog.Unfollow(t.Context(), b.db, follow))
	}
	require.Zero(t, notified())
	news, err := blog.News(t.Context(), b.db, blog.NewsRequest{User: bob})
	require.NoError(t, err)
	require.Len(t, news.Notifications, 1, "what was told stays")
}

func TestFollowRefusals(t *testing.T) {
	b := setup(t, once)
	ada := b.user(t)
	const nobody = 1 << 40
	for name, test := range map[string]struct {
		r    blog.FollowRequest
		want error
	}{
		"oneself":          {blog.FollowRequest{Follower: ada, Author: ada}, blog.ErrSelfFollow},
		"unknown author":   {blog.FollowRequest{Follower: ada, Author: nobody}, blog.ErrUnknownUser},
		"unknown follower": {blog.FollowRequest{Follower: nobody, Author: ada}, blog.ErrUnknownUser},
	} {
		err := blog.Follow(t.Context(), b.db, test.r)
		require.ErrorIs(t, err, test.want, name)
		if test.want == blog.ErrUnknownUser {
			require.EqualValues(t, nobody, asType[*blog.UnknownUserError](t, err).UserID, name)
		}
		// The refusal comes from the call, also where it joins.
		err = txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: joined"}, func(ctx context.Context, tx *txn.Tx) error {
			require.ErrorIs(t, blog.Follow(ctx, tx, test.r), test.want, name)
			return nil
		})
		require.ErrorIs(t, err, txn.ErrRollbackOnly, name)
	}
	require.Zero(t, fromTable[int](t, b, "select count(*) from follows"))
	require.NoError(t, blog.Unfollow(t.Context(), b.db, blog.FollowRequest{Follower: nobody, Author: ada}))
}

// The same two follow, and two follow one another, at once.
func TestFollowAtOnce(t *testing.T) {
	b := setup(t, once)
	ada, bob := b.user(t), b.user(t)
	const n = 16
	start := txntest.NewBarrier(n)
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		r := blog.FollowRequest{Follower: ada, Author: bob}
		if i%2 == 0 {
			r = blog.FollowRequest{Follower: bob, Author: ada}
		}
		running.Go(func() {
			errs[i] = errors.Join(start.Wait(t.Context()), blog.Follow(t.Context(), b.db, r))
		})
	}
	running.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, 2, fromTable[int](t, b, "select count(*) from follows"))
}

func TestNews(t *testing.T) {
	b := setup(t, once)
	ada := b.user(t)
	bob := b.followers(t, ada, 1)[0]
	var want []int64
	for range 5 {
		want = append([]int64{b.published(t, ada).ID}, want...)
	}
	var got []int64
	r := blog.NewsRequest{User: bob, Limit: 2}
	for {
		page, err := blog.News(t.Context(), b.db, r)
		require.NoError(t, err)
		for _, n := range page.Notifications {
			require.Equal(t, fmt.Sprintf(`User 1 published "%s"`, fromTable[string](t, b, "select title from posts where id = $1", n.Post)), n.Message)
			got = append(got, n.Post)
		}
		if r.Before = page.Next; r.Before == 0 {
			break
		}
		b.published(t, ada)
	}
	require.Equal(t, want, got)
	_, err := blog.News(t.Context(), b.db, blog.NewsRequest{Limit: -1})
	require.ErrorIs(t, err, blog.ErrInvalid)
}
