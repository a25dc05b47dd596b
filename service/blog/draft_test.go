package blog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Some tests of this package first run code as it is often written, and show what goes wrong
// with it; then the same case through this package. What goes wrong is no theory: if it went
// right one day, the test would fail and could go.

// naiveSQL makes tables as such code has them.
const naiveSQL = `
	create schema naive;
	grant usage on schema naive to ` + pgserver.AppRole + `;
	create table naive.users (id bigint primary key, post_count bigint not null default 0);
	create table naive.posts (id bigint primary key, user_id bigint, title text, version bigint not null default 1);
	create table naive.tags (name text unique, display_name text);
	create table naive.notifications (user_id bigint, post_id bigint);
	create table naive.featured (day date primary key, post_id bigint);
	insert into naive.users values (1), (2);
	insert into naive.posts values (1, 1, 'A post')`

// naive makes those tables and returns a pool to use them by, as the ordinary role.
func (b *readers) naive(t *testing.T) *pgxpool.Pool {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), b.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, naiveSQL)
	return b.Pool(t)
}

// writtenSQL is a fingerprint of everything that this package writes.
const writtenSQL = `
	select md5(concat_ws('|',
		(select string_agg(r::text, ',' order by id) from posts r), (select string_agg(r::text, ',' order by user_id) from author_counters r),
		(select string_agg(r::text, ',' order by id) from tags r), (select string_agg(r::text, ',' order by post_id, tag_id) from post_tags r),
		(select string_agg(r::text, ',' order by author_id, follower_id) from follows r), (select string_agg(r::text, ',' order by id) from notifications r),
		(select string_agg(r::text, ',' order by day) from front_pages r), (select string_agg(r::text, ',' order by post_id) from featured_posts r),
		(select string_agg(r::text, ',' order by id) from activity_log r), (select count(*) from river.river_job)))`

func TestCreateRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	many := make([]string, blog.MaxTags+1)
	for i := range many {
		many[i] = fmt.Sprint("tag ", i)
	}
	before := fromTable[string](t, b, writtenSQL)
	for name, test := range map[string]struct {
		change func(*blog.CreateRequest)
		want   error
		field  string
	}{
		"unknown author":      {func(r *blog.CreateRequest) { r.Author = 1 << 40 }, blog.ErrUnknownUser, ""},
		"long title":          {func(r *blog.CreateRequest) { r.Title = strings.Repeat("ö", 201) }, blog.ErrInvalid, "Title"},
		"title of no letters": {func(r *blog.CreateRequest) { r.Title = "\xff" }, blog.ErrInvalid, "Title"},
		"title with a zero":   {func(r *blog.CreateRequest) { r.Title = "t\x00" }, blog.ErrInvalid, "Title"},
		"long content":        {func(r *blog.CreateRequest) { r.Content = strings.Repeat("c", 100001) }, blog.ErrInvalid, "Content"},
		"content with a zero": {func(r *blog.CreateRequest) { r.Content = "\x00" }, blog.ErrInvalid, "Content"},
		"no key":              {func(r *blog.CreateRequest) { r.Key = "" }, blog.ErrInvalid, "Key"},
		"long key":            {func(r *blog.CreateRequest) { r.Key = strings.Repeat("k", 201) }, blog.ErrInvalid, "Key"},
		"key with a zero":     {func(r *blog.CreateRequest) { r.Key = "k\x00" }, blog.ErrInvalid, "Key"},
		"empty tag":           {func(r *blog.CreateRequest) { r.Tags = []string{"go", " \t\u00a0"} }, blog.ErrInvalid, "Tags"},
		"long tag":            {func(r *blog.CreateRequest) { r.Tags = []string{"go", strings.Repeat("ö", 51)} }, blog.ErrInvalid, "Tags"},
		"tag of no letters":   {func(r *blog.CreateRequest) { r.Tags = []string{"\xff"} }, blog.ErrInvalid, "Tags"},
		"many tags":           {func(r *blog.CreateRequest) { r.Tags = many }, blog.ErrInvalid, "Tags"},
	} {
		r := b.request(ada, "go")
		test.change(&r)
		created, err := blog.Create(t.Context(), b.db, r)
		require.ErrorIs(t, err, test.want, name)
		require.Zero(t, created, name)
		require.False(t, txn.IsRetryable(err), name)
		if test.field != "" {
			invalid, ok := errors.AsType[*blog.InvalidError](err)
			require.True(t, ok, name)
			require.Equal(t, test.field, invalid.Field, name)
		}
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), "%s: nothing changes", name)
	}
	r := b.request(ada, many[1:]...)
	r.Title, r.Content = strings.Repeat("ö", 200), strings.Repeat("ö", 100000)
	_, err := blog.Create(t.Context(), b.db, r)
	require.NoError(t, err, "the limits count characters")
}

