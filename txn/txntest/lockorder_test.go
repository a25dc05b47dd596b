package txntest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

var shop = txntest.SQL(`
	create table users (id int primary key, name text not null default '')`, `
	create table accounts (id int primary key, user_id int references users, balance int not null default 0)`, `
	create table entries (id int generated always as identity primary key, account_id int references accounts)`, `
	insert into users select generate_series(1, 4)`, `
	insert into accounts select n, n from generate_series(1, 4) n`)

// The queries of the shop, and what generated code would say of them.
const (
	lockUser         = "-- name: LockUser :one\nselect id from users where id = $1 for no key update"
	lockUserNowait   = "-- name: LockUserNowait :one\nselect id from users where id = $1 for no key update nowait"
	lockUserKeyShare = "-- name: LockUserKeyShare :one\nselect id from users where id = $1 for key share"
	lockAccount      = "-- name: LockAccount :one\nselect id from accounts where id = $1 for no key update"
	lockAccounts     = "-- name: LockAccounts :many\nselect id from accounts where id in ($1, $1 + 1) order by id for no key update"
	lockNextAccount  = "-- name: LockNextAccount :one\nselect id from accounts where id >= $1 order by id limit 1 for no key update skip locked"
	shareAccount     = "-- name: ShareAccount :one\nselect id from accounts where id = $1 for share"
	credit           = "-- name: Credit :exec\nupdate accounts set balance = balance + 1 where id = $1"
	debit            = "-- name: Debit :exec\nupdate accounts set balance = balance - 1 where id = $1"
	rename           = "-- name: Rename :exec\nupdate users set name = 'renamed' where id = $1"
	addEntry         = "-- name: AddEntry :exec\ninsert into entries (account_id) values ($1)"
	deleteAccount    = "-- name: DeleteAccount :exec\ndelete from accounts where id = $1"
	getUser          = "-- name: GetUser :one\nselect id from users where id = $1"
	freezeUsers      = "lock table users in share mode"
	ownUsers         = "lock table users in share row exclusive mode"
)

var shopQueries = []txn.QueryInfo{
	{Name: "LockUser", Locks: []txn.QueryLock{{Table: "users", Strength: "FOR NO KEY UPDATE"}}},
	{Name: "LockUserNowait", Locks: []txn.QueryLock{{Table: "users", Strength: "FOR NO KEY UPDATE", Wait: "NOWAIT"}}},
	{Name: "LockUserKeyShare", Locks: []txn.QueryLock{{Table: "users", Strength: "FOR KEY SHARE"}}},
	{Name: "LockAccount", Locks: []txn.QueryLock{{Table: "accounts", Strength: "FOR NO KEY UPDATE"}}},
	{Name: "LockAccounts", Locks: []txn.QueryLock{{Table: "accounts", Strength: "FOR NO KEY UPDATE", Order: "id"}}},
	{Name: "LockNextAccount", Locks: []txn.QueryLock{{Table: "accounts", Strength: "FOR NO KEY UPDATE", Wait: "SKIP LOCKED", Order: "id"}}},
	{Name: "ShareAccount", Locks: []txn.QueryLock{{Table: "accounts", Strength: "FOR SHARE"}}},
	{Name: "Credit", Writes: []string{"accounts"}, Implied: []txn.QueryLock{{Table: "accounts", Strength: "FOR NO KEY UPDATE"}}},
	{Name: "Debit", Writes: []string{"accounts"}, Implied: []txn.QueryLock{{Table: "accounts", Strength: "FOR NO KEY UPDATE"}}},
	{Name: "Rename", Writes: []string{"users"}, Implied: []txn.QueryLock{{Table: "users", Strength: "FOR NO KEY UPDATE"}}},
	{Name: "AddEntry", Writes: []string{"entries"}, Implied: []txn.QueryLock{{Table: "accounts", Strength: "FOR KEY SHARE"}}},
	{Name: "DeleteAccount", Writes: []string{"accounts"}, Implied: []txn.QueryLock{{Table: "accounts", Strength: "FOR UPDATE"}}},
	{Name: "GetUser", Reads: []string{"users"}},
	{Name: freezeUsers, Locks: []txn.QueryLock{{Table: "users", Strength: "SHARE"}}},
	{Name: ownUsers, Locks: []txn.QueryLock{{Table: "users", Strength: "SHARE ROW EXCLUSIVE"}}},
}

