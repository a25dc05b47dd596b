package report_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/report"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// A report that locks the rows it reads FOR SHARE, as it is often written: "prevents writes but
// allows other reads". It locks no table: a user is inserted, with a post, and the report counts
// the post without the user. And it cannot be a read-only transaction.
func TestNaiveShareLocks(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	naive := begin(t, b.other)
	users, err := naive.Exec(t.Context(), "select * from users for share")
	require.NoError(t, err)
	exec(t, b.other, "insert into users (email, name) values ('new@example.com', 'New')")
	exec(t, b.other, "insert into posts (author_id, title, content) select max(id), 'T', 'C' from users; "+count)
	posts, err := naive.Exec(t.Context(), "select * from posts for share")
	require.NoError(t, err)
	require.EqualValues(t, []int64{4, 5}, []int64{users.RowsAffected(), posts.RowsAffected()})

	// Writers of what is there wait, as long as the report takes.
	writer := begin(t, b.other)
	waiting := async(func() error {
		_, err := writer.Exec(t.Context(), "update users set active = false where id = 1")
		return err
	})
	txntest.WaitBlocked(t, b.admin, pid(writer))
	require.NoError(t, naive.Commit(t.Context()))
	require.NoError(t, <-waiting)
	require.NoError(t, writer.Rollback(t.Context()))

	readOnly := begin(t, b.other, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	_, err = readOnly.Exec(t.Context(), "select * from users for share")
	require.Equal(t, "25006", txn.SQLState(err))
	require.NoError(t, readOnly.Rollback(t.Context()))

	now := b.figures(t)
	require.EqualValues(t, []int64{5, 5}, []int64{now.Users, now.Posts})
}

// What waits for a report under locks, and what does not, until the transaction with it ends.
func TestWhoWaits(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	const insertUser, insertPost = "insert into users (email, name) values ('new@example.com', 'New')", "insert into posts (author_id, title, content) values (1, 'T', 'C')"
	statements := []struct {
		sql         string
		rows, table bool // whether it waits
	}{
		{"select count(*) from users, accounts, transfers, ledger_entries, posts", false, false},
		{"select * from accounts where id = 3 for key share", false, false},
		{"select * from accounts where id = 3 for share", false, false},
		{"select * from accounts where id = 3 for no key update", true, false}, // a row lock, not yet a write
		{"select * from accounts where id = 3 for update", true, false},
		{"select * from transfers where id = 1 for update", false, false},
		{insertUser, false, true},
		{insertPost, false, true},
		{"update users set active = false where id = 1", true, true},
		{"update accounts set version = version + 1 where id = 3", true, true},
		{"update accounts set version = version where false", false, true},
		{"delete from posts where id = 1", true, true},
		{"insert into activity_log (user_id, action, entity) values (1, 'a', 'e')", false, false}, // another table, that refers to a user
	}
	for name, make := range map[string]func(context.Context, txn.Transactor, report.Request) (report.Report, error){
		"rows": report.MakeUnderRowLocks, "tables": report.MakeUnderTableLocks,
	} {
		require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: outer"}, func(ctx context.Context, tx *txn.Tx) error {
			r, err := make(ctx, tx, report.Request{Kind: "test", Key: name})
			if err != nil {
				return err
			}
			require.Equal(t, opened, timeless(r.Figures))
			f, err := report.Read(txn.Detach(ctx), b.db, report.ReadRequest{})
			if err != nil {
				return err
			}
			require.Equal(t, opened, timeless(f), "readers do not wait")
			for _, s := range statements {
				other := begin(t, b.other)
				exec(t, other, "set local lock_timeout = '20ms'")
				_, err := other.Exec(t.Context(), s.sql)
				if name == "rows" && s.rows || name == "tables" && s.table {
					require.ErrorIs(t, translated(err), txn.ErrLockNotAvailable, "%s: %s", name, s.sql)
				} else {
					require.NoError(t, err, "%s: %s", name, s.sql)
				}
				require.NoError(t, other.Rollback(t.Context()))
			}
			return nil
		}))
		exec(t, b.other, "update accounts set version = version + 1") // afterwards nothing waits
	}
}