// The sentinels answer errors.Is also for their structs.
func TestErrorsAnswerIs(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]error{
		{&blog.InvalidError{Field: "Key"}, blog.ErrInvalid},
		{&blog.UnknownUserError{}, blog.ErrUnknownUser},
		{&blog.UnknownPostError{}, blog.ErrUnknownPost},
		{&blog.UnknownPostError{}, txn.ErrNotFound},
		{&blog.AlreadyPublishedError{}, blog.ErrAlreadyPublished},
		{&blog.TooShortError{}, blog.ErrTooShort},
		{&blog.EditConflictError{Err: &txn.StaleError{}}, txn.ErrStale},
	} {
		require.ErrorIs(t, pair[0], pair[1])
		require.NotErrorIs(t, pair[0], blog.ErrKeyReused)
	}
	require.NotErrorIs(t, &blog.EditConflictError{Err: &txn.StaleError{}}, txn.ErrNotFound)
	require.EqualError(t, &blog.TooShortError{Field: "Title", Have: 4, Need: 5}, "blog: too short to be published: Title has 4 characters, needed 5")
}

// All or nothing: whichever of its statements fails, nothing of a draft stays.
func TestCreateIsAtomic(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	before := fromTable[string](t, b, writtenSQL)
	for _, table := range []string{"posts", "tags", "post_tags", "author_counters", "activity_log"} {
		b.failing(t, table, func() {
			_, err := blog.Create(t.Context(), b.db, b.request(ada, "go"))
			require.Equal(t, "P0001", txn.SQLState(err), "%s: %v", table, err)
		})
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), "after a failure in %s", table)
	}
}

// failing runs do while a table takes no rows, and no changes.
func (b *readers) failing(t *testing.T, table string, do func()) {
	t.Helper()
	exec(t, b.admin, `
		create or replace function fail() returns trigger language plpgsql as $$ begin raise exception 'injected'; end $$;
		create trigger fail after insert or update on `+table+` for each row execute function fail()`)
	do()
	exec(t, b.admin, "drop trigger fail on "+table)
}

// A counter that is not there is not counted up, and UPDATE 0 is no error.
func TestEachPostIsCounted(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	tag, err := naive.Exec(t.Context(), "update naive.users set post_count = post_count + 1 where id = 99")
	require.NoError(t, err)
	require.Zero(t, tag.RowsAffected(), "and the post of author 99 would stay")

	ada := b.user(t)
	require.Zero(t, b.count(t, ada))
	b.draft(t, ada)
	b.draft(t, ada)
	require.Equal(t, blog.Counters{Posts: 2}, b.count(t, ada))
	_, err = blog.Create(t.Context(), b.db, b.request(1<<40))
	require.Equal(t, &blog.UnknownUserError{UserID: 1 << 40}, asType[*blog.UnknownUserError](t, err))
	require.Zero(t, b.count(t, 1<<40))

	// Many at once, all of one author.
	var calls []func() error
	for range 8 {
		calls = append(calls, func() error {
			_, err := blog.Create(t.Context(), b.at(txn.ReadCommitted), b.request(ada))
			return err
		})
	}
	for _, err := range b.together(t, pgx.Tx.Commit, "update author_counters set posts = posts", calls...) {
		require.NoError(t, err)
	}
	require.Equal(t, blog.Counters{Posts: 10}, b.count(t, ada))
}

func asType[E error](t *testing.T, err error) E {
	t.Helper()
	found, ok := errors.AsType[E](err)
	require.True(t, ok, "%v", err)
	return found
}

func TestReplay(t *testing.T) {
	b := setup(t, txn.Config{})
	ada, bob := b.user(t), b.user(t)
	r := b.request(ada, "Go", "SQL")
	first, err := blog.Create(t.Context(), b.db, r)
	require.NoError(t, err)

	again := func(r blog.CreateRequest) blog.Post {
		t.Helper()
		before := fromTable[string](t, b, writtenSQL)
		created, err := blog.Create(t.Context(), b.db, r)
		require.NoError(t, err)
		require.True(t, created.Replayed)
		require.Equal(t, first.Post.ID, created.Post.ID)
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), "nothing changes")
		return created.Post
	}
	require.Equal(t, first.Post, again(r))
	r.Tags = []string{"sql ", "GO", "go"}
	require.Equal(t, first.Post, again(r), "it means the same")
	edited, err := blog.Edit(t.Context(), b.db, blog.EditRequest{Post: first.Post.ID, Author: ada, Version: 1, Title: "Another title", Content: long})
	require.NoError(t, err)
	require.Equal(t, edited, again(r), "the post as it is now")

	// Keys are an author's own.
	r.Author = bob
	created, err := blog.Create(t.Context(), b.db, r)
	require.NoError(t, err)
	require.False(t, created.Replayed)

	r.Author = ada
	before := fromTable[string](t, b, writtenSQL)
	for name, change := range map[string]func(*blog.CreateRequest){
		"title":      func(r *blog.CreateRequest) { r.Title = "Another title" }, // also where it is the current one
		"content":    func(r *blog.CreateRequest) { r.Content += "." },
		"fewer tags": func(r *blog.CreateRequest) { r.Tags = r.Tags[1:2] },
		"a new tag":  func(r *blog.CreateRequest) { r.Tags = append(slices.Clone(r.Tags), "new") },
	} {
		changed := r
		change(&changed)
		_, err := blog.Create(t.Context(), b.db, changed)
		require.ErrorIs(t, err, blog.ErrKeyReused, name)
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), name)
	}
}

