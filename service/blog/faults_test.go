package blog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// The connection breaks at COMMIT, before the server has it or behind it. Each call finds out,
// is made again if it has to be, and says what was done: once.
func TestAnswerLostWithCommit(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, committed := range []bool{true, false} {
		name := fmt.Sprintf("committed: %v", committed)
		proxy := txntest.NewProxy(t, b.AppURL())
		d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
		require.NoError(t, err)
		t.Cleanup(d.Close)
		cut := func(call func() error) {
			t.Helper()
			fault := proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: committed, Do: faultproxy.Cut{}})
			err := call()
			require.NoError(t, fault.WaitSession(t.Context()), name)
			require.NoError(t, err, name)
		}
		ada := b.user(t)
		followers := b.followers(t, ada, 2)

		var created blog.Created
		r := b.request(ada, "Go", fmt.Sprint("new ", committed))
		cut(func() (err error) {
			created, err = blog.Create(t.Context(), d, r)
			return err
		})
		require.False(t, created.Replayed, "%s: this call created it", name)
		require.Len(t, created.Post.Tags, 2, name)
		again, err := blog.Create(t.Context(), d, r)
		require.NoError(t, err, name)
		require.Equal(t, blog.Created{Post: created.Post, Replayed: true}, again, name)

		var p blog.Published
		cut(func() (err error) {
			p, err = blog.Publish(t.Context(), d, blog.PublishRequest{Post: created.Post.ID, Author: ada})
			return err
		})
		require.EqualValues(t, 2, p.Notified, name)
		require.Equal(t, created.Post.Tags, p.Post.Tags, name)
		b.publishedOnce(t, p.Post.ID, ada, followers)

		var edited blog.Post
		cut(func() (err error) {
			edited, err = blog.Edit(t.Context(), d, blog.EditRequest{Post: p.Post.ID, Author: ada, Version: 2, Title: "A title", Content: long})
			return err
		})
		require.EqualValues(t, 3, edited.Version, name)
		read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: p.Post.ID})
		require.NoError(t, err, name)
		require.Equal(t, read, edited, name)
	}
}

// To follow travels with COMMIT, so that a lost answer leaves it unknown. It can be repeated.
func TestFollowIsRepeated(t *testing.T) {
	b := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, b.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	ada, bob, eve := b.user(t), b.user(t), b.user(t)
	follow := func(follower int64) error {
		return blog.Follow(t.Context(), d, blog.FollowRequest{Follower: follower, Author: ada})
	}
	require.NoError(t, follow(eve)) // so that the next flush is one message
	cut := proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
	err = follow(bob)
	require.NoError(t, cut.WaitSession(t.Context()))
	_, unknown := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, unknown, "%v", err)
	require.NoError(t, follow(bob))
	require.Equal(t, []int64{bob, eve}, fromTable[[]int64](t, b, "select array_agg(follower_id order by follower_id) from follows"))
}