// A step of a transaction.
type step func(context.Context, *txn.Tx) error

// run runs a statement with an id, if it has a parameter.
func run(sql string, id int) step {
	return func(ctx context.Context, tx *txn.Tx) error {
		var args []any
		if strings.Contains(sql, "$1") {
			args = append(args, id)
		}
		_, err := tx.Exec(ctx, sql, args...)
		return err
	}
}

func queue(sql string, id int) step {
	return func(_ context.Context, tx *txn.Tx) error { tx.Queue(sql, id); return nil }
}

func flush(ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) }

// savepoint runs steps in a savepoint that ends with an error, which is dropped.
func savepoint(err error, steps ...step) step {
	return func(ctx context.Context, tx *txn.Tx) error {
		_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return errors.Join(all(ctx, tx, steps), err) })
		return nil
	}
}

func all(ctx context.Context, tx *txn.Tx, steps []step) error {
	for _, s := range steps {
		if err := s(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// brief is a finding in one line.
func brief(f txntest.LockOrderFinding) string {
	var orders []string
	for _, o := range f.Orders {
		orders = append(orders, fmt.Sprintf("%s %s > %s %s", o.First.Query, o.First.Strength, o.Second.Query, o.Second.Strength))
	}
	return fmt.Sprintf("%s of %s: %s", f.Problem, strings.Join(f.Tables, "+"), strings.Join(orders, ", "))
}

func TestLockOrder(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, shop)
	pool := database.Pool(t, txn.ConfigurePool)
	broken := errors.New("broken")
	const nku, update, share, keyShare = "FOR NO KEY UPDATE", "FOR UPDATE", "FOR SHARE", "FOR KEY SHARE"
	for name, c := range map[string]struct {
		transactions [][]step
		want         []string
	}{
		"one order": {transactions: [][]step{
			{run(lockUser, 1), run(lockAccount, 1)},
			{run(lockUser, 2), run(lockAccounts, 2), run(credit, 2), run(addEntry, 2)},
		}},
		"two orders": {
			[][]step{{run(lockAccount, 1), run(lockUser, 1)}, {run(lockUser, 1), run(lockAccount, 1)}},
			[]string{"cycle of accounts+users: LockAccount " + nku + " > LockUser " + nku + ", LockUser " + nku + " > LockAccount " + nku},
		},
		"two orders of changes": {
			[][]step{{run(rename, 1), run(credit, 1)}, {run(debit, 1), run(rename, 1)}},
			[]string{"cycle of accounts+users: Rename " + nku + " > Credit " + nku + ", Debit " + nku + " > Rename " + nku},
		},
		"two orders, queued": {
			[][]step{{queue(rename, 1), queue(credit, 1)}, {queue(debit, 1), queue(rename, 1)}},
			[]string{"cycle of accounts+users: Rename " + nku + " > Credit " + nku + ", Debit " + nku + " > Rename " + nku},
		},
		"two orders within one transaction, each before a change": {transactions: [][]step{
			{run(lockUser, 1), run(lockAccount, 1), run(rename, 1), run(credit, 1)},
		}},
		"two orders of strengths that do not conflict": {transactions: [][]step{
			{run(lockUserKeyShare, 1), run(lockAccount, 1)},
			{run(lockAccount, 1), run(lockUser, 1)},
		}},
		"two orders in which one fails instead of waiting": {transactions: [][]step{
			{run(lockUser, 1), run(lockAccount, 1)},
			{run(lockAccount, 1), run(lockUserNowait, 1)},
		}},
		"two orders in which one passes over": {transactions: [][]step{
			{run(lockUser, 1), run(lockNextAccount, 1)},
			{run(lockAccount, 1), run(lockUser, 1)},
		}},
		"what does not wait is held": {
			[][]step{{run(lockNextAccount, 1), run(lockUser, 1)}, {run(lockUserNowait, 1), run(lockAccount, 1)}},
			[]string{"cycle of accounts+users: LockNextAccount " + nku + " > LockUser " + nku + ", LockUserNowait " + nku + " > LockAccount " + nku},
		},
		"transactions of one lock": {transactions: [][]step{{run(lockAccount, 1)}, {run(lockUser, 1)}, {run(lockAccount, 1)}}},
		"two orders, one undone with a savepoint": {transactions: [][]step{
			{savepoint(broken, run(lockAccount, 1)), run(lockUser, 1)},
			{run(lockUser, 1), run(lockAccount, 1)},
		}},
		"two orders, one undone with the savepoint around": {transactions: [][]step{
			{savepoint(broken, savepoint(nil, run(lockAccount, 1))), run(lockUser, 1)},
			{run(lockUser, 1), run(lockAccount, 1)},
		}},
		"two orders, one in a savepoint": {
			[][]step{{savepoint(nil, run(lockAccount, 1)), savepoint(broken, run(getUser, 1)), run(lockUser, 1)}, {run(lockUser, 1), run(lockAccount, 1)}},
			[]string{"cycle of accounts+users: LockAccount " + nku + " > LockUser " + nku + ", LockUser " + nku + " > LockAccount " + nku},
		},
		"queued in a savepoint that was undone, and again": {
			[][]step{{savepoint(broken, queue(debit, 1)), queue(rename, 1), flush, queue(debit, 1)}, {run(lockAccount, 1), run(lockUser, 1)}},
			[]string{"cycle of accounts+users: Rename " + nku + " > Debit " + nku + ", LockAccount " + nku + " > LockUser " + nku},
		},
		"rolled back": {
			[][]step{
				{run(lockAccount, 1), run(lockUser, 1), func(context.Context, *txn.Tx) error { return broken }},
				{run(lockUser, 1), run(lockAccount, 1)},
			},
			[]string{"cycle of accounts+users: LockAccount " + nku + " > LockUser " + nku + ", LockUser " + nku + " > LockAccount " + nku},
		},
		"share, then change": {
			[][]step{{run(shareAccount, 1), run(credit, 1)}},
			[]string{"upgrade of accounts: ShareAccount " + share + " > Credit " + nku},
		},
		"share twice": {transactions: [][]step{{run(shareAccount, 1), run(shareAccount, 2)}}},
		"refer to a row, then delete it": {
			[][]step{{run(addEntry, 4), savepoint(broken, run(deleteAccount, 4))}},
			[]string{"upgrade of accounts: AddEntry " + keyShare + " > DeleteAccount " + update},
		},
		"refer to a row, then change it": {transactions: [][]step{{run(addEntry, 1), run(credit, 1)}}},
		"lock to change, then delete":    {transactions: [][]step{{run(lockAccount, 3), savepoint(broken, run(deleteAccount, 3))}}},
		"delete, beside a reference and change": {
			[][]step{{run(lockAccount, 3), savepoint(broken, run(deleteAccount, 3))}, {run(addEntry, 1), run(credit, 1)}},
			[]string{"cycle of accounts: LockAccount " + nku + " > DeleteAccount " + update + ", AddEntry " + keyShare + " > Credit " + nku},
		},
		"delete, beside who cannot have shared the row": {transactions: [][]step{
			{run(lockAccount, 3), savepoint(broken, run(deleteAccount, 3))},
			{run(shareAccount, 1), run(lockUser, 1)},
			{run(lockUser, 1), run(shareAccount, 1)},
		}},
		"one query for rows in turn": {
			[][]step{{run(lockAccount, 1), run(lockAccount, 2)}},
			[]string{"rows in turn of accounts: LockAccount " + nku + " > LockAccount " + nku},
		},
		"two changes of rows in turn": {
			[][]step{{run(debit, 1), run(credit, 2)}},
			[]string{"rows in turn of accounts: Debit " + nku + " > Credit " + nku},
		},
		"rows in turn after one lock": {transactions: [][]step{{run(lockAccounts, 1), run(debit, 1), run(credit, 2)}}},
		"rows in order, and more": {
			[][]step{{run(lockAccounts, 1), run(lockAccounts, 3)}},
			[]string{"rows in turn of accounts: LockAccounts " + nku + " > LockAccounts " + nku},
		},
		"next rows":  {transactions: [][]step{{run(lockNextAccount, 1), run(lockNextAccount, 2)}}},
		"only reads": {transactions: [][]step{{run(getUser, 1), run(lockAccount, 1)}, {run(lockAccount, 1), run(getUser, 1)}}},
		"lock a table for reading, then write": {
			[][]step{{run(freezeUsers, 0), run(rename, 1)}},
			[]string{"upgrade of users: " + freezeUsers + " SHARE > Rename ROW EXCLUSIVE"},
		},
		"lock a table twice": {transactions: [][]step{{run(ownUsers, 0), run(ownUsers, 0), run(rename, 1)}}},
		"lock a table after a row of another one": {
			[][]step{
				{run(lockAccount, 1), run(freezeUsers, 0)},
				{run(rename, 1), run(lockAccount, 1)},
			},
			[]string{"cycle of accounts+users: LockAccount " + nku + " > " + freezeUsers + " SHARE, Rename ROW EXCLUSIVE > LockAccount " + nku},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := txntest.NewLockOrder(shopQueries)
			d := txn.New(pool, txn.Config{Observers: []txn.Observer{l}})
			for _, steps := range c.transactions {
				err := txn.WithTx(t.Context(), d, txn.Options{Label: name}, func(ctx context.Context, tx *txn.Tx) error { return all(ctx, tx, steps) })
				if !errors.Is(err, broken) {
					require.NoError(t, err)
				}
			}
			var got []string
			for _, f := range l.Findings() {
				got = append(got, brief(f))
			}
			require.Equal(t, c.want, got)
			if c.want == nil {
				require.NoError(t, l.Err())
			}
		})
	}
}

// Who locks in two orders is found without having met, and this is what it would come to.
func TestLockOrderSaysWhatWouldDeadlock(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, shop)
	l := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{l}, Options: txn.Options{MaxAttempts: 1}})
	require.NoError(t, closeAccount(t.Context(), d, 1))
	require.NoError(t, l.Err(), "one order is no finding")
	require.NoError(t, renameUser(t.Context(), d, 1))

	found := l.Findings()
	require.Len(t, found, 1)
	require.Equal(t, txntest.LockCycle, found[0].Problem)
	require.Equal(t, []string{"accounts", "users"}, found[0].Tables)
	for i, function := range []string{"closeAccount", "renameUser"} {
		for _, taken := range []txntest.TakenLock{found[0].Orders[i].First, found[0].Orders[i].Second} {
			require.Regexp(t, `txntest_test\.lock \(.*example_lockorder_test\.go:\d+\)$`, taken.Stack[0])
			require.Contains(t, taken.Stack[2], "txntest_test."+function+" (")
			require.Contains(t, taken.Stack[3], t.Name())
			require.Len(t, taken.Stack, 4)
		}
		require.Contains(t, l.Err().Error(), "txntest_test."+function+" (")
	}

	// Now they meet: each has its first lock before either asks for its second.
	both := txntest.NewBarrier(2)
	meet := func(first, second string) error {
		return txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			return all(ctx, tx, []step{run(first, 1), func(ctx context.Context, _ *txn.Tx) error { return both.Wait(ctx) }, run(second, 1)})
		})
	}
	other := make(chan error, 1)
	go func() { other <- meet(lockUser, lockAccount) }()
	errs := errors.Join(meet(lockAccount, lockUser), <-other)
	require.Equal(t, "40P01", txn.SQLState(errs))
}

