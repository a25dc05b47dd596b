package blog

import (
	"context"
	"errors"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// An Extra is something that is done with a publication if it can be: in the same transaction,
// and without being able to prevent it. If it fails, all that it did is undone, jobs and hooks
// that it registered on tx included, and Published tells why. A panic is no such failure.
//
// What can only be done together is one Extra.
type Extra func(ctx context.Context, tx *txn.Tx, p Post) error

// ExtraLockTimeout is how long an Extra may wait for each lock, with the post locked meanwhile.
const ExtraLockTimeout = 500 * time.Millisecond

// doExtras does each in a savepoint of its own. The error is one that concerns the whole
// transaction.
func doExtras(ctx context.Context, tx *txn.Tx, extras []Extra, p Post) (failed []error, err error) {
	opts := txn.Options{Label: "extra", LockTimeout: ExtraLockTimeout}
	for _, extra := range extras {
		err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, opts, func(ctx context.Context, tx *txn.Tx) error { return extra(ctx, tx, p) })
		})
		if txn.SQLState(err) == stateSerializationFailure {
			return nil, err // the snapshot is the whole transaction's: run all of it again
		}
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		failed = append(failed, err)
	}
	return failed, nil
}

func failures(errs []error) (n int) {
	for _, err := range errs {
		if err != nil {
			n++
		}
	}
	return n
}

// FrontPage is an Extra that puts the post on today's front page, which has three slots, and
// one for each author. Today is that of UTC, by the server's clock.
//
// It locks the front page until the transaction ends: who wants a slot too waits, and is given
// up by ExtraLockTimeout, with txn.ErrLockNotAvailable. It is refused with ErrFrontPageFull,
// ErrFeaturedToday or ErrFeaturedBefore, and with ErrUnknownPost what is no published post of
// the author, wherever it is called.
func FrontPage(ctx context.Context, tx *txn.Tx, p Post) error {
	slot, err := db.New(tx).FeaturePost(ctx, db.FeaturePostParams{PostID: p.ID, AuthorID: p.Author})
	if errors.Is(err, txn.ErrNotFound) {
		return &UnknownPostError{PostID: p.ID}
	}
	if txn.SQLState(err) == stateUniqueViolation {
		switch txn.ConstraintName(err) {
		case "featured_posts_author_id_day_key":
			return ErrFeaturedToday
		case "featured_posts_pkey":
			return ErrFeaturedBefore
		}
	}
	if err == nil && slot == 0 {
		return ErrFrontPageFull
	}
	return err
}
