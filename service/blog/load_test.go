package blog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

// refusals are what may come of a call that meets others.
var refusals = []error{
	blog.ErrUnknownPost, blog.ErrAlreadyPublished, blog.ErrTooShort, blog.ErrKeyReused, txn.ErrStale,
}

// Few users and posts, and many who do everything with them at once: no call deadlocks, for
// which there is no second attempt, and at the end the invariants hold.
func TestEverythingAtOnce(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1, LockTimeout: 30 * time.Second}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	users := make([]int64, 4)
	for i := range users {
		users[i] = b.user(t)
	}
	tags := []string{"go", "SQL", "Locks", "pages", "Mail"}
	const workers, calls = 8, 40
	failed := make([]error, workers)
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			user := func() int64 { return users[random.IntN(len(users))] }
			post := func() int64 { return 1 + random.Int64N(30) }
			extras := [][]blog.Extra{nil, {blog.FrontPage}}
			for range calls {
				var err error
				switch ada := user(); random.IntN(6) {
				case 0, 1:
					own := make([]string, random.IntN(4))
					for i := range own {
						own[i] = tags[random.IntN(len(tags))] + fmt.Sprint(random.IntN(3))
					}
					_, err = blog.Create(t.Context(), b.db, blog.CreateRequest{
						Author: ada, Title: "A title", Content: long, Tags: own, Key: fmt.Sprint(random.IntN(50)),
					})
				case 2, 3:
					_, err = blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: post(), Author: ada, Extras: extras[random.IntN(2)]})
				case 4:
					_, err = blog.Edit(t.Context(), b.db, blog.EditRequest{
						Post: post(), Author: ada, Version: 1 + random.Int64N(3), Title: "Another title", Content: long,
					})
				case 5:
					r := blog.FollowRequest{Follower: ada, Author: user()}
					if r.Follower == r.Author {
						continue
					}
					if err = blog.Follow(t.Context(), b.db, r); err == nil && random.IntN(3) == 0 {
						err = blog.Unfollow(t.Context(), b.db, r)
					}
				}
				if err != nil && !refused(err) {
					failed[w] = err
					return
				}
			}
		})
	}
	running.Wait()
	require.NoError(t, errors.Join(failed...), "seed %d", seed)
	require.Positive(t, fromTable[int](t, b, "select count(*) from posts where status = 'published'"))
}

func refused(err error) bool {
	for _, r := range refusals {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}
