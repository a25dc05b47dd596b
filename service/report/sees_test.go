package report_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/report"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A way is a function that makes a report.
type way struct {
	name db.ReportWay
	make func(context.Context, *txn.DB, report.Request) (report.Report, error)
}

func atLevel(level txn.Isolation) func(context.Context, *txn.DB, report.Request) (report.Report, error) {
	return func(ctx context.Context, d *txn.DB, r report.Request) (report.Report, error) {
		r.Isolation = level
		return report.Make(ctx, d, r)
	}
}

var ways = []way{
	{db.ReportWayReadUncommitted, atLevel(txn.ReadUncommitted)},
	{db.ReportWayReadCommitted, atLevel(txn.ReadCommitted)},
	{db.ReportWayRepeatableRead, atLevel(txn.RepeatableRead)},
	{db.ReportWaySerializable, atLevel(txn.Serializable)},
	{db.ReportWayDeferrable, report.MakeDeferrable},
	{db.ReportWayRowLocks, func(ctx context.Context, d *txn.DB, r report.Request) (report.Report, error) {
		return report.MakeUnderRowLocks(ctx, d, r)
	}},
	{db.ReportWayTableLocks, func(ctx context.Context, d *txn.DB, r report.Request) (report.Report, error) {
		return report.MakeUnderTableLocks(ctx, d, r)
	}},
	{db.ReportWaySharedSnapshot, report.MakeFromSnapshot},
}

// A change is what another transaction commits between two statements of a report.
type change struct {
	name   string
	before string // the statement before which it happens
	sql    []string
	did    report.Figures // what it changes
	sees   map[db.ReportWay]report.Figures
	waits  map[db.ReportWay]bool // it waits until the report is stored
}

// The report reads users, balances, entries, transfers and posts, in this order. A way that is
// missing in sees has seen nothing of the change; in waits, it has not kept it waiting.
var changes = []change{
	{
		name: "a user, with an account, money and a post, is inserted", before: "SumBalances",
		sql: []string{
			"insert into users (email, name) values ('new@example.com', 'New')",
			"insert into accounts (user_id) select max(id) from users",
			"insert into posts (author_id, title, content, status, published_at) select max(id), 'On engines', repeat('engine ', 20), 'published', now() from users",
			count,
			into("(select max(id) from accounts)", 50),
		},
		did: report.Figures{Users: 1, ActiveUsers: 1, Accounts: 1, Balances: 50, Entries: 50, Transfers: 1, Posts: 1, PublishedPosts: 1},
		sees: map[db.ReportWay]report.Figures{ // an account and a post without a user
			db.ReportWayReadUncommitted: {Accounts: 1, Balances: 50, Entries: 50, Transfers: 1, Posts: 1, PublishedPosts: 1},
			db.ReportWayReadCommitted:   {Accounts: 1, Balances: 50, Entries: 50, Transfers: 1, Posts: 1, PublishedPosts: 1},
			db.ReportWayRowLocks:        {Accounts: 1, Balances: 50, Entries: 50, Transfers: 1, Posts: 1, PublishedPosts: 1},
		},
		waits: map[db.ReportWay]bool{db.ReportWayTableLocks: true},
	},
	{
		name: "a user is updated, and the user's post and balance", before: "SumBalances",
		sql: []string{
			"update users set active = false where id = 1",
			into("3", 50),
			"update posts set status = 'published', published_at = now() where id = 1",
			count,
		},
		did: report.Figures{ActiveUsers: -1, Balances: 50, Entries: 50, Transfers: 1, PublishedPosts: 1},
		sees: map[db.ReportWay]report.Figures{
			db.ReportWayReadUncommitted: {Balances: 50, Entries: 50, Transfers: 1, PublishedPosts: 1},
			db.ReportWayReadCommitted:   {Balances: 50, Entries: 50, Transfers: 1, PublishedPosts: 1},
		},
		waits: map[db.ReportWay]bool{db.ReportWayRowLocks: true, db.ReportWayTableLocks: true},
	},
	{
		name: "a user is deleted, with account and post", before: "SumBalances",
		sql: []string{
			"select from users where id = 4 for update", // users first, as everybody
			"delete from posts where author_id = 4",
			"delete from author_counters where user_id = 4",
			"delete from accounts where user_id = 4",
			"delete from users where id = 4",
		},
		did: report.Figures{Users: -1, ActiveUsers: -1, Accounts: -1, Posts: -1},
		sees: map[db.ReportWay]report.Figures{ // a user without account and post
			db.ReportWayReadUncommitted: {Accounts: -1, Posts: -1},
			db.ReportWayReadCommitted:   {Accounts: -1, Posts: -1},
		},
		// The lock on the user is no conflict for table locks; the first deletion is.
		waits: map[db.ReportWay]bool{db.ReportWayRowLocks: true, db.ReportWayTableLocks: true},
	},
	{
		name: "money is paid into an account", before: "SumCustomerEntries",
		sql: []string{into("3", 70)},
		did: report.Figures{Balances: 70, Entries: 70, Transfers: 1},
		sees: map[db.ReportWay]report.Figures{ // the ledger says more than the accounts hold
			db.ReportWayReadUncommitted: {Entries: 70, Transfers: 1},
			db.ReportWayReadCommitted:   {Entries: 70, Transfers: 1},
		},
		waits: map[db.ReportWay]bool{db.ReportWayRowLocks: true, db.ReportWayTableLocks: true},
	},
	{
		name: "money is paid into a new account", before: "SumCustomerEntries",
		sql: []string{
			"insert into accounts (user_id) values (1)",
			into("(select max(id) from accounts)", 70),
		},
		did: report.Figures{Accounts: 1, Balances: 70, Entries: 70, Transfers: 1},
		sees: map[db.ReportWay]report.Figures{
			db.ReportWayReadUncommitted: {Entries: 70, Transfers: 1},
			db.ReportWayReadCommitted:   {Entries: 70, Transfers: 1},
			db.ReportWayRowLocks:        {Entries: 70, Transfers: 1}, // all accounts were locked, but this one
		},
		waits: map[db.ReportWay]bool{db.ReportWayTableLocks: true},
	},
	{
		name: "money goes from one account to another", before: "CountTransfers",
		sql: []string{`
			with t as (
				insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
				values ('transfer', gen_random_uuid()::text, 4, 5, 30) returning id
			), e as (
				insert into ledger_entries (transfer_id, account_id, amount_minor) select id, 4, -30 from t union all select id, 5, 30 from t
			)
			update accounts set balance_minor = balance_minor + case id when 4 then -30 else 30 end where id in (4, 5)`},
		did: report.Figures{Transfers: 1},
		sees: map[db.ReportWay]report.Figures{
			db.ReportWayReadUncommitted: {Transfers: 1},
			db.ReportWayReadCommitted:   {Transfers: 1},
		},
		waits: map[db.ReportWay]bool{db.ReportWayRowLocks: true, db.ReportWayTableLocks: true},
	},
}

