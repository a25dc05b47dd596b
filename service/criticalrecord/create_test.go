package criticalrecord_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/criticalrecord"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// isolations are the levels that a program may have chosen for all its transactions.
var isolations = []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable}

// What is written is all three rows, and what comes back is what was sent.
func TestCreateAndChange(t *testing.T) {
	a := setup(t, txn.Config{})
	data := []byte("every byte \x00\xff counts")
	first, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{Key: "k", UserID: ada, Data: data})
	require.NoError(t, err)
	require.EqualValues(t, 1, first.Version)
	require.EqualValues(t, sha256.Sum256(data), first.Checksum)
	require.Equal(t, [3]int{1, 1, 1}, a.rows(t))
	r, err := criticalrecord.Get(t.Context(), a.db, first.RecordID)
	require.NoError(t, err)
	require.Equal(t, criticalrecord.Record{
		ID: first.RecordID, Version: 1, UserID: ada, Data: data, Checksum: first.Checksum, At: first.At,
	}, r)

	second := a.change(t, first, "second")
	require.EqualValues(t, 2, second.Version)
	require.NotEqual(t, first.Seal, second.Seal)
	require.Equal(t, [3]int{1, 2, 2}, a.rows(t))
	page, err := criticalrecord.History(t.Context(), a.db, criticalrecord.HistoryRequest{RecordID: first.RecordID})
	require.NoError(t, err)
	require.Zero(t, page.Next)
	now, err := criticalrecord.Get(t.Context(), a.db, first.RecordID)
	require.NoError(t, err)
	require.Equal(t, []criticalrecord.Record{r, now}, page.Versions)
	require.Equal(t, "second", string(now.Data))
	rows, err := a.admin.Query(t.Context(), "select format('%s %s by %s', operation, version, user_id) from system_log order by id")
	require.NoError(t, err)
	entries, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"critical_record_created 1 by 1", "critical_record_changed 2 by 2"}, entries)
	verdict, err := criticalrecord.Verify(t.Context(), a.db, first.RecordID, first, second)
	require.NoError(t, err)
	require.Equal(t, criticalrecord.Verdict{Versions: 2, Seal: second.Seal}, verdict)
}

// Whichever of the three rows fails, none is there. Code that writes them in three statements
// of their own, without a transaction, leaves the first behind.
func TestAllOrNothing(t *testing.T) {
	a := setup(t, txn.Config{})
	first := a.create(t, "first", "x")
	a.exec(t, "create function fail() returns trigger language plpgsql as $$ begin raise exception 'injected' using errcode = 'disk_full'; end $$")
	for _, table := range []string{"critical_records", "critical_record_copies", "system_log"} {
		a.exec(t, "create trigger fail after insert or update on "+table+" for each row execute function fail()")
		_, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{Key: "k", UserID: ada, Data: []byte("x")})
		require.Equal(t, "53100", txn.SQLState(err), table)
		_, err = criticalrecord.Change(t.Context(), a.db, criticalrecord.ChangeRequest{RecordID: first.RecordID, Version: 1, UserID: ada, Data: []byte("y")})
		require.Equal(t, "53100", txn.SQLState(err), table)
		require.Equal(t, [3]int{1, 1, 1}, a.rows(t), table)
		a.exec(t, "drop trigger fail on "+table)
	}
	a.create(t, "k", "x")
	a.change(t, first, "y")
}