// What was queued is the doing of the function that queued it.
func TestLockOrderStacksOfQueuedStatements(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, shop)
	l := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{l}})
	queueDebit := func(tx *txn.Tx) { tx.Queue(debit, 1) }
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "outer"}, func(ctx context.Context, tx *txn.Tx) error {
		queueDebit(tx)
		return txn.WithTx(ctx, tx, txn.Options{Label: "inner"}, func(_ context.Context, tx *txn.Tx) error {
			tx.Queue(credit, 1)
			return nil
		})
	}))
	found := l.Findings()
	require.Len(t, found, 1)
	require.Equal(t, "outer/inner", found[0].Orders[0].Label)
	require.Contains(t, found[0].Orders[0].First.Stack[0], t.Name()+".func1 ")
	require.Contains(t, found[0].Orders[0].Second.Stack[0], t.Name()+".func2.1 ")

	// Of one query given three times, the first time in vain.
	l = txntest.NewLockOrder(shopQueries)
	d = txn.New(d.Pool(), txn.Config{Observers: []txn.Observer{l}})
	first, second := func(tx *txn.Tx) { tx.Queue(debit, 1) }, func(tx *txn.Tx) { tx.Queue(debit, 2) }
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.ErrorIs(t, tx.Savepoint(ctx, func(_ context.Context, tx *txn.Tx) error { queueDebit(tx); return errInVain }), errInVain)
		first(tx)
		second(tx)
		return nil
	}))
	found = l.Findings()
	require.Len(t, found, 1)
	require.Contains(t, found[0].Orders[0].First.Stack[0], t.Name()+".func3 ")
	require.Contains(t, found[0].Orders[0].Second.Stack[0], t.Name()+".func4 ")
}

