package blog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

// publish publishes a new draft of a new author with Extras.
func (b *readers) publish(t *testing.T, d *txn.DB, extras ...blog.Extra) (blog.Published, error) {
	t.Helper()
	ada := b.user(t)
	return blog.Publish(t.Context(), d, blog.PublishRequest{Post: b.draft(t, ada).ID, Author: ada, Extras: extras})
}

func TestFrontPage(t *testing.T) {
	b := setup(t, once)
	slot := func(p blog.Published) int {
		t.Helper()
		return fromTable[int](t, b, "select slot from featured_posts where post_id = $1 and day = (now() at time zone 'UTC')::date", p.Post.ID)
	}
	first, err := b.publish(t, b.db, blog.FrontPage)
	require.NoError(t, err)
	require.Equal(t, []error{nil}, first.Extras)
	require.Equal(t, 1, slot(first))

	// Refused by a constraint, when the slot was taken already: it is free again.
	another := b.draft(t, first.Post.Author)
	p, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{
		Post: another.ID, Author: another.Author, Extras: []blog.Extra{blog.FrontPage},
	})
	require.NoError(t, err)
	require.Equal(t, []error{blog.ErrFeaturedToday}, p.Extras)
	old := b.published(t, b.user(t))
	exec(t, b.admin, "insert into front_pages (day, taken) values ('2020-01-01', 1)")
	exec(t, b.admin, "insert into featured_posts (post_id, author_id, day, slot) values ($1, $2, '2020-01-01', 1)", old.ID, old.Author)
	require.ErrorIs(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: feature"}, func(ctx context.Context, tx *txn.Tx) error {
		return blog.FrontPage(ctx, tx, old)
	}), blog.ErrFeaturedBefore)

	// Readers would be shown what is their author's alone, or somebody else's as the author's.
	draft, stolen := b.draft(t, b.user(t)), b.published(t, b.user(t))
	stolen.Author = old.Author
	for _, p := range []blog.Post{draft, stolen} {
		require.Equal(t, &blog.UnknownPostError{PostID: p.ID}, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: feature"},
			func(ctx context.Context, tx *txn.Tx) error { return blog.FrontPage(ctx, tx, p) }))
	}

	for _, want := range []int{2, 3} {
		p, err := b.publish(t, b.db, blog.FrontPage)
		require.NoError(t, err)
		require.Equal(t, want, slot(p))
	}
	p, err = b.publish(t, b.db, blog.FrontPage)
	require.NoError(t, err)
	require.Equal(t, []error{blog.ErrFrontPageFull}, p.Extras)
	require.Equal(t, db.PostStatusPublished, p.Post.Status, "all the same")
}

// More want a slot at once than there are.
func TestFrontPageAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	exec(t, b.admin, "insert into front_pages (day, taken) values ((now() at time zone 'UTC')::date, 1)")
	first := b.published(t, b.user(t))
	exec(t, b.admin, "insert into featured_posts (post_id, author_id, day, slot) select $1, $2, day, 1 from front_pages", first.ID, first.Author)
	const n = 8
	published := make([]blog.Published, n)
	var calls []func() error
	for i := range n {
		ada := b.user(t)
		post := b.draft(t, ada)
		calls = append(calls, func() (err error) {
			published[i], err = blog.Publish(t.Context(), b.at(txn.ReadCommitted), blog.PublishRequest{
				Post: post.ID, Author: ada, Extras: []blog.Extra{blog.FrontPage},
			})
			return err
		})
	}
	for _, err := range b.together(t, pgx.Tx.Commit, "select from posts for update", calls...) {
		require.NoError(t, err)
	}
	featured := 0
	for _, p := range published {
		if p.Extras[0] == nil {
			featured++
			continue
		}
		if !errors.Is(p.Extras[0], txn.ErrLockNotAvailable) { // who waited too long gave up, and is published
			require.Equal(t, blog.ErrFrontPageFull, p.Extras[0])
		}
	}
	require.LessOrEqual(t, featured, 2)
	require.EqualValues(t, featured+1, fromTable[int64](t, b, "select taken from front_pages"))
	require.EqualValues(t, n+1, fromTable[int64](t, b, "select count(*) from posts where status = 'published'"))
}