// A double click: the second call waits for what becomes of the first.
func TestSameDraftAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	broke := errors.New("the caller changed its mind")
	for _, level := range isolations {
		for _, outcome := range []error{nil, broke} {
			name := fmt.Sprintf("%s, first one: %v", level, outcome)
			ada, d := b.user(t), b.at(level)
			r := b.request(ada, fmt.Sprint("new ", ada))
			var second blog.Created
			var done <-chan error
			err := txn.WithTx(t.Context(), d, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
				first, err := blog.Create(ctx, tx, r)
				require.NoError(t, err, name)
				require.False(t, first.Replayed, name)
				done = async(func() (err error) {
					second, err = blog.Create(t.Context(), d, r)
					return err
				})
				waitBlocked(t, b.admin, 1)
				return outcome
			})
			require.ErrorIs(t, err, outcome, name)
			require.NoError(t, <-done, name)
			require.Equal(t, outcome == nil, second.Replayed, name)
			require.Equal(t, blog.Counters{Posts: 1}, b.count(t, ada), name)
		}
	}
}

func TestCreateRepeatedByItsTransaction(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	r := b.request(ada, "go")
	var created []blog.Created
	require.NoError(t, repeatOnce(t.Context(), b.db, func(ctx context.Context, tx *txn.Tx) error {
		c, err := blog.Create(ctx, tx, r)
		created = append(created, c)
		return err
	}))
	require.Len(t, created, 2)
	require.False(t, created[1].Replayed, "the first attempt left nothing")
	require.Equal(t, blog.Counters{Posts: 1}, b.count(t, ada))
}

func TestTags(t *testing.T) {
	b := setup(t, txn.Config{})
	ada := b.user(t)
	for _, test := range []struct {
		names []string
		want  []blog.Tag
	}{
		{nil, []blog.Tag{}},
		{[]string{" Go\n", "go", "GO", "\u00a0gO\u2003"}, []blog.Tag{{"go", "Go"}}},
		{[]string{"gO"}, []blog.Tag{{"go", "Go"}}}, // as the first one wrote it
		{[]string{"ÉTÉ", "été", "Été"}, []blog.Tag{{"été", "ÉTÉ"}}},
		{[]string{"ДОМ", "дом", "ΛΌΓΟΣ"}, []blog.Tag{{"λόγοσ", "ΛΌΓΟΣ"}, {"дом", "ДОМ"}}},
		{[]string{"Web  Design", "c++", "C++"}, []blog.Tag{{"c++", "c++"}, {"web  design", "Web  Design"}}},
		{[]string{"zebra", "go", "Ape"}, []blog.Tag{{"go", "Go"}, {"ape", "Ape"}, {"zebra", "zebra"}}},
	} {
		created := b.draft(t, ada, test.names...)
		require.Equal(t, test.want, created.Tags)
		read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: created.ID, Reader: ada})
		require.NoError(t, err)
		require.Equal(t, test.want, read.Tags)
	}
}

// Looking for each tag and inserting those that are missing finds none of two spellings, and
// inserts one twice.
func TestOneTagInTwoSpellings(t *testing.T) {
	b := setup(t, once)
	tx := begin(t, b.naive(t))
	names := []string{"Go", "go"}
	var missing []string
	for _, name := range names { // all looks come before the first insert, as if at once
		var found bool
		require.NoError(t, tx.QueryRow(t.Context(), "select exists (select from naive.tags where name = $1)", strings.ToLower(name)).Scan(&found))
		if !found {
			missing = append(missing, name)
		}
	}
	require.Equal(t, names, missing)
	exec(t, tx, "insert into naive.tags values ($1, $2)", "go", missing[0])
	_, err := tx.Exec(t.Context(), "insert into naive.tags values ($1, $2)", "go", missing[1])
	require.Equal(t, "23505", txn.SQLState(err))

	post := b.draft(t, b.user(t), names...)
	require.Equal(t, []blog.Tag{{"go", "Go"}}, post.Tags)
}

