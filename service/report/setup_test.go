package report_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/report"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }

// watched is the configuration with lockOrder.
func watched(cfg txn.Config) txn.Config {
	cfg.Observers = append(cfg.Observers, lockOrder)
	return cfg
}

// business is a database of the test's own. Its invariants are checked at the test's end.
type business struct {
	*txntest.Database
	db    *txn.DB       // as the ordinary role
	admin *pgxpool.Pool // to look
	other *pgxpool.Pool // of the ordinary role, for what happens meanwhile
}

// setup makes a business without users.
func setup(t *testing.T, cfg txn.Config) *business {
	t.Helper()
	t.Parallel()
	database := testschema.NewDatabase(t)
	return &business{
		Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), watched(cfg)),
		admin: database.Admin(t), other: database.Pool(t),
	}
}

// open puts four users into it, each with an account and a draft. All but the last have 100,
// by a transfer each.
func (b *business) open(t *testing.T) {
	t.Helper()
	exec(t, b.other, `
		insert into users (email, name) select format('user-%s@example.com', n), format('User %s', n) from generate_series(1, 4) n;
		insert into accounts (user_id) select id from users order by id; -- 3 to 6
		insert into posts (author_id, title, content) select id, 'On engines', repeat('engine ', 20) from users order by id;
		`+count)
	for account := 3; account <= 5; account++ {
		exec(t, b.other, deposit, account, 100)
	}
}

// opened are the figures of that.
var opened = report.Figures{Users: 4, ActiveUsers: 4, Accounts: 4, Balances: 300, Entries: 300, Transfers: 3, Posts: 4}

// count brings the authors' counters up to their posts.
const count = `
	insert into author_counters (user_id, posts, published_posts)
	select author_id, count(*), count(*) filter (where status = 'published') from posts group by author_id
	on conflict (user_id) do update set posts = excluded.posts, published_posts = excluded.published_posts`

// deposit puts money into an account.
const deposit = `
	with t as (
		insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
		values ('deposit', gen_random_uuid()::text, 1, $1::bigint, $2::bigint) returning id
	), e as (
		insert into ledger_entries (transfer_id, account_id, amount_minor)
		select id, 1, -$2::bigint from t union all select id, $1::bigint, $2::bigint from t
	)
	update accounts set balance_minor = balance_minor + $2::bigint, version = version + 1 where id = $1::bigint`

// figures are the figures as they are now.
func (b *business) figures(t *testing.T) report.Figures {
	t.Helper()
	f, err := report.Read(t.Context(), b.db, report.ReadRequest{})
	require.NoError(t, err)
	return timeless(f)
}

// timeless are figures that can be compared.
func timeless(f report.Figures) report.Figures {
	f.ReadAt = time.Time{}
	return f
}

// plus adds figures.
func plus(f, d report.Figures) report.Figures {
	return report.Figures{
		Users: f.Users + d.Users, ActiveUsers: f.ActiveUsers + d.ActiveUsers, Accounts: f.Accounts + d.Accounts,
		Balances: f.Balances + d.Balances, Entries: f.Entries + d.Entries, Transfers: f.Transfers + d.Transfers,
		Posts: f.Posts + d.Posts, PublishedPosts: f.PublishedPosts + d.PublishedPosts,
	}
}

// through is a DB whose connections lead through a proxy.
func (b *business) through(t *testing.T, cfg txn.Config, suffix string) (*txn.DB, *faultproxy.Proxy) {
	t.Helper()
	proxy := txntest.NewProxy(t, b.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+suffix, watched(cfg))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d, proxy
}

// fromTable returns a query's single value, as the superuser sees it.
func fromTable[T any](t *testing.T, b *business, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, b.admin.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// await polls, on the server, until a condition is true.
func (b *business) await(t *testing.T, condition string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if fromTable[bool](t, b, "select coalesce(("+condition+"), false) from pg_sleep(0.005)", args...) {
			return
		}
	}
	t.Fatalf("it never came to this: %s\n\t%s", condition, txntest.Sessions(t.Context(), b.admin))
}

// awaitBlocked returns when a session of the database waits for a lock.
func (b *business) awaitBlocked(t *testing.T) {
	t.Helper()
	b.await(t, "exists (select from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)")
}

// async starts call and returns where its error will be.
func async(call func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

// begin begins a transaction of plain pgx, rolled back at the test's end at the latest.
func begin(t *testing.T, pool *pgxpool.Pool, opts ...pgx.TxOptions) pgx.Tx {
	t.Helper()
	var o pgx.TxOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	tx, err := pool.BeginTx(t.Context(), o)
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

// pid is the process id of a transaction's session.
func pid(tx pgx.Tx) int { return int(tx.Conn().PgConn().PID()) }
