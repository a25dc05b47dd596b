package account_test

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
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) {
	lockOrder.Allow("LockAccounts", "LockAccounts",
		"transfers that a caller puts together lock in the order of the calls; one that deadlocks runs again")
	lockOrder.Allow("LockAccount", "LockAccounts", "a certificate and its fee are about one account")
	os.Exit(lockOrder.Run(m))
}

// watched is the configuration with lockOrder.
func watched(cfg txn.Config) txn.Config {
	cfg.Observers = append(cfg.Observers, lockOrder)
	return cfg
}

// books are a database of the test's own. Its invariants are checked at the test's end.
type books struct {
	*txntest.Database
	db    *txn.DB       // as the ordinary role
	admin *pgxpool.Pool // to inject faults and to look
	users atomic.Int64
}

func setup(t *testing.T, cfg txn.Config) *books {
	t.Helper()
	t.Parallel()
	database := testschema.NewDatabase(t)
	return &books{Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), watched(cfg)), admin: database.Admin(t)}
}

// customer signs somebody up and brings the account to a balance.
func (b *books) customer(t *testing.T, balance money.Minor) int64 {
	t.Helper()
	n := b.users.Add(1)
	user, err := account.SignUp(t.Context(), b.db, account.SignUpRequest{
		Email: fmt.Sprintf("user-%d@example.com", n), Name: fmt.Sprintf("User %d", n),
	})
	require.NoError(t, err)
	key := fmt.Sprintf("opening of %d", user.AccountID)
	switch {
	case balance > account.WelcomeBonus:
		_, err = account.Deposit(t.Context(), b.db, account.DepositRequest{
			Account: user.AccountID, Amount: balance - account.WelcomeBonus, Key: key})
	case balance < account.WelcomeBonus:
		_, err = account.Withdraw(t.Context(), b.db, account.WithdrawRequest{
			Account: user.AccountID, Amount: account.WelcomeBonus - balance, Key: key})
	}
	require.NoError(t, err)
	require.Equal(t, balance, b.balance(t, user.AccountID))
	return user.AccountID
}

// unwelcomed makes a user with two accounts, from before there was a bonus.
func (b *books) unwelcomed(t *testing.T) (user, first, second int64) {
	t.Helper()
	require.NoError(t, b.admin.QueryRow(t.Context(), `
		with u as (insert into users (email, name) values (format('old-%s@example.com', $1::int), 'Old') returning id),
		a as (insert into accounts (user_id) select id from u, generate_series(1, 2) returning id, user_id)
		select min(user_id), min(id), max(id) from a`, b.users.Add(1)).Scan(&user, &first, &second))
	return user, first, second
}

func (b *books) balance(t *testing.T, id int64) money.Minor {
	t.Helper()
	balance, err := account.Balance(t.Context(), b.db, id)
	require.NoError(t, err)
	return balance
}

// statement returns the amounts of an account's entries, oldest first.
func (b *books) statement(t *testing.T, id int64) []money.Minor {
	t.Helper()
	page, err := account.Statement(t.Context(), b.db, account.StatementRequest{Account: id, Limit: account.MaxPage})
	require.NoError(t, err)
	require.Zero(t, page.Next)
	amounts := make([]money.Minor, len(page.Entries))
	for i, e := range page.Entries {
		amounts[len(amounts)-1-i] = e.Amount
	}
	return amounts
}

// set changes an account in a way that the service has no function for.
func (b *books) set(t *testing.T, id int64, assignment string) {
	t.Helper()
	tag, err := b.admin.Exec(t.Context(), "update accounts set "+assignment+" where id = $1", id)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
}

// fromTable returns a query's single value, as the superuser sees it.
func fromTable[T any](t *testing.T, b *books, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, b.admin.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
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

// together makes calls run into one another: it holds rows of a table until each of the calls
// waits for one, and lets all go at once. It returns their errors.
func (b *books) together(t *testing.T, table string, ids []int64, calls ...func() error) []error {
	t.Helper()
	errs := make([]error, len(calls))
	var running sync.WaitGroup
	defer running.Wait() // also when the test fails here, and then after the lock is gone
	holder := begin(t, b.admin)
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	exec(t, holder, "select from "+table+" where id = any ($1) order by id for update", ids)
	for i, call := range calls {
		running.Go(func() { errs[i] = call() })
	}
	waitBlocked(t, b.admin, len(calls))
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
	return beginTx(t, pool, pgx.TxOptions{})
}

func beginTx(t *testing.T, pool *pgxpool.Pool, opts pgx.TxOptions) pgx.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), opts)
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
