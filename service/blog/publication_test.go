package blog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

func TestPublishRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	ada, bob := b.user(t), b.user(t)
	b.followers(t, ada, 2)
	draft, published := b.draft(t, ada), b.published(t, ada)
	write := func(title, content string) int64 {
		r := b.request(ada)
		r.Title, r.Content = title, content
		created, err := blog.Create(t.Context(), b.db, r)
		require.NoError(t, err)
		return created.Post.ID
	}
	short := func(field string, have, need int) error {
		return &blog.TooShortError{Field: field, Have: have, Need: need}
	}
	for name, test := range map[string]struct {
		r    blog.PublishRequest
		want error
	}{
		"no such post":    {blog.PublishRequest{Post: 1 << 40, Author: ada}, &blog.UnknownPostError{PostID: 1 << 40}},
		"another's draft": {blog.PublishRequest{Post: draft.ID, Author: bob}, &blog.UnknownPostError{PostID: draft.ID}},
		"another's post":  {blog.PublishRequest{Post: published.ID, Author: bob}, &blog.UnknownPostError{PostID: published.ID}},
		"again": {blog.PublishRequest{Post: published.ID, Author: ada},
			&blog.AlreadyPublishedError{PostID: published.ID, At: *published.PublishedAt}},
		"no title":            {blog.PublishRequest{Post: write("", long)}, short("Title", 0, 5)},
		"title of four":       {blog.PublishRequest{Post: write("four", long)}, short("Title", 4, 5)},
		"title of eight byte": {blog.PublishRequest{Post: write("ЖЖЖЖ", long)}, short("Title", 4, 5)},
		"no content":          {blog.PublishRequest{Post: write("A title", "")}, short("Content", 0, 100)},
		"content of 99":       {blog.PublishRequest{Post: write("A title", strings.Repeat("c", 99))}, short("Content", 99, 100)},
		"blanks around":       {blog.PublishRequest{Post: write("A title", " \n"+strings.Repeat("c", 99)+"\t\u2003")}, short("Content", 99, 100)},
		"198 bytes":           {blog.PublishRequest{Post: write("A title", strings.Repeat("é", 99))}, short("Content", 99, 100)},
		// Elsewhere each of these counts as two.
		"beyond 16 bits": {blog.PublishRequest{Post: write("A title", strings.Repeat("🙂", 50))}, short("Content", 50, 100)},
	} {
		if test.r.Author == 0 {
			test.r.Author = ada
		}
		before := fromTable[string](t, b, writtenSQL)
		p, err := blog.Publish(t.Context(), b.db, test.r)
		require.Equal(t, test.want, err, name)
		require.Zero(t, p, name)
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), "%s: nothing changes", name)
	}
	for title, content := range map[string]string{"title": strings.Repeat("é", 100), "ЖЖЖЖЖ": "\n" + strings.Repeat("🙂", 100) + " "} {
		_, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: write(title, content), Author: ada})
		require.NoError(t, err, title)
	}
}

// The program and the constraint agree on what white space is, for each character that there
// is: else one of them would let pass what the other one refuses.
func TestBlanksAreThoseOfTheSchema(t *testing.T) {
	b := setup(t, txn.Config{})
	var characters []string
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if r < 0xd800 || r > 0xdfff { // no halves of others
			characters = append(characters, string(r))
		}
	}
	blanks := fromTable[[]string](t, b, "select array_agg(c) from unnest($1::text[]) c where trimmed_length(c || 'x' || c) = 1", characters)
	require.Len(t, blanks, 25)
	found := map[string]bool{}
	for _, c := range blanks {
		found[c] = true
	}
	for _, c := range characters {
		require.Equal(t, strings.TrimSpace(c) == "", found[c], "%q", c)
	}
}

