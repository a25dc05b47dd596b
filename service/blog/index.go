package blog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A SearchIndex is where readers find posts by words. Its methods may be called from several
// goroutines.
type SearchIndex interface {
	// Put stores a document, unless the index has one of the post in the same version or a
	// later one. Jobs are worked at least once, and two of one post in any order: so a document
	// may come again, and an older one late. It returns nil when the index has this version or
	// a later one.
	Put(ctx context.Context, doc Document) error
}

// A Document is a published post as an index gets it.
type Document struct {
	Post        int64
	Version     int64
	Title       string
	Content     string
	Author      string // the name
	Tags        []string
	PublishedAt time.Time
}

// IndexPost is the job that brings a post to the search index, in this version or a later one.
// A version of a post has one such job.
type IndexPost struct {
	PostID  int64 `json:"post_id"`
	Version int64 `json:"version"`
}

// Kind names the job.
func (IndexPost) Kind() string { return "blog.index_post" }

// InsertOpts makes the job one of its arguments.
func (IndexPost) InsertOpts() river.InsertOpts {
	return river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
}

// An IndexPostWorker works IndexPost jobs. It reads the post in a transaction of its own, which
// is over when the index is called: a slow index keeps neither a connection nor a snapshot.
type IndexPostWorker struct {
	river.WorkerDefaults[IndexPost]
	posts txn.ReadTransactor
	index SearchIndex
}

// AddWorkers adds the workers of this package's jobs. Their transactions lock nothing, at any
// isolation level. Their errors are River's to try again.
func AddWorkers(w *river.Workers, posts txn.ReadTransactor, index SearchIndex) {
	river.AddWorker(w, NewIndexPostWorker(posts, index))
}

// NewIndexPostWorker is for programs that add workers one by one. Its transactions lock
// nothing, at any isolation level. Its errors are River's to try again.
func NewIndexPostWorker(posts txn.ReadTransactor, index SearchIndex) *IndexPostWorker {
	return &IndexPostWorker{posts: posts, index: index}
}

// Work indexes the post as it is now. A job of an older version than that has nothing left to
// do when its turn comes, and does it all the same: the index tells.
func (w *IndexPostWorker) Work(ctx context.Context, job *river.Job[IndexPost]) error {
	doc, err := readQueued(ctx, w.posts, "blog: read for the index", func(q *db.QueuedReadQueries) *txn.Pending[db.GetDocumentRow] {
		return q.GetDocument(job.Args.PostID)
	})
	if errors.Is(err, txn.ErrNotFound) {
		return river.JobCancel(&UnknownPostError{PostID: job.Args.PostID}) // it will not come back
	}
	if err != nil {
		return fmt.Errorf("index post %d: %w", job.Args.PostID, err)
	}
	err = w.index.Put(ctx, Document{
		Post: doc.ID, Version: doc.Version, Title: doc.Title, Content: doc.Content,
		Author: doc.Author, Tags: doc.Tags, PublishedAt: doc.PublishedAt,
	})
	if err != nil {
		return fmt.Errorf("index post %d: %w", job.Args.PostID, err)
	}
	return nil
}