func TestRefusals(t *testing.T) {
	a := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	first := a.create(t, "first", "x")
	second := a.change(t, first, "y")
	for _, r := range []struct {
		name string
		key  string
		user int64
		data []byte
		want error
	}{
		{"no key", "", ada, []byte("x"), &criticalrecord.InvalidError{Field: "Key"}},
		{"long key", strings.Repeat("k", 201), ada, []byte("x"), criticalrecord.ErrInvalid},
		{"key that is no text", "\xff", ada, []byte("x"), criticalrecord.ErrInvalid},
		{"no data", "k", ada, nil, &criticalrecord.InvalidError{Field: "Data"}},
		{"too much data", "k", ada, make([]byte, criticalrecord.MaxData+1), &criticalrecord.InvalidError{Field: "Data"}},
		{"nobody", "k", 99, []byte("x"), criticalrecord.ErrUnknownUser},
		{"key of other data", "first", ada, []byte("y"), criticalrecord.ErrKeyReused},
		{"key of another user", "first", bob, []byte("x"), criticalrecord.ErrKeyReused},
	} {
		receipt, err := criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{Key: r.key, UserID: r.user, Data: r.data})
		requireRefused(t, r.want, err, r.name)
		require.Zero(t, receipt, r.name)
	}
	for _, r := range []struct {
		name        string
		id, version int64
		user        int64
		data        []byte
		want        error
	}{
		{"no such record", 99, 1, ada, []byte("z"), criticalrecord.ErrUnknownRecord},
		{"old version", second.RecordID, 1, ada, []byte("z"), &criticalrecord.ChangedError{RecordID: second.RecordID, Version: 1, Current: 2}},
		{"old version, same data of another user", second.RecordID, 1, ada, []byte("y"), criticalrecord.ErrChanged},
		{"future version", second.RecordID, 3, ada, []byte("z"), &criticalrecord.ChangedError{RecordID: second.RecordID, Version: 3, Current: 2}},
		{"version before the first", second.RecordID, 0, ada, []byte("z"), criticalrecord.ErrChanged},
		{"no data", second.RecordID, 2, ada, nil, &criticalrecord.InvalidError{Field: "Data"}},
		{"nobody", second.RecordID, 2, 99, []byte("z"), criticalrecord.ErrUnknownUser},
	} {
		receipt, err := criticalrecord.Change(t.Context(), a.db, criticalrecord.ChangeRequest{RecordID: r.id, Version: r.version, UserID: r.user, Data: r.data})
		requireRefused(t, r.want, err, r.name)
		require.Zero(t, receipt, r.name)
	}
	_, err := criticalrecord.Get(t.Context(), a.db, 99)
	require.ErrorIs(t, err, criticalrecord.ErrUnknownRecord)
	_, err = criticalrecord.History(t.Context(), a.db, criticalrecord.HistoryRequest{RecordID: 99})
	require.ErrorIs(t, err, criticalrecord.ErrUnknownRecord)
	_, err = criticalrecord.Verify(t.Context(), a.db, 99)
	require.ErrorIs(t, err, criticalrecord.ErrUnknownRecord)
	_, err = criticalrecord.History(t.Context(), a.db, criticalrecord.HistoryRequest{RecordID: 1, After: -1})
	require.Equal(t, &criticalrecord.InvalidError{Field: "After"}, err)
	_, err = criticalrecord.History(t.Context(), a.db, criticalrecord.HistoryRequest{RecordID: 1, Limit: -1})
	require.Equal(t, &criticalrecord.InvalidError{Field: "Limit"}, err)
	require.Equal(t, [3]int{1, 2, 2}, a.rows(t), "nothing has changed")

	// What fits just so.
	_, err = criticalrecord.Create(t.Context(), a.db, criticalrecord.CreateRequest{
		Key: strings.Repeat("ü", 200), UserID: ada, Data: make([]byte, criticalrecord.MaxData),
	})
	require.NoError(t, err)
}

// requireRefused compares an error with a sentinel, or with a struct that it must equal.
func requireRefused(t *testing.T, want, err error, name string) {
	t.Helper()
	switch want := want.(type) {
	case *criticalrecord.ChangedError, *criticalrecord.InvalidError:
		require.Equal(t, want, err, name)
	default:
		require.ErrorIs(t, err, want, name)
	}
}

// A refusal of a call that has joined a transaction dooms it, and inside a savepoint it does not.
func TestRefusalInAJoinedCall(t *testing.T) {
	a := setup(t, txn.Config{})
	first := a.create(t, "first", "x")
	for name, refused := range map[string]func(context.Context, *txn.Tx) error{
		"create": func(ctx context.Context, tx *txn.Tx) error {
			_, err := criticalrecord.Create(ctx, tx, criticalrecord.CreateRequest{Key: "first", UserID: ada, Data: []byte("y")})
			return err
		},
		"change": func(ctx context.Context, tx *txn.Tx) error {
			_, err := criticalrecord.Change(ctx, tx, criticalrecord.ChangeRequest{RecordID: first.RecordID, Version: 7, UserID: ada, Data: []byte("y")})
			return err
		},
	} {
		opts := txn.Options{Label: "test: outer", SynchronousCommit: txn.SyncOn}
		err := txn.WithTx(t.Context(), a.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			_ = refused(ctx, tx)
			return nil
		})
		require.ErrorIs(t, err, txn.ErrRollbackOnly, name)
		require.NoError(t, txn.WithTx(t.Context(), a.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			require.Error(t, tx.Savepoint(ctx, refused))
			receipt, err := criticalrecord.Create(ctx, tx, criticalrecord.CreateRequest{Key: name, UserID: ada, Data: []byte("z")})
			if err == nil {
				_, err = criticalrecord.Change(ctx, tx, criticalrecord.ChangeRequest{RecordID: receipt.RecordID, Version: 1, UserID: ada, Data: []byte("z")})
			}
			return err
		}), name)
	}
	require.Equal(t, [3]int{3, 5, 5}, a.rows(t))
}

