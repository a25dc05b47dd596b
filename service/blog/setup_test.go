package blog_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) {
	lockOrder.Allow("LockPost", "LockPost",
		"publications that a caller puts together lock in the order of the calls; one that deadlocks runs again")
	os.Exit(lockOrder.Run(m))
}

// watched is the configuration with lockOrder.
func watched(cfg txn.Config) txn.Config {
	cfg.Observers = append(cfg.Observers, lockOrder)
	return cfg
}

// once is a configuration without second attempts: what is right under it needs none.
var once = txn.Config{Options: txn.Options{MaxAttempts: 1}}

// readers are a database of the test's own. Its invariants are checked at the test's end.
type readers struct {
	*txntest.Database
	db    *txn.DB       // as the ordinary role
	admin *pgxpool.Pool // to inject faults and to look
	users atomic.Int64
	keys  atomic.Int64
}

func setup(t *testing.T, cfg txn.Config) *readers {
	t.Helper()
	t.Parallel()
	database := testschema.NewDatabase(t)
	return &readers{Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), watched(cfg)), admin: database.Admin(t)}
}

// isolations are the levels that a program may have chosen for all its transactions.
var isolations = []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable}

// at returns a DB on the test's database whose transactions are of that level. At READ
// COMMITTED the locks alone make everything right, so there is no second attempt.
func (b *readers) at(level txn.Isolation) *txn.DB {
	opts := txn.Options{Isolation: level, MaxAttempts: 20}
	if level == txn.ReadCommitted {
		opts.MaxAttempts = 1
	}
	return txn.New(b.db.Pool(), watched(txn.Config{Options: opts}))
}

// user makes a user.
func (b *readers) user(t *testing.T) int64 {
	t.Helper()
	n := b.users.Add(1)
	return fromTable[int64](t, b, "insert into users (email, name) values ($1, $2) returning id",
		fmt.Sprintf("user-%d@example.com", n), fmt.Sprintf("User %d", n))
}

// followers makes n users who follow an author.
func (b *readers) followers(t *testing.T, author int64, n int) (ids []int64) {
	t.Helper()
	for range n {
		id := b.user(t)
		require.NoError(t, blog.Follow(t.Context(), b.db, blog.FollowRequest{Follower: id, Author: author}))
		ids = append(ids, id)
	}
	return ids
}

// long is enough to be published.
var long = strings.Repeat("A text of ten words, which says nothing much at all. ", 3)

// draft writes a draft that can be published.
func (b *readers) draft(t *testing.T, author int64, tags ...string) blog.Post {
	t.Helper()
	created, err := blog.Create(t.Context(), b.db, b.request(author, tags...))
	require.NoError(t, err)
	require.False(t, created.Replayed)
	return created.Post
}

// request asks for a draft that can be published, by a key of its own.
func (b *readers) request(author int64, tags ...string) blog.CreateRequest {
	key := fmt.Sprintf("draft %d", b.keys.Add(1))
	return blog.CreateRequest{Author: author, Title: "On " + key, Content: long, Tags: tags, Key: key}
}

// published is a draft that was published.
func (b *readers) published(t *testing.T, author int64, tags ...string) blog.Post {
	t.Helper()
	p, err := blog.Publish(t.Context(), b.db, blog.PublishRequest{Post: b.draft(t, author, tags...).ID, Author: author})
	require.NoError(t, err)
	return p.Post
}

// count is the author's counters.
func (b *readers) count(t *testing.T, author int64) blog.Counters {
	t.Helper()
	c, err := blog.Count(t.Context(), b.db, author)
	require.NoError(t, err)
	return c
}

// fromTable returns a query's single value, as the superuser sees it.
func fromTable[T any](t *testing.T, b *readers, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, b.admin.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// indexed lists the versions of a post that jobs are to index.
func (b *readers) indexed(t *testing.T, post int64) []int64 {
	t.Helper()
	return fromTable[[]int64](t, b, `
		select coalesce(array_agg((args->>'version')::bigint order by id), '{}') from river.river_job
		where kind = 'blog.index_post' and (args->>'post_id')::bigint = $1`, post)
}

// waitBlocked returns when n sessions of the database wait for locks.
func waitBlocked(t *testing.T, admin *pgxpool.Pool, n int) {
	t.Helper()
	// The sleep stands outside: beside an empty table it would not be done.
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		var blocked int
		require.NoError(t, admin.QueryRow(t.Context(), `
			select (select count(*) from pg_stat_activity
				where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)
			from pg_sleep(0.01)`).Scan(&blocked))
		if blocked == n {
			return
		}
	}
	t.Fatalf("there were never %d sessions waiting for locks", n)
}

// together makes calls run into one another: a transaction holds what sql locks until each of
// the calls waits, and lets all go at once, by COMMIT or ROLLBACK. It returns their errors.
func (b *readers) together(t *testing.T, end func(pgx.Tx, context.Context) error, sql string, calls ...func() error) []error {
	t.Helper()
	errs := make([]error, len(calls))
	var running sync.WaitGroup
	defer running.Wait() // also when the test fails here, and then after the lock is gone
	holder := begin(t, b.admin)
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	exec(t, holder, sql)
	for i, call := range calls {
		running.Go(func() { errs[i] = call() })
	}
	waitBlocked(t, b.admin, len(calls))
	require.NoError(t, end(holder, t.Context()))
	running.Wait()
	return errs
}

// async starts call and returns where its error will be.
func async(call func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

// begin begins a transaction of plain pgx, rolled back at the test's end at the latest.
func begin(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

// exec runs a statement of plain pgx, on a pool, a connection or a transaction.
func exec(t *testing.T, on interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, sql string, args ...any) {
	t.Helper()
	_, err := on.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// repeatOnce runs fn in a transaction whose first attempt fails after it, as if another
// transaction had been in the way.
func repeatOnce(ctx context.Context, d *txn.DB, fn func(context.Context, *txn.Tx) error) error {
	return txn.WithTx(ctx, d, txn.Options{Label: "test: repeated", MaxAttempts: 2}, func(ctx context.Context, tx *txn.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		if tx.Attempt() > 1 {
			return nil
		}
		_, err := tx.Exec(ctx, "do $$ begin raise exception 'injected' using errcode = 'serialization_failure'; end $$")
		return err
	})
}
