package report_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/report"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// retries collects what was repeated, by SQLSTATE.
type retries struct {
	mu     sync.Mutex
	states []string
}

func (r *retries) note(_ context.Context, retry txn.Retry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, txn.SQLState(retry.Err))
}

// At SERIALIZABLE "others will wait or fail" is half true: they fail. A row that a serializable
// transaction has read is changed by another one at once.
func TestSerializableDoesNotWait(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	serializable := pgx.TxOptions{IsoLevel: pgx.Serializable}
	reader, writer := begin(t, b.other, serializable), begin(t, b.other, serializable)
	var active int
	require.NoError(t, reader.QueryRow(t.Context(), "select count(*) from users where active").Scan(&active))
	exec(t, writer, "set local lock_timeout = '1ms'") // nothing that waits passes
	exec(t, writer, "update users set active = false where id = 1")
	require.NoError(t, writer.Commit(t.Context()))
	require.NoError(t, reader.QueryRow(t.Context(), "select count(*) from users where active").Scan(&active))
	require.Equal(t, 4, active)
	require.NoError(t, reader.Commit(t.Context()), "a mere reader beside a single writer")

	// Nor does a report wait for a serializable writer.
	writer = begin(t, b.other, serializable)
	exec(t, writer, "update users set active = false where id = 2")
	r, err := report.Make(t.Context(), b.db, report.Request{Kind: "test", Key: "k", Isolation: txn.Serializable})
	require.NoError(t, err)
	require.EqualValues(t, 3, r.ActiveUsers)
	require.NoError(t, writer.Commit(t.Context()))
}

// A writer looks whether the month's report is there, finds none, and books money into the month.
// The report has read the balances before that, and is stored after. No order of the two explains
// both. At REPEATABLE READ both are committed; at SERIALIZABLE the report fails, although all of
// its reads succeeded, and is computed again.
func TestReadsCountAfterCommit(t *testing.T) {
	for _, c := range []struct {
		level    txn.Isolation
		repeated []string
		balances int
	}{
		{txn.RepeatableRead, nil, 300},
		{txn.Serializable, []string{"40001"}, 350},
	} {
		t.Run(c.level.String(), func(t *testing.T) {
			b := setup(t, txn.Config{})
			b.open(t)
			var repeated retries
			d, proxy := b.through(t, txn.Config{Options: txn.Options{OnRetry: repeated.note}}, "")
			held := proxy.Arm(faultproxy.Fault{Type: 'B', SQL: "StoreReport", Do: faultproxy.Hold{}})
			var made report.Report
			done := async(func() (err error) {
				made, err = report.Make(t.Context(), d, report.Request{Kind: "month_end", Key: "2026-11", Isolation: c.level})
				return err
			})
			require.NoError(t, held.Wait(t.Context()))
			writer := begin(t, b.other, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(c.level.String())})
			var found bool
			require.NoError(t, writer.QueryRow(t.Context(),
				"select exists (select from reports where kind = 'month_end' and request_key = '2026-11')").Scan(&found))
			require.False(t, found)
			exec(t, writer, deposit, 3, 50)
			require.NoError(t, writer.Commit(t.Context()))
			held.Release()
			require.NoError(t, <-done)
			require.Equal(t, c.repeated, repeated.states)
			require.EqualValues(t, c.balances, made.Balances)
			require.EqualValues(t, c.balances, fromTable[int64](t, b, "select balances_minor from reports"))
		})
	}
}