// DO NOTHING returns the rows that it inserted, and not those that were there.
func TestExistingTagsAreFound(t *testing.T) {
	b := setup(t, once)
	naive := b.naive(t)
	insert := func() (names []string) {
		rows, err := naive.Query(t.Context(), `
			insert into naive.tags values ('go', 'Go'), ($1, $1) on conflict (name) do nothing returning name`, t.Name())
		require.NoError(t, err)
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return names
	}
	require.Equal(t, []string{"go", t.Name()}, insert())
	require.Empty(t, insert(), "a post would be left without tags")

	ada := b.user(t)
	first, second := b.draft(t, ada, "Go", "Old"), b.draft(t, ada, "New", "GO", "old")
	require.Equal(t, []blog.Tag{{"go", "Go"}, {"old", "Old"}}, first.Tags)
	require.Equal(t, []blog.Tag{{"go", "Go"}, {"old", "Old"}, {"new", "New"}}, second.Tags)
}

// Two who insert the same tags in the order in which their authors wrote them.
func TestSameTagsAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	one, other := begin(t, naive), begin(t, naive)
	const insert = "insert into naive.tags values ($1, $1) on conflict (name) do nothing"
	exec(t, one, insert, "a")
	exec(t, other, insert, "b")
	done := async(func() error {
		_, err := one.Exec(t.Context(), insert, "b")
		return err
	})
	txntest.WaitBlocked(t, b.admin, int(one.Conn().PgConn().PID()))
	_, err := other.Exec(t.Context(), insert, "a")
	states := []string{txn.SQLState(err), txn.SQLState(<-done)}
	slices.Sort(states)
	require.Equal(t, []string{"", "40P01"}, states)

	// Twelve at once, who write them in different orders and spellings. All of them wait for
	// somebody who adds one of the tags, and who commits, or does not.
	const n = 12
	for _, level := range isolations {
		for end, commit := range map[string]func(pgx.Tx, context.Context) error{"committed": pgx.Tx.Commit, "rolled back": pgx.Tx.Rollback} {
			d, prefix := b.at(level), fmt.Sprintf("%s %s ", level, end)
			names := []string{prefix + "Ape", prefix + "bee", prefix + "Cat", prefix + "dog"}
			posts := make([]blog.Post, n)
			var calls []func() error
			for i := range n {
				own := slices.Clone(names)
				for j := range own {
					if i>>j&1 == 1 {
						own[j] = strings.ToUpper(own[j])
					}
				}
				own = slices.Concat(own[i%len(own):], own[:i%len(own)])
				if i%2 == 1 {
					slices.Reverse(own)
				}
				r := b.request(b.user(t), own...)
				calls = append(calls, func() error {
					created, err := blog.Create(t.Context(), d, r)
					posts[i] = created.Post
					return err
				})
			}
			first := strings.ToLower(names[0])
			sql := fmt.Sprintf("insert into tags (name, display_name) values ('%s', 'The first')", first)
			for _, err := range b.together(t, commit, sql, calls...) {
				require.NoError(t, err, prefix)
			}
			for _, p := range posts {
				require.Len(t, p.Tags, len(names), prefix)
				require.ElementsMatch(t, posts[0].Tags, p.Tags, prefix)
			}
			if end == "committed" {
				require.Contains(t, posts[0].Tags, blog.Tag{Name: first, Display: "The first"})
			}
		}
	}
}

// Who uses a tag that exists waits for nobody who uses it too: the tags of everybody's posts
// are not a queue.
func TestPopularTagsAreNotLocked(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1, LockTimeout: 5 * time.Second}})
	naive := b.naive(t)
	const upsert = "insert into naive.tags values ('go', 'Go') on conflict (name) do update set name = excluded.name returning name"
	exec(t, naive, upsert)
	one, other := begin(t, naive), begin(t, naive)
	exec(t, one, upsert) // the well-known way to have existing rows returned
	exec(t, other, "set local lock_timeout = '20ms'")
	_, err := other.Exec(t.Context(), upsert)
	require.Equal(t, "55P03", txn.SQLState(err))

	ada, bob := b.user(t), b.user(t)
	b.draft(t, ada, "go")
	opts := txn.Options{Label: "test: open"}
	require.NoError(t, txn.WithTx(t.Context(), b.db, opts, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := blog.Create(ctx, tx, b.request(ada, "go")); err != nil {
			return err
		}
		if err := tx.Flush(ctx); err != nil { // with the counters locked, too
			return err
		}
		_, err := blog.Create(txn.Detach(ctx), b.db, b.request(bob, "go")) // while the first one is open
		return err
	}))
}