// into is deposit with its arguments in it.
func into(account string, amount int) string {
	return fmt.Sprintf(`
		with a as (select %s as id), t as (
			insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
			select 'deposit', gen_random_uuid()::text, 1, id, %[2]d from a returning id
		), e as (
			insert into ledger_entries (transfer_id, account_id, amount_minor)
			select id, 1, -%[2]d from t union all select t.id, a.id, %[2]d from t, a
		)
		update accounts set balance_minor = balance_minor + %[2]d from a where accounts.id = a.id`, account, amount)
}

// Each change is committed between two statements of the report, which is held there by a proxy
// in the middle of what it sends; or it is seen to wait. What the report then says is compared
// figure by figure.
func TestWhatEachWaySees(t *testing.T) {
	for _, w := range ways {
		t.Run(string(w.name), func(t *testing.T) {
			b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
			b.open(t)
			d, proxy := b.through(t, txn.Config{Options: txn.Options{MaxAttempts: 1}}, "")
			now := opened
			require.Equal(t, now, b.figures(t))
			for n, c := range changes {
				held := proxy.Arm(faultproxy.Fault{Type: 'B', SQL: "-- name: " + c.before, Do: faultproxy.Hold{}})
				var made report.Report
				done := async(func() (err error) {
					made, err = w.make(t.Context(), d, report.Request{Kind: "test", Key: fmt.Sprint(n)})
					return err
				})
				require.NoError(t, held.Wait(t.Context()), c.name)
				// The server has done all that it got, and waits for more. From a shared snapshot, the
				// part that is held may have nothing before it; the snapshot itself is taken.
				b.await(t, "select wait_event = 'ClientRead' from pg_stat_activity where pid = $1", held.PID())

				tx := begin(t, b.other)
				committed := async(func() error {
					for _, sql := range c.sql {
						if _, err := tx.Exec(t.Context(), sql); err != nil {
							return fmt.Errorf("%s: %w", sql, err)
						}
					}
					return tx.Commit(t.Context())
				})
				if c.waits[w.name] {
					txntest.WaitBlocked(t, b.admin, pid(tx))
				} else {
					require.NoError(t, <-committed, c.name)
				}
				held.Release()
				require.NoError(t, <-done, c.name)
				if c.waits[w.name] {
					require.NoError(t, <-committed, c.name)
				}

				require.Equal(t, plus(now, c.sees[w.name]), timeless(made.Figures), c.name)
				require.Equal(t, w.name, made.Way)
				require.False(t, made.Replayed)
				row, err := txn.WithReadTxValue(t.Context(), b.db, txn.Options{Label: "test: stored"}, func(ctx context.Context, rx *txn.ReadTx) (db.Report, error) {
					return db.NewRead(rx).FindReport(ctx, db.FindReportParams{Kind: "test", RequestKey: fmt.Sprint(n)})
				})
				require.NoError(t, err)
				require.Equal(t, []any{made.ID, made.Users, made.Entries, made.At}, []any{row.ID, row.Users, row.EntriesMinor, row.CreatedAt})
				now = plus(now, c.did)
				require.Equal(t, now, b.figures(t), "%s: afterwards", c.name)
			}
		})
	}
}