// From REPEATABLE READ up a write may fail because of what others have committed since the
// snapshot. Whoever does not repeat it has a report that fails now and then.
func TestWritesAreRepeated(t *testing.T) {
	for _, level := range []txn.Isolation{txn.RepeatableRead, txn.Serializable} {
		t.Run(level.String(), func(t *testing.T) {
			var repeated retries
			b := setup(t, txn.Config{Options: txn.Options{OnRetry: repeated.note}})
			b.open(t)
			naive := begin(t, b.other, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(level.String())})
			var active int
			require.NoError(t, naive.QueryRow(t.Context(), "select count(*) from users where active").Scan(&active))
			exec(t, b.other, "update users set active = false where id = 1")
			_, err := naive.Exec(t.Context(), "update users set name = 'Seen' where id = 1")
			require.Equal(t, "40001", txn.SQLState(err))
			require.NoError(t, naive.Rollback(t.Context()))

			var seen []int64
			require.NoError(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: read and write", Isolation: level}, func(ctx context.Context, tx *txn.Tx) error {
				f, err := report.Read(ctx, tx, report.ReadRequest{Isolation: level})
				if err != nil {
					return err
				}
				seen = append(seen, f.ActiveUsers)
				if tx.Attempt() == 1 {
					exec(t, b.other, "update users set active = false where id = 2")
				}
				_, err = tx.Exec(ctx, "update users set name = 'Seen' where id = 2")
				return err
			}))
			require.Equal(t, []int64{3, 2}, seen)
			require.Equal(t, []string{"40001"}, repeated.states)
		})
	}
}

// A deferrable report waits at its beginning for serializable writers that might make an anomaly
// of what it sees, and for nothing after that.
func TestDeferrableWaitsForSerializableWriters(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	b.open(t)
	writer := begin(t, b.other, pgx.TxOptions{IsoLevel: pgx.Serializable})
	exec(t, writer, "update users set active = false where id = 1")
	for _, make := range []func() (report.Figures, error){
		func() (report.Figures, error) {
			r, err := report.MakeDeferrable(t.Context(), b.db, report.Request{Kind: "test", Key: "k"})
			return r.Figures, err
		},
		func() (report.Figures, error) {
			return report.Read(t.Context(), b.db, report.ReadRequest{Isolation: txn.Serializable, Deferrable: true})
		},
	} {
		var f report.Figures
		done := async(func() (err error) {
			f, err = make()
			return err
		})
		b.await(t, "exists (select from pg_stat_activity where datname = current_database() and wait_event = 'SafeSnapshot')")
		require.NoError(t, writer.Commit(t.Context()))
		require.NoError(t, <-done)
		require.Contains(t, []int64{3, 4}, f.ActiveUsers, "before the writer or after it")
		require.EqualValues(t, 300, f.Balances)
		writer = begin(t, b.other, pgx.TxOptions{IsoLevel: pgx.Serializable})
		exec(t, writer, "update users set active = true where id = 1")
	}
	require.NoError(t, writer.Rollback(t.Context()))

	// Writers at weaker levels are not waited for.
	writer = begin(t, b.other)
	exec(t, writer, "update users set active = true where id = 1")
	_, err := report.MakeDeferrable(t.Context(), b.db, report.Request{Kind: "test", Key: "beside another one"})
	require.NoError(t, err)
	require.NoError(t, writer.Commit(t.Context()))
}

