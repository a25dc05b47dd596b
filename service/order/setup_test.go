package order_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) {
	for _, query := range []string{"LockUser", "LockProducts", "LockOrder", "CountOrder"} {
		lockOrder.Allow(query, query,
			"calls that a caller puts together lock in the order of the calls; one that deadlocks runs again")
	}
	os.Exit(lockOrder.Run(m))
}

// watched is the configuration with lockOrder.
func watched(cfg txn.Config) txn.Config {
	cfg.Observers = append(cfg.Observers, lockOrder)
	return cfg
}

// shop is a database of the test's own. Its invariants are checked at the test's end.
type shop struct {
	*txntest.Database
	db    *txn.DB       // as the ordinary role
	admin *pgxpool.Pool // to inject faults and to look
	users atomic.Int64
}

func setup(t *testing.T, cfg txn.Config) *shop {
	t.Helper()
	t.Parallel()
	database := testschema.NewDatabase(t)
	return &shop{Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), watched(cfg)), admin: database.Admin(t)}
}

// isolations are the levels that a program may have chosen for all its transactions.
var isolations = []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable}

// at returns a DB on the test's database whose transactions are of that level. At READ
// COMMITTED the locks alone make everything right, so there is no second attempt.
func (s *shop) at(level txn.Isolation) *txn.DB {
	opts := txn.Options{Isolation: level, MaxAttempts: 20}
	if level == txn.ReadCommitted {
		opts.MaxAttempts = 1
	}
	return txn.New(s.db.Pool(), watched(txn.Config{Options: opts}))
}

// user makes somebody who can order, with an empty account.
func (s *shop) user(t *testing.T) int64 {
	t.Helper()
	n := s.users.Add(1)
	return fromTable[int64](t, s, `with u as (insert into users (email, name) values ($1, $2) returning id)
		insert into accounts (user_id) select id from u returning user_id`,
		fmt.Sprintf("user-%d@example.com", n), fmt.Sprintf("User %d", n))
}

// product makes something that can be ordered.
func (s *shop) product(t *testing.T, price money.Minor, stock int64) int64 {
	t.Helper()
	p, err := db.Autocommit(s.db).CreateProduct(t.Context(), db.CreateProductParams{Name: "Mug", PriceMinor: price, Stock: stock})
	require.NoError(t, err)
	return p.ID
}

func (s *shop) get(t *testing.T, product int64) db.Product {
	t.Helper()
	p, err := db.Autocommit(s.db).GetProduct(t.Context(), product)
	require.NoError(t, err)
	return p
}

func (s *shop) order(t *testing.T, id int64) db.Order {
	t.Helper()
	o, err := db.Autocommit(s.db).GetOrder(t.Context(), id)
	require.NoError(t, err)
	return o
}

var home = order.Address{Name: "Ada", Street: "Main Street 1", PostalCode: "N1", City: "London", Country: "GB"}

// request asks for items to be sent home.
func request(user int64, key string, items ...order.Item) order.PlaceRequest {
	return order.PlaceRequest{UserID: user, Key: key, Items: items, Address: home, Method: db.PaymentMethodCard}
}

// placed makes an order without a discount.
func (s *shop) placed(t *testing.T, user int64, key string, items ...order.Item) order.Placed {
	t.Helper()
	p, err := order.Place(t.Context(), s.db, nil, request(user, key, items...))
	require.NoError(t, err)
	return p
}

// set changes rows in a way that the service has no function for.
func (s *shop) set(t *testing.T, table string, id int64, assignment string) {
	t.Helper()
	tag, err := s.admin.Exec(t.Context(), "update "+table+" set "+assignment+" where id = $1", id)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
}

// impatient returns a DB on the test's database that waits for no lock longer than it takes to
// find out that somebody has it.
func (s *shop) impatient() *txn.DB {
	return txn.New(s.db.Pool(), watched(txn.Config{Options: txn.Options{LockTimeout: 20 * time.Millisecond, MaxAttempts: 1}}))
}