// The post with its author and its tags, locked at once.
func TestPublishLocksThePostAlone(t *testing.T) {
	b := setup(t, once)
	ada, bob := b.user(t), b.user(t)
	untagged, tagged := b.draft(t, ada), b.draft(t, ada, "go")

	// With tags that may be missing, the statement has never worked.
	_, err := b.db.Pool().Exec(t.Context(), `
		select p.id from posts p join users u on u.id = p.author_id
		left join post_tags m on m.post_id = p.id left join tags t on t.id = m.tag_id
		where p.id = $1 and p.author_id = $2 for update`, untagged.ID, ada)
	require.Equal(t, "0A000", txn.SQLState(err))
	// With tags that must be there it works, and locks what others need.
	locking := begin(t, b.db.Pool())
	exec(t, locking, `
		select p.id from posts p join users u on u.id = p.author_id
		join post_tags m on m.post_id = p.id join tags t on t.id = m.tag_id
		where p.id = $1 and p.author_id = $2 for update`, tagged.ID, ada)
	impatient := txn.New(b.db.Pool(), watched(txn.Config{Options: txn.Options{MaxAttempts: 1, LockTimeout: 20 * time.Millisecond}}))
	_, err = blog.Create(t.Context(), impatient, b.request(bob, "go"))
	require.ErrorIs(t, err, txn.ErrLockNotAvailable, "another author, another post, the same tag")
	require.ErrorIs(t, blog.Follow(t.Context(), impatient, blog.FollowRequest{Follower: bob, Author: ada}), txn.ErrLockNotAvailable)
	require.NoError(t, locking.Rollback(t.Context()))

	for _, post := range []blog.Post{untagged, tagged} {
		require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: open"}, func(ctx context.Context, tx *txn.Tx) error {
			p, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: post.ID, Author: ada})
			if err != nil {
				return err
			}
			require.Equal(t, post.Tags, p.Post.Tags)
			// While it is open: nobody waits but for the post itself, and for the author's counters
			// once they are sent.
			ctx = txn.Detach(ctx)
			_, err = blog.Create(ctx, impatient, b.request(bob, "go"))
			require.NoError(t, err)
			require.NoError(t, blog.Follow(ctx, impatient, blog.FollowRequest{Follower: b.user(t), Author: ada}))
			exec(t, b.admin, "select from users for no key update nowait")
			exec(t, b.admin, "select from posts where id <> $1 for no key update nowait", post.ID)
			exec(t, b.admin, "select from posts where id = $1 for key share nowait", post.ID)
			exec(t, b.admin, "select from author_counters for update nowait")
			_, err = b.admin.Exec(ctx, "select from posts where id = $1 for no key update nowait", post.ID)
			require.Equal(t, "55P03", txn.SQLState(err))
			return nil
		}))
	}
}

func TestPublishIsAtomic(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	b.followers(t, ada, 1)
	post := b.draft(t, ada, "go")
	before := fromTable[string](t, b, writtenSQL)
	for _, table := range []string{"posts", "author_counters", "notifications", "activity_log", "river.river_job"} {
		b.failing(t, table, func() {
			_, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: post.ID, Author: ada})
			require.Equal(t, "P0001", txn.SQLState(err), "%s: %v", table, err)
		})
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), "after a failure in %s", table)
	}
}

// Who reads the followers, and then writes what was read, tells them again with each run.
func TestPublishOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	for range 2 {
		rows, err := naive.Query(t.Context(), "select id from naive.users")
		require.NoError(t, err)
		followers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		require.NoError(t, err)
		for _, f := range followers {
			exec(t, naive, "insert into naive.notifications values ($1, 1)", f)
		}
	}
	require.EqualValues(t, 4, fromTable[int64](t, b, "select count(*) from naive.notifications"), "two followers, told twice")

	// Two calls at once: the second one waits at the post.
	for _, level := range isolations {
		ada, d := b.user(t), b.at(level)
		followers := b.followers(t, ada, 3)
		post := b.draft(t, ada)
		published := make([]blog.Published, 2)
		publish := func(n int) func() error {
			return func() (err error) {
				published[n], err = blog.Publish(t.Context(), d, blog.PublishRequest{Post: post.ID, Author: ada})
				return err
			}
		}
		lock := fmt.Sprintf("select from posts where id = %d for update", post.ID)
		errs := b.together(t, pgx.Tx.Commit, lock, publish(0), publish(1))
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		require.NoError(t, errs[winner], level)
		require.EqualValues(t, len(followers), published[winner].Notified, level)
		refused := asType[*blog.AlreadyPublishedError](t, errs[1-winner])
		require.True(t, refused.At.Equal(*published[winner].Post.PublishedAt), level)
		b.publishedOnce(t, post.ID, ada, followers)
	}

	// A transaction that runs again.
	ada := b.user(t)
	followers := b.followers(t, ada, 2)
	post := b.draft(t, ada)
	require.NoError(t, repeatOnce(t.Context(), b.db, func(ctx context.Context, tx *txn.Tx) error {
		p, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: post.ID, Author: ada})
		require.NoError(t, err)
		require.EqualValues(t, 2, p.Notified)
		return err
	}))
	b.publishedOnce(t, post.ID, ada, followers)
}

// publishedOnce requires the effects of one publication, the only one of the author.
func (b *readers) publishedOnce(t *testing.T, post, author int64, followers []int64) {
	t.Helper()
	require.Equal(t, blog.Counters{Posts: 1, Published: 1}, b.count(t, author))
	require.Equal(t, followers, fromTable[[]int64](t, b,
		"select array_agg(user_id order by user_id) from notifications where post_id = $1", post))
	require.Equal(t, []int64{2}, b.indexed(t, post))
	require.EqualValues(t, 1, fromTable[int64](t, b,
		"select count(*) from activity_log where action = 'publish_post' and entity = format('posts:%s', $1::bigint)", post))
}