// A part that may fail, without a savepoint: its error is caught, and COMMIT, which says
// nothing, rolls back what was to stay.
func TestExtraCannotPreventPublication(t *testing.T) {
	b := setup(t, once)
	naive := b.naive(t)
	tx := begin(t, naive)
	exec(t, tx, "update naive.posts set title = 'Published' where id = 1")
	exec(t, tx, "insert into naive.featured values ('2020-01-01', 1)")
	_, optional := tx.Exec(t.Context(), "insert into naive.featured values ('2020-01-01', 1)")
	require.Equal(t, "23505", txn.SQLState(optional))
	_, critical := tx.Exec(t.Context(), "insert into naive.notifications values (2, 1)")
	require.Equal(t, "25P02", txn.SQLState(critical), "what comes after does not work any more")
	tag, err := tx.Conn().Exec(t.Context(), "commit")
	require.NoError(t, err)
	require.Equal(t, "ROLLBACK", tag.String())
	require.Equal(t, "A post", fromTable[string](t, b, "select title from naive.posts"), "and nothing is published")

	broke := errors.New("no contact to the other site")
	told := map[string]bool{}
	trace := func(name string, then func(context.Context, *txn.Tx) error) blog.Extra {
		return func(ctx context.Context, tx *txn.Tx, p blog.Post) error {
			// What is registered with a part that fails is not done.
			tx.AfterCommit(func(context.Context) error {
				told[name] = true
				return nil
			})
			db.New(tx).Queued().AddActivity(db.AddActivityParams{
				UserID: p.Author, Action: "extra", Entity: name, Details: []byte("{}"),
			})
			if err := jobs.Insert(ctx, tx, blog.IndexPost{PostID: p.ID, Version: 100 + int64(len(name))}, nil); err != nil {
				return err
			}
			return then(ctx, tx)
		}
	}
	nothing := func(context.Context, *txn.Tx) error { return nil }
	ada := b.user(t)
	followers := b.followers(t, ada, 2)
	post := b.draft(t, ada)
	p, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: post.ID, Author: ada, Extras: []blog.Extra{
		trace("a", nothing),
		trace("bb", func(context.Context, *txn.Tx) error { return broke }),
		trace("ccc", func(ctx context.Context, tx *txn.Tx) error { // a refusal of the server
			_, err := tx.Exec(ctx, "insert into follows (author_id, follower_id) values (1, 1)")
			return err
		}),
		trace("dddd", func(ctx context.Context, tx *txn.Tx) error { // one that nobody looks at
			_, _ = tx.Exec(ctx, "insert into follows (author_id, follower_id) values (1, 1)")
			return nil
		}),
		trace("eeeee", func(_ context.Context, tx *txn.Tx) error { // one that comes later
			db.New(tx).Queued().AddFollow(db.AddFollowParams{AuthorID: 1, FollowerID: 1})
			return nil
		}),
		trace("ffffff", func(ctx context.Context, tx *txn.Tx) error { // a refusal of a service
			_, err := blog.Edit(ctx, tx, blog.EditRequest{Post: post.ID, Author: ada, Version: 1})
			return err
		}),
		trace("ggggggg", nothing),
	}})
	require.NoError(t, err)
	require.Len(t, p.Extras, 7)
	require.NoError(t, p.Extras[0])
	require.Equal(t, broke, p.Extras[1], "the reason, as it is")
	for i := 2; i < 5; i++ {
		require.Equal(t, "follows_others_only", txn.ConstraintName(p.Extras[i]), "%d: %v", i, p.Extras[i])
	}
	require.ErrorIs(t, p.Extras[5], txn.ErrStale)
	require.NoError(t, p.Extras[6])

	// The main work and what comes last are there, and of the Extras those that succeeded.
	require.Equal(t, db.PostStatusPublished, p.Post.Status)
	require.EqualValues(t, 2, p.Notified)
	require.Equal(t, blog.Counters{Posts: 1, Published: 1}, b.count(t, ada))
	require.Len(t, followers, 2)
	require.Equal(t, map[string]bool{"a": true, "ggggggg": true}, told)
	require.Equal(t, []int64{2, 101, 107}, b.indexed(t, post.ID))
	require.Equal(t, []string{"a", "ggggggg"}, fromTable[[]string](t, b,
		"select array_agg(entity order by id) from activity_log where action = 'extra'"))
	require.JSONEq(t, `{"notified": 2, "extras": 7, "extras_failed": 5}`, fromTable[string](t, b,
		"select details::text from activity_log where action = 'publish_post'"))
}