// waits demands that a statement of plain pgx waits for a lock that somebody has, and passes
// demands that it does not. Nothing of it stays.
func (s *shop) waits(t *testing.T, sql string, args ...any) {
	t.Helper()
	require.Equal(t, "55P03", txn.SQLState(s.try(t, sql, args...)), sql)
}

func (s *shop) passes(t *testing.T, sql string, args ...any) {
	t.Helper()
	require.NoError(t, s.try(t, sql, args...), sql)
}

func (s *shop) try(t *testing.T, sql string, args ...any) error {
	t.Helper()
	tx, err := s.admin.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	exec(t, tx, "set local lock_timeout = '20ms'")
	_, err = tx.Exec(t.Context(), sql, args...)
	return err
}

// fromTable returns a query's single value, as the superuser sees it.
func fromTable[T any](t *testing.T, s *shop, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, s.admin.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// fromPool is fromTable on a pool of the test's own.
func fromPool[T any](t *testing.T, pool *pgxpool.Pool, sql string) (v T) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), sql).Scan(&v))
	return v
}

// onlyOne makes a pool of one connection.
func onlyOne(cfg *pgxpool.Config) {
	txn.ConfigurePool(cfg)
	cfg.MaxConns = 1
}

// shopSQL is a fingerprint of everything that an order touches.
const shopSQL = `
	select md5(coalesce((select string_agg(p::text, ',' order by id) from products p), '')
		|| coalesce((select string_agg(o::text, ',' order by id) from orders o), '')
		|| coalesce((select string_agg(i::text, ',' order by order_id, product_id) from order_items i), '')
		|| coalesce((select string_agg(p::text, ',' order by id) from payments p), '')
		|| coalesce((select string_agg(c::text, ',' order by user_id) from customer_counters c), '')
		|| coalesce((select string_agg(a::text, ',' order by id) from activity_log a), ''))`

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

// together makes calls run into one another: it holds rows of a table until each of the calls
// waits for one, and lets all go at once. It returns their errors.
func (s *shop) together(t *testing.T, table string, ids []int64, calls ...func() error) []error {
	t.Helper()
	errs := make([]error, len(calls))
	var running sync.WaitGroup
	defer running.Wait() // also when the test fails here, and then after the lock is gone
	holder := begin(t, s.admin)
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	exec(t, holder, "select from "+table+" where id = any ($1) order by id for update", ids)
	for i, call := range calls {
		running.Go(func() { errs[i] = call() })
	}
	// The pool may have fewer connections than there are calls; the others wait for one.
	waitBlocked(t, s.admin, min(len(calls), int(s.db.Pool().Config().MaxConns)))
	require.NoError(t, holder.Commit(t.Context()))
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

// Where code is often written otherwise, a test first runs it as it is, and shows what goes
// wrong with it; then the same case through this package. What goes wrong is no theory: if it
// went right one day, the test would fail and could go.

// naiveSQL makes tables as such code has them: without keys, checks and references.
const naiveSQL = `
	create schema naive;
	grant usage on schema naive to ` + pgserver.AppRole + `;
	create table naive.users (id bigint primary key, active boolean not null default true, balance bigint not null default 1000, order_count bigint not null default 0);
	create table naive.products (id bigint primary key, price bigint not null default 500, stock bigint not null default 10);
	create table naive.orders (id bigint generated by default as identity primary key, user_id bigint not null, product_id bigint,
		discount bigint not null default 0, status text not null default 'pending', note text not null default '');
	insert into naive.users (id) values (1), (2);
	insert into naive.products (id) values (1), (2);
	insert into naive.orders (user_id, product_id) values (1, 1), (1, 2)`

// naive makes those tables and returns a pool to use them by, as the ordinary role. Users 1 and
// 2 have 1000 each; products 1 and 2 cost 500 and are there 10 times; orders 1 and 2 are of user 1.
func (s *shop) naive(t *testing.T) *pgxpool.Pool {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), s.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, naiveSQL)
	return s.Pool(t)
}