var errInVain = errors.New("in vain")

// Each attempt takes its locks anew. A statement that failed has wanted its lock, and what it
// waited for is in the order as well.
func TestLockOrderOfAttempts(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, shop)
	l := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{l}})
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 2}, func(ctx context.Context, tx *txn.Tx) error {
		if tx.Attempt() == 1 {
			return errors.Join(run(lockAccount, 1)(ctx, tx), run("do $$ begin raise exception using errcode = '40001'; end $$", 0)(ctx, tx))
		}
		return run(lockUser, 1)(ctx, tx)
	}))
	require.NoError(t, renameUser(t.Context(), d, 1))
	require.NoError(t, l.Err(), "the first attempt's lock was not held in the second one")

	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		if err := run(lockUser, 1)(ctx, tx); err != nil {
			return err
		}
		opts := txn.Options{LockTimeout: time.Millisecond}
		err := txn.WithTx(txn.Detach(ctx), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			return all(ctx, tx, []step{run(lockAccount, 1), run(lockUser, 1)})
		})
		require.ErrorIs(t, err, txn.ErrLockNotAvailable)
		return nil
	}))
	require.Len(t, l.Findings(), 1)
}

func TestLockOrderAllow(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, shop)
	l := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{l}})
	require.NoError(t, closeAccount(t.Context(), d, 1))
	require.NoError(t, renameUser(t.Context(), d, 1))
	l.Allow("LockUser", "LockUser", "another order")
	require.Error(t, l.Err())
	l.Allow("LockAccount", "LockUser", "nobody else works then")
	require.NoError(t, l.Err())
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		return all(ctx, tx, []step{run(debit, 1), run(rename, 1)})
	}))
	require.Len(t, l.Findings(), 1, "other queries were not allowed it")

	l = txntest.NewLockOrder(shopQueries)
	d = txn.New(d.Pool(), txn.Config{Observers: []txn.Observer{l}})
	l.Allow("Debit", "Credit", "of one account")
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		return all(ctx, tx, []step{run(debit, 1), run(credit, 1), run(credit, 2)})
	}))
	require.Len(t, l.Findings(), 1)
	require.Contains(t, brief(l.Findings()[0]), "Credit FOR NO KEY UPDATE > Credit")
	require.Panics(t, func() { l.Allow("Debit", "Rename", " ") })
}

// Many transactions at once are told apart.
func TestLockOrderOfConcurrentTransactions(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, shop)
	l := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{l}})
	locked := txntest.NewBarrier(8)
	errs := make([]error, 8)
	var running sync.WaitGroup
	for n := range 8 {
		first := []string{lockAccount, lockUser}[n%2]
		running.Go(func() {
			errs[n] = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				return all(ctx, tx, []step{
					run(first, n/2+1),
					func(ctx context.Context, _ *txn.Tx) error { return locked.Wait(ctx) },
					run(getUser, 1),
					func(context.Context, *txn.Tx) error { _ = l.Findings(); return nil },
				})
			})
		})
	}
	running.Wait()
	require.NoError(t, errors.Join(errs...))
	require.NoError(t, l.Err(), "each held one lock")
	require.NoError(t, closeAccount(t.Context(), d, 1))
	require.NoError(t, renameUser(t.Context(), d, 1))
	require.Len(t, l.Findings(), 1)
}