// An Extra that waits for somebody gives up, so that the publication goes on.
func TestExtraDoesNotWaitLong(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1, LockTimeout: 5 * time.Second}})
	holder := begin(t, b.admin)
	exec(t, holder, "insert into front_pages (day, taken) values ((now() at time zone 'UTC')::date, 1)")
	p, err := b.publish(t, b.db, blog.FrontPage, func(ctx context.Context, tx *txn.Tx, _ blog.Post) error {
		var timeout string
		err := tx.QueryRow(ctx, "select current_setting('lock_timeout')").Scan(&timeout)
		require.Equal(t, blog.ExtraLockTimeout.String(), timeout)
		return err
	})
	require.NoError(t, err)
	require.ErrorIs(t, p.Extras[0], txn.ErrLockNotAvailable)
	require.NoError(t, p.Extras[1])
	require.NoError(t, holder.Rollback(t.Context()))
}

// What concerns the whole transaction is not the failure of an Extra.
func TestExtraAndItsTransaction(t *testing.T) {
	b := setup(t, txn.Config{})
	attempts := 0
	p, err := b.publish(t, b.db, func(ctx context.Context, tx *txn.Tx, _ blog.Post) error {
		if attempts++; attempts > 1 {
			return nil
		}
		_, err := tx.Exec(ctx, "do $$ begin raise exception 'injected' using errcode = 'serialization_failure'; end $$")
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, attempts, "run again")
	require.Equal(t, []error{nil}, p.Extras)

	unpublished := func(name string, extra blog.Extra, check func(error)) {
		t.Helper()
		ada := b.user(t)
		post := b.draft(t, ada)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := blog.Publish(context.WithValue(ctx, cancelled{}, cancel), b.db, blog.PublishRequest{Post: post.ID, Author: ada, Extras: []blog.Extra{extra}})
		check(err)
		require.Equal(t, blog.Counters{Posts: 1}, b.count(t, ada), name)
		require.Empty(t, b.indexed(t, post.ID), name)
	}
	unpublished("a caller who has gone", func(ctx context.Context, _ *txn.Tx, _ blog.Post) error {
		ctx.Value(cancelled{}).(context.CancelFunc)()
		return nil
	}, func(err error) { require.ErrorIs(t, err, context.Canceled) })

	broke := errors.New("the caller changed its mind")
	var told bool
	ada := b.user(t)
	post := b.draft(t, ada)
	err = txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: outer"}, func(ctx context.Context, tx *txn.Tx) error {
		p, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: post.ID, Author: ada, Extras: []blog.Extra{
			func(_ context.Context, tx *txn.Tx, _ blog.Post) error {
				tx.AfterCommit(func(context.Context) error { told = true; return nil })
				return nil
			},
		}})
		require.NoError(t, err)
		require.Equal(t, []error{nil}, p.Extras)
		return broke
	})
	require.ErrorIs(t, err, broke)
	require.False(t, told)
	require.Equal(t, blog.Counters{Posts: 1}, b.count(t, ada))

	func() {
		defer func() { require.Equal(t, "a fault in the program", recover()) }()
		_, err := b.publish(t, b.db, func(context.Context, *txn.Tx, blog.Post) error { panic("a fault in the program") })
		require.NoError(t, err, "it does not return")
	}()
	require.EqualValues(t, 1, fromTable[int64](t, b, "select count(*) from posts where status = 'published'"))
}

type cancelled struct{}

// The last operation fails, after Extras that succeeded: nothing of them stays.
func TestExtraIsUndoneWithItsPublication(t *testing.T) {
	b := setup(t, once)
	ada := b.user(t)
	post := b.draft(t, ada)
	before := fromTable[string](t, b, writtenSQL)
	b.failing(t, "author_counters", func() {
		_, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: post.ID, Author: ada, Extras: []blog.Extra{blog.FrontPage}})
		require.Equal(t, "P0001", txn.SQLState(err), fmt.Sprint(err))
	})
	require.Equal(t, before, fromTable[string](t, b, writtenSQL))
}