// What a function that joins a transaction gets is what that transaction has.
func TestJoined(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	for outer, allowed := range map[txn.Isolation]map[txn.Isolation]bool{
		txn.ReadCommitted:  {txn.ReadUncommitted: true, txn.ReadCommitted: true},
		txn.RepeatableRead: {txn.ReadUncommitted: true, txn.ReadCommitted: true, txn.RepeatableRead: true, txn.IsolationUnspecified: true},
		txn.Serializable: {txn.ReadUncommitted: true, txn.ReadCommitted: true, txn.RepeatableRead: true,
			txn.IsolationUnspecified: true, txn.Serializable: true},
	} {
		for _, inner := range []txn.Isolation{txn.IsolationUnspecified, txn.ReadUncommitted, txn.ReadCommitted, txn.RepeatableRead, txn.Serializable} {
			name := fmt.Sprintf("%s in %s", inner, outer)
			var r report.Report
			err := txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: outer", Isolation: outer}, func(ctx context.Context, tx *txn.Tx) (err error) {
				r, err = report.Make(ctx, tx, report.Request{Kind: "test", Key: name, Isolation: inner})
				return err
			})
			if !allowed[inner] {
				require.ErrorIs(t, err, txn.ErrOptionsConflict, name)
				continue
			}
			require.NoError(t, err, name)
			require.Equal(t, opened, timeless(r.Figures), name)
			require.False(t, r.Replayed)
		}
	}

	// One moment is what is meant where nothing is said, and cannot be had any more.
	require.NoError(t, txn.WithReadTx(t.Context(), b.db, txn.Options{Label: "test: outer", Isolation: txn.ReadCommitted}, func(ctx context.Context, rx *txn.ReadTx) error {
		_, err := report.Read(ctx, rx, report.ReadRequest{})
		require.ErrorIs(t, err, txn.ErrOptionsConflict)
		_, err = report.Read(ctx, rx, report.ReadRequest{Isolation: txn.ReadCommitted})
		return err
	}))

	// From a snapshot that the caller shares, reads of any number are of one moment.
	require.NoError(t, txn.WithSharedSnapshot(t.Context(), b.db, txn.Options{Label: "test: shared"}, func(ctx context.Context, shared *txn.SharedSnapshot) error {
		exec(t, b.other, "update users set active = false where id = 1")
		f, err := report.Read(ctx, shared, report.ReadRequest{})
		require.NoError(t, err)
		require.Equal(t, opened, timeless(f))
		page, err := report.ActiveUsers(ctx, shared, report.ActiveUsersRequest{})
		require.NoError(t, err)
		require.Len(t, page.Users, 4)
		return nil
	}))
}

func TestRefusals(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	b.open(t)
	for _, w := range ways {
		for _, r := range []report.Request{
			{Kind: "", Key: "k"},
			{Kind: "test", Key: ""},
			{Kind: string(make([]byte, 51)), Key: "k"},
			{Kind: "test", Key: "\xff"},
			{Kind: "test", Key: fmt.Sprintf("%201s", "k")},
			{Kind: "test", Key: "k", LockTimeout: -1},
		} {
			_, err := w.make(t.Context(), b.db, r)
			require.ErrorIs(t, err, report.ErrInvalid, "%s: %q", w.name, r)
		}
		switch w.name {
		case db.ReportWayDeferrable, db.ReportWaySharedSnapshot, db.ReportWayRowLocks, db.ReportWayTableLocks:
			_, err := w.make(t.Context(), b.db, report.Request{Kind: "test", Key: "k", Isolation: txn.ReadCommitted})
			require.Equal(t, &report.InvalidError{Field: "Isolation"}, err, w.name)
		}
		switch w.name {
		case db.ReportWayRowLocks, db.ReportWayTableLocks:
		default:
			_, err := w.make(t.Context(), b.db, report.Request{Kind: "test", Key: "k", LockTimeout: 1})
			require.Equal(t, &report.InvalidError{Field: "LockTimeout"}, err, w.name)
		}
	}
	_, err := report.Make(t.Context(), b.db, report.Request{Kind: "test", Key: "k", Isolation: 9})
	require.Equal(t, &report.InvalidError{Field: "Isolation"}, err)
	require.Zero(t, fromTable[int](t, b, "select count(*) from reports"))
}

// More money than an amount can express is an error, and never a wrong sum.
func TestSumsDoNotOverflow(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	b.open(t)
	exec(t, b.other, deposit, 3, math.MaxInt64-300)
	require.EqualValues(t, math.MaxInt64, fromTable[int64](t, b, "select sum(balance_minor)::bigint - 100 - 100 + 200 from accounts"))
	exec(t, b.other, deposit, 6, 1)
	for _, w := range ways {
		_, err := w.make(t.Context(), b.db, report.Request{Kind: "test", Key: "k"})
		require.Equal(t, "22003", txn.SQLState(err), w.name)
	}
}