// translated gives an error of plain pgx the library's meaning.
func translated(err error) error {
	if txn.SQLState(err) == "55P03" {
		return fmt.Errorf("%w: %w", txn.ErrLockNotAvailable, err)
	}
	return err
}

// Reports do not wait for one another: they share the locks.
func TestReportsUnderLocksRunTogether(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	b.open(t)
	for name, make := range map[string]func(context.Context, txn.Transactor, report.Request) (report.Report, error){
		"rows": report.MakeUnderRowLocks, "tables": report.MakeUnderTableLocks,
	} {
		require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: outer"}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := make(ctx, tx, report.Request{Kind: "test", Key: name + " one"}); err != nil {
				return err
			}
			_, err := make(txn.Detach(ctx), b.db, report.Request{Kind: "test", Key: name + " other", LockTimeout: 5 * time.Second})
			return err
		}), name)
	}
}

// A report waits for the locks no longer than it is told to, and leaves none behind.
func TestLockTimeout(t *testing.T) {
	for name, make := range map[string]func(context.Context, txn.Transactor, report.Request) (report.Report, error){
		"rows": report.MakeUnderRowLocks, "tables": report.MakeUnderTableLocks,
	} {
		t.Run(name, func(t *testing.T) {
			var repeated retries
			b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 2, OnRetry: repeated.note}})
			b.open(t)
			writer := begin(t, b.other)
			exec(t, writer, "update posts set title = 'T' where id = 4") // the last that is locked
			r := report.Request{Kind: "test", Key: "k", LockTimeout: 20 * time.Millisecond}
			_, err := make(t.Context(), b.db, r)
			require.ErrorIs(t, err, txn.ErrLockNotAvailable)
			require.Equal(t, []string{"55P03"}, repeated.states)
			exec(t, b.other, "update users set active = false where id = 1") // users were locked first
			require.NoError(t, writer.Commit(t.Context()))
			made, err := make(t.Context(), b.db, r)
			require.NoError(t, err)
			require.EqualValues(t, 3, made.ActiveUsers)
		})
	}
}

// A writer has written to transfers, for which the report waits, and goes on to accounts, which
// the report holds. Without a limit one of the two would be ended as the victim of a deadlock,
// perhaps the one with the money. The report gives way before the server looks for one.
func TestReportGivesWay(t *testing.T) {
	var repeated retries
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 20, OnRetry: repeated.note}})
	b.open(t)
	writer := begin(t, b.other)
	exec(t, writer, `
		with t as (
			insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor) values ('transfer', 'k', 3, 4, 10) returning id
		)
		insert into ledger_entries (transfer_id, account_id, amount_minor) select id, 3, -10 from t union all select id, 4, 10 from t`)
	var made report.Report
	done := async(func() (err error) {
		made, err = report.MakeUnderTableLocks(t.Context(), b.db, report.Request{Kind: "test", Key: "k"})
		return err
	})
	b.awaitBlocked(t)
	exec(t, writer, "update accounts set balance_minor = balance_minor + case id when 3 then -10 else 10 end where id in (3, 4)")
	require.NoError(t, writer.Commit(t.Context()))
	require.NoError(t, <-done)
	require.NotEmpty(t, repeated.states)
	for _, state := range repeated.states {
		require.Equal(t, "55P03", state)
	}
	require.Equal(t, plus(opened, report.Figures{Transfers: 1}), timeless(made.Figures))
}

// The limit is below what the server waits before it looks for a deadlock.
func TestDefaultLockTimeout(t *testing.T) {
	b := setup(t, txn.Config{})
	deadlock := fromTable[int64](t, b, "select setting::bigint from pg_settings where name = 'deadlock_timeout' and unit = 'ms'")
	require.Less(t, report.DefaultLockTimeout, time.Duration(deadlock)*time.Millisecond)
}