// What has not been committed is seen in no way, READ UNCOMMITTED included; nor does a writer
// that has changed rows keep a report waiting, but for those that take locks.
func TestNothingDirtyIsSeen(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	b.open(t)
	tx := begin(t, b.other)
	for _, c := range changes {
		for _, sql := range c.sql {
			exec(t, tx, sql)
		}
	}
	naive := begin(t, b.other, pgx.TxOptions{IsoLevel: pgx.ReadUncommitted})
	var users, active int64
	require.NoError(t, naive.QueryRow(t.Context(), "select count(*), count(*) filter (where active) from users").Scan(&users, &active))
	require.EqualValues(t, []int64{4, 4}, []int64{users, active}, "there are no 'potential uncommitted changes' in it")
	for _, w := range ways {
		if w.name == db.ReportWayRowLocks || w.name == db.ReportWayTableLocks {
			continue // they wait: see TestTableLocks and TestRowLocks
		}
		r, err := w.make(t.Context(), b.db, report.Request{Kind: "test", Key: string(w.name)})
		require.NoError(t, err, w.name)
		require.Equal(t, opened, timeless(r.Figures), w.name)
	}
	require.NoError(t, tx.Rollback(t.Context()))
}

// Without users the average is 0. As it is often written it is an error, or no number.
func TestEmpty(t *testing.T) {
	b := setup(t, txn.Config{})
	var average float64
	err := b.other.QueryRow(t.Context(), `
		select count(distinct p.id) / count(distinct u.id)::float from users u left join posts p on u.id = p.author_id`).Scan(&average)
	require.Equal(t, "22012", txn.SQLState(err), "division by zero")
	for _, w := range ways {
		r, err := w.make(t.Context(), b.db, report.Request{Kind: "empty", Key: string(w.name)})
		require.NoError(t, err, w.name)
		require.Zero(t, timeless(r.Figures), w.name)
		require.Zero(t, r.PostsPerUser())
		require.True(t, r.Balanced())
		require.False(t, r.ReadAt.IsZero())
	}
	b.open(t)
	require.EqualValues(t, 1, b.figures(t).PostsPerUser())
	exec(t, b.other, "with gone as (delete from posts where author_id > 2) delete from author_counters where user_id > 2")
	require.EqualValues(t, 0.5, b.figures(t).PostsPerUser())
}

// The same rows, not as many rows: while two users change places, a list stays as long as it was.
func TestRowsAreComparedNotCounted(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	exec(t, b.other, "update users set active = false where id = 2")
	for _, level := range []txn.Isolation{txn.ReadUncommitted, txn.ReadCommitted, txn.RepeatableRead, txn.Serializable} {
		var figures report.Figures
		var lists [2][]db.User
		require.NoError(t, txn.WithReadTx(t.Context(), b.db, txn.Options{Label: "test: lists", Isolation: level}, func(ctx context.Context, rx *txn.ReadTx) (err error) {
			if figures, err = report.Read(ctx, rx, report.ReadRequest{Isolation: level}); err != nil {
				return err
			}
			for i := range lists {
				for r := (report.ActiveUsersRequest{Limit: 2}); ; {
					page, err := report.ActiveUsers(ctx, rx, r)
					if err != nil {
						return err
					}
					require.LessOrEqual(t, len(page.Users), 2)
					lists[i] = append(lists[i], page.Users...)
					if r.After = page.Next; r.After == 0 {
						break
					}
				}
				if i == 0 {
					exec(t, b.other, "update users set active = not active where id in (1, 2)")
				}
			}
			return nil
		}))
		require.EqualValues(t, figures.ActiveUsers, len(lists[0]))
		require.Len(t, lists[1], len(lists[0]), "which proves nothing")
		if level.String() == "repeatable read" || level.String() == "serializable" {
			require.Equal(t, lists[0], lists[1], level)
		} else {
			require.NotEqual(t, lists[0], lists[1], level)
		}
	}
	for _, r := range []report.ActiveUsersRequest{{After: -1}, {Limit: -1}} {
		_, err := report.ActiveUsers(t.Context(), b.db, r)
		require.ErrorIs(t, err, report.ErrInvalid)
	}
	page, err := report.ActiveUsers(t.Context(), b.db, report.ActiveUsersRequest{Limit: 1 << 40})
	require.NoError(t, err)
	require.Len(t, page.Users, 3)
	require.Zero(t, page.Next)
}
