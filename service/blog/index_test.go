package blog_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

// An index is a SearchIndex in memory, that fails a number of times first.
type index struct {
	mu       sync.Mutex
	failures int
	puts     int
	docs     map[int64]blog.Document
	during   func() // called in Put
}

var errDown = errors.New("the index is down")

func (x *index) Put(_ context.Context, doc blog.Document) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.during != nil {
		x.during()
	}
	x.puts++
	if x.puts <= x.failures {
		return errDown
	}
	if doc.Version > x.docs[doc.Post].Version {
		x.docs[doc.Post] = doc
	}
	return nil
}

func newIndex() *index { return &index{docs: map[int64]blog.Document{}} }

// worker is the worker of IndexPost jobs, as River calls it.
func worker(d *txn.DB, x blog.SearchIndex) func(context.Context, blog.IndexPost) error {
	w := blog.NewIndexPostWorker(d, x)
	return func(ctx context.Context, args blog.IndexPost) error {
		return w.Work(ctx, &river.Job[blog.IndexPost]{JobRow: &rivertype.JobRow{}, Args: args})
	}
}

func TestIndexPost(t *testing.T) {
	b := setup(t, once)
	ada := b.user(t)
	post := b.published(t, ada, "SQL", "Go")
	x := newIndex()
	x.during = func() {
		require.Zero(t, b.db.Pool().Stat().AcquiredConns(), "no transaction waits for the index")
	}
	work := worker(b.db, x)
	args := blog.IndexPost{PostID: post.ID, Version: 2}
	require.NoError(t, work(t.Context(), args))
	want := blog.Document{
		Post: post.ID, Version: 2, Title: post.Title, Content: post.Content, Author: "User 1", Tags: []string{"go", "sql"},
		PublishedAt: *post.PublishedAt,
	}
	require.Equal(t, map[int64]blog.Document{post.ID: want}, x.docs)

	// An old job brings what there is now, and a second run changes nothing.
	edited, err := blog.Edit(t.Context(), b.db, blog.EditRequest{Post: post.ID, Author: ada, Version: 2, Title: "Other title", Content: long})
	require.NoError(t, err)
	want.Version, want.Title, want.Content = 3, edited.Title, edited.Content
	for range 2 {
		require.NoError(t, work(t.Context(), args))
		require.Equal(t, map[int64]blog.Document{post.ID: want}, x.docs)
	}

	x.failures = x.puts + 1
	err = work(t.Context(), args)
	require.ErrorIs(t, err, errDown)
	_, cancelled := errors.AsType[*river.JobCancelError](err)
	require.False(t, cancelled, "River tries it again")

	// What is not there, or not for readers, never comes: it is not tried for ever.
	for _, id := range []int64{1 << 40, b.draft(t, ada).ID} {
		err := work(t.Context(), blog.IndexPost{PostID: id, Version: 1})
		require.ErrorIs(t, err, blog.ErrUnknownPost)
		_, cancelled = errors.AsType[*river.JobCancelError](err)
		require.True(t, cancelled)
	}
	require.Len(t, x.docs, 1)
}

// atOnce is a policy of retries without pauses.
type atOnce struct{}

func (atOnce) NextRetry(job *rivertype.JobRow) time.Time { return *job.AttemptedAt }

// From publication to the index, which is down at first.
func TestPublishedIsIndexed(t *testing.T) {
	b := setup(t, once)
	ada := b.user(t)
	undone := errors.New("undone")
	draft := b.draft(t, ada)
	require.ErrorIs(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: undone"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := blog.Publish(ctx, tx, blog.PublishRequest{Post: draft.ID, Author: ada})
		return errors.Join(err, undone)
	}), undone)
	post := b.published(t, ada)
	edited, err := blog.Edit(t.Context(), b.db, blog.EditRequest{Post: post.ID, Author: ada, Version: 2, Title: "Other title", Content: long})
	require.NoError(t, err)

	x := newIndex()
	x.failures = 2
	workers := river.NewWorkers()
	blog.AddWorkers(workers, b.db, x)
	client, err := river.NewClient(riverpgxv5.New(b.Pool(t)), &river.Config{
		Schema: jobs.Schema, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
		FetchCooldown: time.Millisecond, FetchPollInterval: 5 * time.Millisecond, RetryPolicy: atOnce{}, TestOnly: true,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	events, unsubscribe := client.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed)
	defer unsubscribe()
	require.NoError(t, client.Start(t.Context()))
	defer func() { require.NoError(t, client.StopAndCancel(context.WithoutCancel(t.Context()))) }()
	completed, failed := 0, 0
	for completed < 2 {
		select {
		case e := <-events:
			if e.Kind == river.EventKindJobCompleted {
				completed++
			} else {
				failed++
			}
		case <-t.Context().Done():
			t.Fatal("the jobs were not worked")
		}
	}
	require.Equal(t, 2, failed)
	x.mu.Lock()
	defer x.mu.Unlock()
	require.Len(t, x.docs, 1, "nothing of the publication that was undone")
	require.Equal(t, edited.Title, x.docs[post.ID].Title)
	require.EqualValues(t, 3, x.docs[post.ID].Version)
}

// A version of a post has one job, whoever inserts it.
func TestIndexJobIsOne(t *testing.T) {
	b := setup(t, once)
	post := b.published(t, b.user(t))
	for range 2 {
		require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: again"}, func(ctx context.Context, tx *txn.Tx) error {
			return jobs.Insert(ctx, tx, blog.IndexPost{PostID: post.ID, Version: 2}, nil)
		}))
	}
	require.Equal(t, []int64{2}, b.indexed(t, post.ID))
}
