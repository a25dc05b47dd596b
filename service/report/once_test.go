package report_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/report"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A report that was asked for twice is the first one, also when the figures are others by now,
// and in another way it is refused.
func TestOnce(t *testing.T) {
	b := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	b.open(t)
	for _, w := range ways {
		r := report.Request{Kind: "test", Key: string(w.name)}
		first, err := w.make(t.Context(), b.db, r)
		require.NoError(t, err)
		exec(t, b.other, "update users set active = not active where id = 1")
		again, err := w.make(t.Context(), b.db, r)
		require.NoError(t, err)
		require.True(t, again.Replayed)
		again.Replayed, again.At, again.ReadAt = false, first.At, first.ReadAt
		require.Equal(t, first, again)
		other, err := w.make(t.Context(), b.db, report.Request{Kind: "another", Key: string(w.name)})
		require.NoError(t, err)
		require.NotEqual(t, first.ActiveUsers, other.ActiveUsers)
		for _, different := range ways {
			if different.name != w.name {
				got, err := different.make(t.Context(), b.db, r)
				require.ErrorIs(t, err, report.ErrKeyReused, "%s, then %s", w.name, different.name)
				require.Zero(t, got)
			}
		}
	}
}

// While one report is about to be stored, another call of the same way comes with the same key.
// It waits for what becomes of the first.
func TestSameRequestAtOnce(t *testing.T) {
	var repeated retries
	b := setup(t, txn.Config{Options: txn.Options{OnRetry: repeated.note}})
	b.open(t)
	broke := errors.New("the caller changed its mind")
	for _, w := range ways {
		for _, outcome := range []error{nil, broke} {
			name := fmt.Sprintf("%s, first one: %v", w.name, outcome)
			r := report.Request{Kind: "test", Key: name}
			if w.name == db.ReportWayRowLocks || w.name == db.ReportWayTableLocks {
				r.LockTimeout = 10 * time.Second
			}
			repeated.states = nil
			var first db.Report
			var second report.Report
			var done <-chan error
			err := txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) (err error) {
				first, err = db.New(tx).StoreReport(ctx, db.StoreReportParams{Kind: r.Kind, RequestKey: r.Key, Way: w.name, ReadAt: time.Now()})
				if err != nil {
					return err
				}
				done = async(func() (err error) {
					second, err = w.make(t.Context(), b.db, r)
					return err
				})
				b.awaitBlocked(t)
				return outcome
			})
			require.ErrorIs(t, err, outcome, name)
			require.NoError(t, <-done, name)
			require.Equal(t, outcome == nil, second.Replayed, name)
			if outcome == nil {
				require.Equal(t, first.ID, second.ID, name)
				require.Zero(t, second.Users, name)
			} else {
				require.Equal(t, opened, timeless(second.Figures), name)
			}
			// Above READ COMMITTED the other one's row cannot be seen, so that all is done again.
			if outcome == nil && (w.name == db.ReportWayRepeatableRead || w.name == db.ReportWaySerializable) {
				require.Equal(t, []string{"40001"}, repeated.states, name)
			} else {
				require.Empty(t, repeated.states, name)
			}
		}
	}
}

// When the answer to COMMIT is lost, the report is there; when COMMIT itself is, it is not, which
// most ways cannot know at once.
func TestLostCommit(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	for _, w := range ways {
		d, proxy := b.through(t, txn.Config{}, "")
		_, err := w.make(t.Context(), d, report.Request{Kind: "test", Key: "warm " + string(w.name)})
		require.NoError(t, err)
		for _, lost := range []struct {
			name  string
			fault faultproxy.Fault
			there bool
		}{
			{"answer", faultproxy.Fault{SQL: "StoreReport", Answer: true, Do: faultproxy.Cut{}}, true},
			{"answer to commit", faultproxy.Fault{SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}}, true},
			{"commit", faultproxy.Fault{SQL: "^commit$", Do: faultproxy.Cut{}}, false},
		} {
			name := fmt.Sprint(w.name, " ", lost.name)
			r := report.Request{Kind: "test", Key: name}
			if lost.fault.SQL == "^commit$" && (w.name == db.ReportWayDeferrable || w.name == db.ReportWaySharedSnapshot) {
				// The COMMIT that is meant is the one of the transaction that stores.
				lost.fault.Nth = 2
				if w.name == db.ReportWaySharedSnapshot {
					lost.fault.Nth = 5
				}
			}
			cut := proxy.Arm(lost.fault)
			first, err := w.make(t.Context(), d, r)
			require.NoError(t, cut.WaitSession(t.Context()), name)
			// A transaction that has locked rows has an id before COMMIT, by which it is found out that
			// it was not committed: then it runs again.
			if !lost.there && w.name != db.ReportWayRowLocks {
				_, unknown := errors.AsType[*txn.CommitUnknownError](err)
				require.True(t, unknown, "%s: %v", name, err)
				require.Zero(t, first)
				first, err = w.make(t.Context(), d, r)
			}
			require.NoError(t, err, name)
			require.False(t, first.Replayed, name)
			require.Equal(t, opened, timeless(first.Figures), name)
			require.Equal(t, first.ID, fromTable[int64](t, b, "select id from reports where request_key = $1", r.Key))
		}
	}
}

// What each call costs once the connections know their statements.
func TestRoundTrips(t *testing.T) {
	b := setup(t, txn.Config{})
	b.open(t)
	trips := map[db.ReportWay][2]int{ // a new report, and one that is there
		db.ReportWayReadUncommitted: {2, 2},
		db.ReportWayReadCommitted:   {2, 2},
		db.ReportWayRepeatableRead:  {2, 2},
		db.ReportWaySerializable:    {2, 2},
		db.ReportWayDeferrable:      {2, 1},
		db.ReportWayRowLocks:        {3, 2},
		db.ReportWayTableLocks:      {3, 2},
		db.ReportWaySharedSnapshot:  {6, 5}, // three of them at the same time
	}
	for _, w := range ways {
		conns := "&pool_max_conns=1"
		warm := 2
		if w.name == db.ReportWaySharedSnapshot {
			conns, warm = "&pool_max_conns=2", 12 // by then each connection has had each part
		}
		d, proxy := b.through(t, txn.Config{}, conns)
		call := func(key string) {
			_, err := w.make(t.Context(), d, report.Request{Kind: string(w.name), Key: key})
			require.NoError(t, err)
		}
		for n := range warm {
			call(fmt.Sprint("warm ", n))
		}
		for n, key := range []string{"new", "new"} {
			proxy.Reset()
			call(key)
			require.Equal(t, trips[w.name][n], proxy.RoundTrips(), "%s, %d", w.name, n)
		}
	}
	d, proxy := b.through(t, txn.Config{}, "&pool_max_conns=1")
	for range 2 {
		proxy.Reset()
		_, err := report.Read(t.Context(), d, report.ReadRequest{})
		require.NoError(t, err)
	}
	require.Equal(t, 1, proxy.RoundTrips(), "read")
	for range 2 {
		proxy.Reset()
		_, err := report.ActiveUsers(t.Context(), d, report.ActiveUsersRequest{})
		require.NoError(t, err)
	}
	require.Equal(t, 1, proxy.RoundTrips(), "active users")
}
