// Package blog lets users write posts, publish them to those who follow, and edit them.
//
//	created, err := blog.Create(ctx, d, blog.CreateRequest{
//		Author: ada, Title: "On engines", Content: text, Tags: []string{"Engines", "Go"}, Key: "draft-7",
//	})
//	…
//	published, err := blog.Publish(ctx, d, blog.PublishRequest{Post: created.Post.ID, Author: ada})
//
// Each function is one transaction of the handle it is given: on a *txn.DB it begins one, on
// a *txn.Tx it joins that one, and then it is done when the outer transaction commits. All are
// right at READ COMMITTED, the default, and at any stronger level.
//
// # Requests that are sent twice
//
// Create has a key, as whoever asks chooses it: the same request sent again, after a lost
// answer or by a double click, returns the first one's post with Replayed set. A post is
// published once; the second call is refused with ErrAlreadyPublished, and nobody is counted or
// told twice. Edit changes a post in the version that its author read; sent again, it meets the
// version that it made, and is refused as stale. Follow and Unfollow may be repeated at will.
//
// # What is refused
//
// Refusals are the errors of this package; see errors.go. Nothing has changed after one. If
// the function had joined a transaction, that one can only be rolled back: to go on in spite
// of a refusal, call it inside Tx.Savepoint. What a publication can do without is an Extra.
//
// # Who reads what
//
// A draft is its author's alone. To others it does not exist, which is the same answer as for
// a post that does not.
//
// # The search index
//
// Publish, and Edit of what is published, insert an IndexPost job in their transaction. It is
// worked after COMMIT, as often as it takes, outside of any transaction.
//
// # Locks
//
// Rows are locked in this order: the post, FOR NO KEY UPDATE; an Extra's, such as the day's
// front page; the author's counters. New tags are inserted in the order of their names, and
// existing ones are not locked.
package blog
