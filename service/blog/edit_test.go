package blog_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

func TestEditRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	ada, bob := b.user(t), b.user(t)
	draft, published := b.draft(t, ada), b.published(t, ada)
	before := fromTable[string](t, b, writtenSQL)
	right := blog.EditRequest{Post: published.ID, Author: ada, Version: published.Version, Title: "A title", Content: long}
	for name, test := range map[string]struct {
		change func(*blog.EditRequest)
		want   error
	}{
		"no such post":      {func(r *blog.EditRequest) { r.Post = 1 << 40 }, &blog.UnknownPostError{PostID: 1 << 40}},
		"another's post":    {func(r *blog.EditRequest) { r.Author = bob }, &blog.UnknownPostError{PostID: published.ID}},
		"short title":       {func(r *blog.EditRequest) { r.Title = " four " }, &blog.TooShortError{Field: "Title", Have: 4, Need: 5}},
		"short content":     {func(r *blog.EditRequest) { r.Content = "\t" }, &blog.TooShortError{Field: "Content", Have: 0, Need: 100}},
		"long title":        {func(r *blog.EditRequest) { r.Title = strings.Repeat("t", 201) }, blog.ErrInvalid},
		"long content":      {func(r *blog.EditRequest) { r.Content = strings.Repeat("c", 100001) }, blog.ErrInvalid},
		"title with a zero": {func(r *blog.EditRequest) { r.Title = "title\x00" }, blog.ErrInvalid},
		"no text":           {func(r *blog.EditRequest) { r.Content = long + "\xff" }, blog.ErrInvalid},
		"stale":             {func(r *blog.EditRequest) { r.Version-- }, txn.ErrStale},
		"from the future":   {func(r *blog.EditRequest) { r.Version++ }, txn.ErrStale},
	} {
		r := right
		test.change(&r)
		edited, err := blog.Edit(t.Context(), b.db, r)
		require.Zero(t, edited, name)
		require.Error(t, err, name)
		require.False(t, txn.IsRetryable(err), name)
		if sameType := errors.Is(err, test.want); !sameType {
			require.Equal(t, test.want, err, name)
		}
		require.Equal(t, before, fromTable[string](t, b, writtenSQL), "%s: nothing changes", name)
	}
	// A draft need not be complete.
	edited, err := blog.Edit(t.Context(), b.db, blog.EditRequest{Post: draft.ID, Author: ada, Version: 1})
	require.NoError(t, err)
	require.Empty(t, edited.Title)
	require.Empty(t, b.indexed(t, draft.ID), "drafts are not indexed")
}

// An UPDATE that finds no row does not say whether the post was changed or is not there, and
// who calls it stale sends somebody to refresh what does not exist.
func TestStaleIsNotMissing(t *testing.T) {
	b := setup(t, once)
	naive := b.naive(t)
	edit := func(id, version int64) error {
		tag, err := naive.Exec(t.Context(), "update naive.posts set version = $2 + 1 where id = $1 and version = $2", id, version)
		require.NoError(t, err)
		if tag.RowsAffected() == 0 {
			return errors.New("post was modified by another user, please refresh and try again")
		}
		return nil
	}
	require.NoError(t, edit(1, 1))
	require.Equal(t, edit(1, 1), edit(99, 1))

	ada := b.user(t)
	post := b.draft(t, ada, "go")
	r := blog.EditRequest{Post: post.ID, Author: ada, Version: 1, Title: "First", Content: "one"}
	_, err := blog.Edit(t.Context(), b.db, r)
	require.NoError(t, err)
	current, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: post.ID, Reader: ada})
	require.NoError(t, err)

	r.Title = "Second"
	_, err = blog.Edit(t.Context(), b.db, r)
	require.ErrorIs(t, err, txn.ErrStale)
	require.NotErrorIs(t, err, txn.ErrNotFound)
	conflict := asType[*blog.EditConflictError](t, err)
	require.EqualValues(t, 1, conflict.Version)
	require.Equal(t, current, conflict.Current, "what the author has to look at")

	r.Post = 1 << 40
	_, err = blog.Edit(t.Context(), b.db, r)
	require.ErrorIs(t, err, txn.ErrNotFound)
	require.NotErrorIs(t, err, txn.ErrStale)
}