// A request without a name that is sent twice is two records. With one, the second call waits
// for what becomes of the first.
func TestSameRequestAtOnce(t *testing.T) {
	a := setup(t, txn.Config{})
	broke := errors.New("the caller changed its mind")
	for _, level := range isolations {
		for _, outcome := range []error{nil, broke} {
			name := fmt.Sprintf("%s, first one: %v", level, outcome)
			d := txn.New(a.db.Pool(), watched(txn.Config{Options: txn.Options{Isolation: level}}))
			r := criticalrecord.CreateRequest{Key: name, UserID: ada, Data: []byte("x")}
			var first, second criticalrecord.Receipt
			var done <-chan error
			err := txn.WithTx(t.Context(), d, txn.Options{Label: "test: first", SynchronousCommit: txn.SyncOn}, func(ctx context.Context, tx *txn.Tx) (err error) {
				if first, err = criticalrecord.Create(ctx, tx, r); err != nil {
					return err
				}
				done = async(func() (err error) {
					second, err = criticalrecord.Create(t.Context(), d, r)
					return err
				})
				a.waitBlocked(t)
				return outcome
			})
			require.ErrorIs(t, err, outcome, name)
			require.NoError(t, <-done, name)
			require.Equal(t, outcome == nil, second.Replayed, name)
			if outcome == nil {
				second.Replayed = false
				require.Equal(t, first, second, name)
			}
			r.Data = []byte("y")
			_, err = criticalrecord.Create(t.Context(), d, r)
			require.ErrorIs(t, err, criticalrecord.ErrKeyReused, name)
		}
	}
	require.Equal(t, [3]int{6, 6, 6}, a.rows(t))
}

// Of two changes of one version the second is refused, unless it is the same.
func TestChangesAtOnce(t *testing.T) {
	a := setup(t, txn.Config{})
	for _, level := range isolations {
		for _, same := range []bool{false, true} {
			name := fmt.Sprintf("%s, same: %v", level, same)
			d := txn.New(a.db.Pool(), watched(txn.Config{Options: txn.Options{Isolation: level}}))
			record := a.create(t, name, "x")
			r := criticalrecord.ChangeRequest{RecordID: record.RecordID, Version: 1, UserID: ada, Data: []byte("y")}
			var first, second criticalrecord.Receipt
			var done <-chan error
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: first", SynchronousCommit: txn.SyncOn}, func(ctx context.Context, tx *txn.Tx) (err error) {
				if first, err = criticalrecord.Change(ctx, tx, r); err != nil {
					return err
				}
				if !same {
					r.Data = []byte("z")
				}
				done = async(func() (err error) {
					second, err = criticalrecord.Change(t.Context(), d, r)
					return err
				})
				a.waitBlocked(t)
				return nil
			}), name)
			if same {
				require.NoError(t, <-done, name)
				require.True(t, second.Replayed, name)
				second.Replayed = false
				require.Equal(t, first, second, name)
			} else {
				require.Equal(t, &criticalrecord.ChangedError{RecordID: record.RecordID, Version: 1, Current: 2}, <-done, name)
			}
		}
	}
}

// waitBlocked returns when a session of the database waits for a lock.
func (a *archive) waitBlocked(t *testing.T) {
	t.Helper()
	var pid int
	for pid == 0 {
		require.NoError(t, a.admin.QueryRow(t.Context(), `
			select coalesce((select max(pid) from pg_stat_activity
				where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0), 0)
			from pg_sleep(0.005)`).Scan(&pid))
	}
	txntest.WaitBlocked(t, a.admin, pid)
}

// The record is written in the round trip of COMMIT. Whether the answer to COMMIT is lost, or
// that to the statement, the receipt says what was written, and that it was this call.
func TestAnswerLostWithCommit(t *testing.T) {
	a := setup(t, txn.Config{})
	for _, lost := range []string{"^commit", "CreateCriticalRecord", "ChangeCriticalRecord"} {
		proxy := txntest.NewProxy(t, a.AppURL())
		d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
		require.NoError(t, err)
		t.Cleanup(d.Close)
		warm := criticalrecord.CreateRequest{Key: "warm " + lost, UserID: ada, Data: []byte("x")}
		receipt, err := criticalrecord.Create(t.Context(), d, warm)
		require.NoError(t, err)
		change := criticalrecord.ChangeRequest{RecordID: receipt.RecordID, Version: 1, UserID: ada, Data: []byte("y")}
		_, err = criticalrecord.Change(t.Context(), d, change)
		require.NoError(t, err)

		write := func() (criticalrecord.Receipt, error) {
			if lost != "ChangeCriticalRecord" {
				return criticalrecord.Create(t.Context(), d, criticalrecord.CreateRequest{Key: lost, UserID: ada, Data: []byte("x")})
			}
			change.Version, change.Data = 2, []byte("z")
			return criticalrecord.Change(t.Context(), d, change)
		}
		cut := proxy.Arm(faultproxy.Fault{SQL: lost, Answer: true, Do: faultproxy.Cut{}})
		first, err := write()
		require.NoError(t, err, lost)
		require.NoError(t, cut.WaitSession(t.Context()))
		require.False(t, first.Replayed, "%s: this call wrote it", lost)
		again, err := write()
		require.NoError(t, err, lost)
		require.True(t, again.Replayed, lost)
		again.Replayed = false
		require.Equal(t, first, again, lost)
	}
}

