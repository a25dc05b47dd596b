package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
)

// A crew works the jobs that the scenes' transactions leave behind, as "interlock worker" does,
// on connections that end and a server that stops.
type crew struct {
	worker  worker
	pool    *pgxpool.Pool
	d       *txn.DB
	outside *outside
	client  *river.Client[pgx.Tx]
}

// crewSize is how many jobs are worked at a time: so many are fetched at once, four times a second.
const crewSize = 40

// crewConnections are enough for them, since each needs one for moments only.
const crewConnections = 8 + minConns

// How long the crew waits. A job that counts as running although its worker was cut off from it is
// worked again by the next worker, if it is older than staleAfter.
const (
	crewJobTimeout = 2 * time.Second
	staleAfter     = 3 * time.Second
	crewStops      = 5 * time.Second
	crewPatience   = 60 * time.Second
)

// hire starts the crew.
func (s *stage) hire(ctx context.Context, t *toll) (*crew, error) {
	cfg, err := pgxpool.ParseConfig(s.proxy.URL())
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = crewConnections
	txn.ConfigurePool(cfg)
	c := &crew{worker: worker{concurrency: crewSize, stopTimeout: crewStops}, outside: newOutside()}
	if c.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	tally := newTally(t)
	c.d = txn.New(c.pool, txn.Config{
		Options:   txn.Options{Timeout: crewJobTimeout, OnRetry: tally.noteRetry},
		Observers: []txn.Observer{tally},
	})
	return c, c.begin(ctx)
}

// begin has a new worker take over.
func (c *crew) begin(ctx context.Context) (err error) {
	cfg := c.worker.config(c.d, receivers{mail: c.outside, payments: bank{}, search: c.outside}, slog.New(slog.DiscardHandler))
	cfg.JobTimeout, cfg.RescueStuckJobsAfter, cfg.RetryPolicy = crewJobTimeout, staleAfter, soon{}
	cfg.Middleware = append(slices.Clone(cfg.Middleware), river.WorkerMiddlewareFunc(
		func(ctx context.Context, _ *rivertype.JobRow, work func(context.Context) error) error {
			return work(asking(ctx))
		}))
	if c.client, err = river.NewClient(riverpgxv5.New(c.pool), cfg); err != nil {
		return err
	}
	return c.client.Start(context.WithoutCancel(ctx))
}

// soon has a job that failed worked again almost at once: what it failed for is over by then.
type soon struct{}

func (soon) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(100 * time.Millisecond) }

// end stops the worker, when the jobs at work are done.
func (c *crew) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*crewStops)
	defer cancel()
	return c.client.Stop(ctx)
}

// leftSQL counts the jobs that are not done.
const leftSQL = "select count(*) from river.river_job where state not in ('completed', 'discarded', 'cancelled')"

// finish returns when all jobs are done, or nobody can wait any longer. When nothing gets done, a new
// worker takes over, and with it what the one before is believed to be working.
func (c *crew) finish(ctx context.Context, admin *pgxpool.Pool, stderr io.Writer) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	start, changed, before := time.Now(), time.Now(), 0
	for stopped := false; ; {
		var left int
		if err := admin.QueryRow(ctx, leftSQL).Scan(&left); err != nil {
			return err
		}
		switch {
		case left == 0 && stopped, time.Since(start) > crewPatience:
			return nil // and the report says which are left
		case left == 0: // the worker itself may add one, such as to sweep
			if err := c.end(ctx); err != nil {
				return err
			}
			stopped = true
			continue
		case left != before:
			changed, before = time.Now(), left
		case time.Since(changed) > staleAfter:
			fmt.Fprintf(stderr, "jobs left: %d; another worker takes over\n", left)
			if err := c.end(ctx); err != nil {
				return err
			}
			stopped = true
		}
		if stopped {
			if err := c.begin(ctx); err != nil {
				return err
			}
			stopped, changed = false, time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave ends the crew's part, whatever is at work.
func (c *crew) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*crewStops)
	defer cancel()
	err := c.client.StopAndCancel(ctx)
	c.pool.Close()
	return err
}

// outside is what jobs have an effect on, each of them once for a key or version.
type outside struct {
	mu     sync.Mutex
	mails  map[string]int  // how often each was sent
	index  map[int64]int64 // the version of each post
	repeat int             // effects that were there already
}

func newOutside() *outside { return &outside{mails: map[string]int{}, index: map[int64]int64{}} }

// Send takes a mail on.
func (o *outside) Send(_ context.Context, m mail.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mails[m.Key]++; o.mails[m.Key] > 1 {
		o.repeat++
	}
	return nil
}

// Put indexes a post.
func (o *outside) Put(_ context.Context, doc blog.Document) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.index[doc.Post] >= doc.Version {
		o.repeat++
	}
	o.index[doc.Post] = max(o.index[doc.Post], doc.Version)
	return nil
}

// mailsSQL are the keys of the mails that there have to be.
const mailsSQL = `
	select 'welcome/' || id from users
	union all
	select 'order.send_confirmation/' || id from orders where status in ('confirmed', 'paid', 'shipped') and idempotency_key like 'reservation %'`

// sums compare what happened outside with what the transactions said.
func (c *crew) sums(ctx context.Context, tx pgx.Tx) ([]sum, error) {
	var worked, repeated, others int
	var kinds string
	err := tx.QueryRow(ctx, `
		select count(*) filter (where state = 'completed'), count(*) filter (where state = 'completed' and attempt > 1),
			count(*) filter (where state <> 'completed'),
			coalesce(': ' || string_agg(distinct kind || ' ' || state, ', ') filter (where state <> 'completed'), '')
		from river.river_job`).Scan(&worked, &repeated, &others, &kinds)
	if err != nil {
		return nil, err
	}
	mails, err := keysThere(ctx, tx, mailsSQL)
	if err != nil {
		return nil, err
	}
	c.outside.mu.Lock()
	defer c.outside.mu.Unlock()
	var unsent keys
	for key := range mails {
		if c.outside.mails[key] == 0 {
			unsent = append(unsent, key)
		}
	}
	rows, err := tx.Query(ctx, "select id, version from posts where status = 'published'")
	if err != nil {
		return nil, err
	}
	var unknown keys
	var post, version int64
	published := 0
	_, err = pgx.ForEachRow(rows, []any{&post, &version}, func() error {
		published++
		if c.outside.index[post] != version {
			unknown = append(unknown, fmt.Sprintf("post %d", post))
		}
		return nil
	})
	return []sum{
		{
			Name: "every job was worked", Right: others == 0,
			Found: fmt.Sprintf("%d of %d were not%s; %d were worked more than once; %d effects came again and changed nothing",
				others, worked+others, kinds, repeated, c.outside.repeat),
		},
		{
			Name: "everybody got the letters that they were to get", Right: unsent.none(),
			Found: fmt.Sprintf("%s of %d were not sent", unsent, len(mails)),
		},
		{
			Name: "the index has what was published, in its last version", Right: unknown.none() && len(c.outside.index) == published,
			Found: fmt.Sprintf("%s of %d are not there; %d posts are", unknown, published, len(c.outside.index)),
		},
	}, err
}