// Two edits of one version at once: one is made, the other one is told of it. It is not made on
// top, also where the transaction runs again.
func TestEditsAtOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, level := range isolations {
		ada, d := b.user(t), b.at(level)
		post := b.draft(t, ada)
		edits := make([]blog.Post, 2)
		titles := []string{"One title", "Other title"}
		edit := func(n int) func() error {
			return func() (err error) {
				edits[n], err = blog.Edit(t.Context(), d, blog.EditRequest{Post: post.ID, Author: ada, Version: 1, Title: titles[n], Content: long})
				return err
			}
		}
		errs := b.together(t, pgx.Tx.Rollback, "select from posts for update", edit(0), edit(1))
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		require.NoError(t, errs[winner], level)
		require.EqualValues(t, 2, edits[winner].Version, level)
		conflict := asType[*blog.EditConflictError](t, errs[1-winner])
		require.Equal(t, edits[winner], conflict.Current, level)
		read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: post.ID, Reader: ada})
		require.NoError(t, err)
		require.Equal(t, edits[winner], read, level)
	}
}

// A stale edit is never tried again: its text was written on what is there no more.
func TestStaleEditIsNotRepeated(t *testing.T) {
	var retries atomic.Int64
	b := setup(t, txn.Config{Options: txn.Options{
		MaxAttempts: 5, RetryAlso: []string{"23505"}, OnRetry: func(context.Context, txn.Retry) { retries.Add(1) },
	}})
	ada := b.user(t)
	post := b.published(t, ada)
	_, err := blog.Edit(t.Context(), b.db, blog.EditRequest{Post: post.ID, Author: ada, Version: 1, Title: "Stale", Content: long})
	require.ErrorIs(t, err, txn.ErrStale)
	require.Zero(t, retries.Load())

	// The caller's own transaction cannot go on either, unless the edit is in a savepoint.
	stale := func(ctx context.Context, tx *txn.Tx) error {
		_, err := blog.Edit(ctx, tx, blog.EditRequest{Post: post.ID, Author: ada, Version: 1, Title: "Stale", Content: long})
		require.ErrorIs(t, err, txn.ErrStale)
		return err
	}
	err = txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: swallowed"}, func(ctx context.Context, tx *txn.Tx) error {
		_ = stale(ctx, tx)
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.ErrorIs(t, err, txn.ErrStale)
	require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: contained"}, func(ctx context.Context, tx *txn.Tx) error {
		conflict := asType[*blog.EditConflictError](t, tx.Savepoint(ctx, stale))
		_, err := blog.Edit(ctx, tx, blog.EditRequest{Post: post.ID, Author: ada, Version: conflict.Current.Version, Title: "On the current one", Content: long})
		return err
	}))
	require.Equal(t, []int64{2, 3}, b.indexed(t, post.ID))
}

// naiveEdit reads the post after COMMIT, and calls whatever goes wrong a failure of the edit.
func naiveEdit(ctx context.Context, pool *pgxpool.Pool, id, version int64) (title string, err error) {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback(ctx))
		}
	}()
	if _, err := tx.Exec(ctx, "update naive.posts set title = 'Edited', version = $2 + 1 where id = $1 and version = $2", id, version); err != nil {
		return "", err
	}
	if err := tx.Commit(ctx); err != nil {
		return "", err
	}
	err = pool.QueryRow(ctx, "select title from naive.posts where id = $1", id).Scan(&title)
	return title, err
}

// The server is gone right after COMMIT.
func TestNothingFailsAfterCommit(t *testing.T) {
	b := setup(t, txn.Config{})
	b.naive(t)
	ada := b.user(t)
	post := b.published(t, ada)
	proxy := txntest.NewProxy(t, b.AppURL())
	pool, err := pgxpool.New(t.Context(), proxy.URL())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	d, err := txn.Open(t.Context(), proxy.URL(), watched(once))
	require.NoError(t, err)
	t.Cleanup(d.Close)

	cut := proxy.Arm(faultproxy.Fault{SQL: "^select title", Do: faultproxy.Cut{}})
	_, err = naiveEdit(t.Context(), pool, 1, 1)
	require.NoError(t, cut.WaitSession(t.Context()))
	require.Error(t, err)
	require.ErrorIs(t, err, pgx.ErrTxClosed, "it is said to be rolled back, too")
	require.Equal(t, "Edited", fromTable[string](t, b, "select title from naive.posts where id = 1"), "it is committed")

	// What comes after COMMIT would be cut off, whatever it is. There is nothing.
	committed := proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
	edited, err := blog.Edit(t.Context(), d, blog.EditRequest{Post: post.ID, Author: ada, Version: 2, Title: "Edited", Content: long})
	require.NoError(t, committed.WaitSession(t.Context()))
	require.NoError(t, err)
	read, err := blog.Get(t.Context(), b.db, blog.GetRequest{Post: post.ID})
	require.NoError(t, err)
	require.Equal(t, read, edited)
}