// An edit that read the draft does not overwrite what was published in between, and the other
// way round what is published is what the edit made.
func TestPublishAndEdit(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, level := range isolations {
		ada, d := b.user(t), b.at(level)
		post := b.draft(t, ada)
		edit := func() error {
			_, err := blog.Edit(t.Context(), d, blog.EditRequest{Post: post.ID, Author: ada, Version: post.Version, Title: "Other title", Content: long})
			return err
		}
		var edited <-chan error
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: publish"}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: post.ID, Author: ada}); err != nil {
				return err
			}
			edited = async(edit)
			waitBlocked(t, b.admin, 1)
			return nil
		}), level)
		conflict := asType[*blog.EditConflictError](t, <-edited)
		require.EqualValues(t, 2, conflict.Current.Version, level)
		require.Equal(t, post.Title, conflict.Current.Title, level)

		post = b.draft(t, ada)
		var published <-chan error
		var p blog.Published
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: edit"}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := blog.Edit(ctx, tx, blog.EditRequest{Post: post.ID, Author: ada, Version: 1, Title: "Other title", Content: long})
			if err != nil {
				return err
			}
			published = async(func() (err error) {
				p, err = blog.Publish(t.Context(), d, blog.PublishRequest{Post: post.ID, Author: ada})
				return err
			})
			waitBlocked(t, b.admin, 1)
			return nil
		}), level)
		require.NoError(t, <-published, level)
		require.Equal(t, "Other title", p.Post.Title, level)
		require.EqualValues(t, 3, p.Post.Version, level)
	}
}

// A transaction that began before a post was written, and edited, publishes and edits it. By
// its own time, now(), that would have been before.
func TestTimesDoNotGoBack(t *testing.T) {
	b := setup(t, once)
	ada := b.user(t)
	request := b.request(ada)
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: long"}, func(ctx context.Context, tx *txn.Tx) error {
		var began time.Time
		require.NoError(t, tx.QueryRow(ctx, "select now()").Scan(&began))
		created, err := blog.Create(txn.Detach(ctx), b.db, request)
		require.NoError(t, err)
		require.True(t, began.Before(created.Post.CreatedAt))
		edit := blog.EditRequest{Post: created.Post.ID, Author: ada, Version: 1, Title: "A title", Content: long}
		edited, err := blog.Edit(txn.Detach(ctx), b.db, edit)
		require.NoError(t, err)
		p, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: created.Post.ID, Author: ada})
		require.NoError(t, err)
		require.True(t, p.Post.UpdatedAt.After(edited.UpdatedAt))
		require.Equal(t, p.Post.UpdatedAt, *p.Post.PublishedAt)
		edit.Version = 3
		again, err := blog.Edit(ctx, tx, edit)
		require.True(t, again.UpdatedAt.After(p.Post.UpdatedAt))
		return err
	}))
}

// Refusals doom a transaction that was joined, unless they are met in a savepoint.
func TestPublishJoined(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	draft, published := b.draft(t, ada), b.published(t, ada)
	both := func(again func(context.Context, *txn.Tx) error) error {
		return txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: both"}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: draft.ID, Author: ada}); err != nil {
				return err
			}
			require.ErrorIs(t, again(ctx, tx), blog.ErrAlreadyPublished)
			return nil
		})
	}
	again := func(ctx context.Context, tx *txn.Tx) error {
		_, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: published.ID, Author: ada})
		return err
	}
	err := both(again)
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.ErrorIs(t, err, blog.ErrAlreadyPublished)
	require.Equal(t, blog.Counters{Posts: 2, Published: 1}, b.count(t, ada))
	require.NoError(t, both(func(ctx context.Context, tx *txn.Tx) error { return tx.Savepoint(ctx, again) }))
	require.Equal(t, blog.Counters{Posts: 2, Published: 2}, b.count(t, ada))
}

// Who begins to follow while a post is published is told of it or not, but once.
func TestFollowWhilePublishing(t *testing.T) {
	b := setup(t, once)
	ada, bob := b.user(t), b.user(t)
	followers := b.followers(t, ada, 1)
	post := b.draft(t, ada)
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: publish"}, func(ctx context.Context, tx *txn.Tx) error {
		p, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: post.ID, Author: ada})
		require.EqualValues(t, 1, p.Notified)
		return errors.Join(err, blog.Follow(txn.Detach(ctx), b.db, blog.FollowRequest{Follower: bob, Author: ada}))
	}))
	b.publishedOnce(t, post.ID, ada, followers)
	p, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: b.draft(t, ada).ID, Author: ada})
	require.NoError(t, err)
	require.EqualValues(t, 2, p.Notified)
}
