// Package jobs puts work for later into the transaction that gives rise to it, with River:
// the job is there if and only if the transaction has committed, and is worked afterwards, by
// "interlock worker", at least once.
//
//	err := jobs.Insert(ctx, tx, WelcomeMail{UserID: user.ID}, nil)
//
// Whatever has to do with the world outside of the database, such as mail, is a job. A
// transaction that waits for a mail server holds its locks meanwhile, and cannot take the mail
// back when it is rolled back.
package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/interlock-go/interlock/txn"
)

// PollInterval is how often the workers look for jobs: nobody tells them.
const PollInterval = 250 * time.Millisecond

// Schema is the database schema of River's tables. "interlock migrate up" makes them.
const Schema = "river"

// Insert inserts a job in tx. It is worked when the transaction has committed, and vanishes
// with one that is rolled back, also to a savepoint.
//
// It takes a round trip of its own, and sends what is queued on tx before it: insert jobs
// last.
func Insert(ctx context.Context, tx *txn.Tx, args river.JobArgs, opts *river.InsertOpts) error {
	c, err := client()
	if err != nil {
		return err
	}
	if _, err := c.InsertTx(ctx, tx.Pgx(), args, opts); err != nil {
		return fmt.Errorf("insert job %s: %w", args.Kind(), err)
	}
	return nil
}

// InsertMany inserts several jobs in tx, in the round trip of one.
func InsertMany(ctx context.Context, tx *txn.Tx, params []river.InsertManyParams) error {
	c, err := client()
	if err != nil {
		return err
	}
	if _, err := c.InsertManyTx(ctx, tx.Pgx(), params); err != nil {
		return fmt.Errorf("insert %d jobs: %w", len(params), err)
	}
	return nil
}

// client is a client that inserts into transactions alone: it has no pool, and works nothing.
var client = sync.OnceValues(func() (*river.Client[pgx.Tx], error) {
	return river.NewClient(silent{riverpgxv5.New(nil)}, &river.Config{Schema: Schema})
})

// silent is a driver that tells no worker of a job by NOTIFY: the workers look by themselves,
// each PollInterval. It would cost the business transaction a round trip more, ten times a second in
// each process, and a lock that the committing transactions of all databases take in turn.
type silent struct{ riverdriver.Driver[pgx.Tx] }

// SupportsListenNotify is what River asks before it sends NOTIFY.
func (silent) SupportsListenNotify() bool { return false }