// A COMMIT that the server did not get leaves no record, and may for all that the call knows
// come to be: the call says so, and the request is sent again.
func TestLostCommit(t *testing.T) {
	a := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, a.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	record := a.create(t, "record", "x")
	for name, write := range map[string]func() (criticalrecord.Receipt, error){
		"create": func() (criticalrecord.Receipt, error) {
			return criticalrecord.Create(t.Context(), d, criticalrecord.CreateRequest{Key: "k", UserID: ada, Data: []byte("x")})
		},
		"change": func() (criticalrecord.Receipt, error) {
			return criticalrecord.Change(t.Context(), d, criticalrecord.ChangeRequest{RecordID: record.RecordID, Version: 1, UserID: ada, Data: []byte("y")})
		},
	} {
		cut := proxy.Arm(faultproxy.Fault{SQL: "^commit$", Do: faultproxy.Cut{}})
		receipt, err := write()
		require.NoError(t, cut.WaitSession(t.Context()))
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%s: %v", name, err)
		require.Zero(t, receipt)
		receipt, err = write()
		require.NoError(t, err, name)
		require.False(t, receipt.Replayed, name)
	}
	require.Equal(t, [3]int{2, 3, 3}, a.rows(t))
}

// What each call costs once the connection knows its statements.
func TestRoundTrips(t *testing.T) {
	a := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, a.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	record := a.create(t, "record", "x")
	change := func(ctx context.Context, version int64, data string) error {
		_, err := criticalrecord.Change(ctx, d, criticalrecord.ChangeRequest{RecordID: record.RecordID, Version: version, UserID: ada, Data: []byte(data)})
		return err
	}
	for _, c := range []struct {
		name  string
		trips int
		call  func(ctx context.Context, n int64) error
	}{
		{"create", 1, func(ctx context.Context, n int64) error {
			_, err := criticalrecord.Create(ctx, d, criticalrecord.CreateRequest{Key: fmt.Sprint("key ", n), UserID: ada, Data: []byte("x")})
			return err
		}},
		{"create again", 1, func(ctx context.Context, _ int64) error {
			_, err := criticalrecord.Create(ctx, d, criticalrecord.CreateRequest{Key: "key 1", UserID: ada, Data: []byte("x")})
			return err
		}},
		{"change", 1, func(ctx context.Context, n int64) error { return change(ctx, n, fmt.Sprint(n)) }},
		{"change again", 1, func(ctx context.Context, _ int64) error { return change(ctx, 1, "1") }},
		{"get", 1, func(ctx context.Context, _ int64) error {
			_, err := criticalrecord.Get(ctx, d, record.RecordID)
			return err
		}},
		{"history", 1, func(ctx context.Context, _ int64) error {
			_, err := criticalrecord.History(ctx, d, criticalrecord.HistoryRequest{RecordID: record.RecordID})
			return err
		}},
		{"verify", 3, func(ctx context.Context, _ int64) error {
			_, err := criticalrecord.Verify(ctx, d, record.RecordID)
			return err
		}},
		{"create in a transaction that goes on", 2, func(ctx context.Context, n int64) error {
			return txn.WithTx(ctx, d, txn.Options{Label: "test: outer", SynchronousCommit: txn.SyncOn}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := criticalrecord.Create(ctx, tx, criticalrecord.CreateRequest{Key: fmt.Sprint("joined ", n), UserID: ada, Data: []byte("x")})
				return err
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.call(t.Context(), 1))
			proxy.Reset()
			require.NoError(t, c.call(t.Context(), 2))
			require.Equal(t, c.trips, proxy.RoundTrips())
		})
	}
}

// The statements are what a caller of package db may use, too.
func TestSystemLogPages(t *testing.T) {
	a := setup(t, txn.Config{})
	r := a.create(t, "k", "1")
	for n := range 4 {
		r = a.change(t, r, fmt.Sprint(n+2))
	}
	var versions []int64
	for after := int64(0); ; {
		rows, err := txn.WithReadTxValue(t.Context(), a.db, txn.Options{Label: "test: log"}, func(ctx context.Context, rx *txn.ReadTx) ([]db.SystemLog, error) {
			return db.NewRead(rx).ListSystemLog(ctx, db.ListSystemLogParams{RecordID: r.RecordID, AfterVersion: after, MaxRows: 2})
		})
		require.NoError(t, err)
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			versions = append(versions, row.Version)
			after = row.Version
		}
	}
	require.Equal(t, []int64{1, 2, 3, 4, 5}, versions)
}
