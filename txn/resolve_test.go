package txn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Rule: a lost COMMIT is resolved, and no verdict is false.

// effects counts what the ways below have committed.
func (f *fixture) effects(t *testing.T) int64 {
	t.Helper()
	return f.done(t) + column[int64](t, f.db.Pool(), `select count(*) from notes`)[0] +
		column[int64](t, f.db.Pool(), "select count(*) from pg_largeobject_metadata")[0]
}

// aloneWorks are ways in which a transaction writes and its id cannot be asked for in the
// same round trip.
var aloneWorks = map[string]func(context.Context, *txn.Tx) error{
	"copy": func(ctx context.Context, tx *txn.Tx) error {
		rows := pgx.CopyFromRows([][]any{{fmt.Sprint("copied ", time.Now().UnixNano())}})
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, rows)
		return err
	},
	"read, then copy": func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "select 1"); err != nil {
			return err
		}
		rows := pgx.CopyFromRows([][]any{{fmt.Sprint("copied ", time.Now().UnixNano())}})
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, rows)
		return err
	},
	"large object": func(ctx context.Context, tx *txn.Tx) error {
		o := tx.Pgx().LargeObjects()
		_, err := o.Create(ctx, 0)
		return err
	},
	"connection": func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Pgx().Conn().Exec(ctx, withdraw)
		return err
	},
	"do": func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "do $$ begin "+withdraw+"; end $$")
		return err
	},
	"write, then settings": func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "do $$ begin "+withdraw+"; end $$"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "set local work_mem = '1MB'")
		return err
	},
}

// Whatever becomes of a COMMIT on its way: the call returns nil and the work is done once.
func TestLostCommitByXID(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	all := maps.Clone(works)
	maps.Copy(all, aloneWorks)
	delete(all, "queued") // without an id: see TestLostCommitOfOneFlush
	all["write, then queued"] = func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "update accounts set version = 2 where id = 2"); err != nil {
			return err
		}
		tx.Queue(withdraw)
		return nil
	}
	want := int64(0)
	for _, level := range levels {
		for _, way := range slices.Sorted(maps.Keys(all)) {
			if way == "failed savepoint first" {
				continue // its only write is queued
			}
			for _, fault := range commitFaults {
				t.Run(fmt.Sprintf("%s/%s/%s", level, way, fault.name), func(t *testing.T) {
					r := newRelay(t, f.AppURL())
					d := r.open(t, f.AppURL(), txn.Config{BaseDelay: time.Nanosecond})
					runs := 0
					err := txn.WithTx(t.Context(), d, txn.Options{Isolation: level}, func(ctx context.Context, tx *txn.Tx) error {
						if runs++; runs == 1 {
							r.arm(commit, fault.do(t, f, admin))
						}
						return all[way](ctx, tx)
					})
					require.NoError(t, err)
					want++
					require.Equal(t, want, f.effects(t))
					if level != txn.Serializable { // where runs may fail for reasons of their own
						switch fault.committed {
						case "yes":
							require.Equal(t, 1, runs)
						case "no":
							require.Equal(t, 2, runs)
						}
					}
					released(t, d)
				})
			}
		}
	}
}

// The connection is cut around each message of a transaction in turn. Nothing is lost,
// nothing done twice, and nothing stays unknown.
func TestConnectionCutAnywhere(t *testing.T) {
	f := setup(t, txn.Config{})
	transfer := func(ctx context.Context, tx *txn.Tx) error {
		for _, id := range []int{1, 2} {
			if err := tx.QueryRow(ctx, "select balance from accounts where id = $1 for no key update", id).Scan(new(int64)); err != nil {
				return err
			}
		}
		if err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "update accounts set balance = balance - $1 where id = $2", 1, 1)
			return err
		}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "update accounts set balance = balance + $1 where id = $2", 1, 2)
		return err
	}
	calls, points := int64(0), 0
	for name, strike := range map[string]func(*link){"before": cutBefore, "after": cutAfter, "answer": dropAnswer} {
		for nth := 1; ; nth++ {
			r := newRelay(t, f.AppURL())
			d := r.open(t, f.AppURL(), txn.Config{BaseDelay: time.Nanosecond})
			struck := r.armNth(nth, strike)
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, transfer), "%s message %d", name, nth)
			calls++
			require.Equal(t, calls, f.done(t), "%s message %d", name, nth)
			released(t, d)
			if !struck() {
				break
			}
			points++
		}
	}
	require.Greater(t, points, 3*6, "the startup, preparations, statements and COMMIT")
	require.EqualValues(t, []int64{4000}, column[int64](t, f.db.Pool(), "select sum(balance)::bigint from accounts"))
}

// The question is asked on a connection of its own, made as the pool makes them: the pool's
// may all be in use. Time zones and their like do not matter.
func TestQuestionsConnection(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	cfg, err := pgxpool.ParseConfig(r.url(t, f.AppURL()))
	require.NoError(t, err)
	cfg = one(cfg)
	password := cfg.ConnConfig.Password
	cfg.ConnConfig.Password = "changes by the hour"
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.Password = password
		return nil
	}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set time zone 'Asia/Kathmandu'; set datestyle = 'German'")
		return err
	}
	d := openConfig(t, cfg)
	runs := 0
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Settings: map[string]string{"timezone": "America/St_Johns"}}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		r.arm(commit, dropAnswer)
		return works["statement"](ctx, tx)
	}))
	require.Equal(t, 1, runs)
	require.EqualValues(t, 1, f.done(t))
}

// A text of several statements may end the transaction and begin another: its id is another
// one then.
func TestTextThatBeginsAnotherTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{BaseDelay: time.Nanosecond})
	for _, last := range []string{"statement", "several in one text"} {
		before, runs := f.done(t), 0
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			if runs++; runs == 1 {
				r.arm(commit, cutBefore)
			}
			if _, err := tx.Exec(ctx, "update accounts set version = version + 1 where id = 3"); err != nil {
				return err
			}
			text := `select 'a\'; commit  ; begin` // which cannot be told apart for sure
			if last != "statement" {
				text += "; " + withdraw
			}
			if _, err := tx.Exec(ctx, text); err != nil {
				return err
			}
			if last == "statement" {
				return works[last](ctx, tx)
			}
			return nil
		}))
		require.Equal(t, 2, runs, "the first one's end is not the second one's")
		require.Equal(t, before+1, f.done(t))
	}
}

// released waits until the pool has all its connections back: broken ones it destroys in the
// background.
func released(t *testing.T, d *txn.DB) {
	t.Helper()
	require.Eventually(t, func() bool { return d.Pool().Stat().AcquiredConns() == 0 }, 20*time.Second, time.Millisecond)
}

// What was never asked for cannot be known, unless by a key: the call says so and does not
// run again.
func TestLostCommitOfOneFlush(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct {
		strike func(*link)
		done   int64
	}{"before": {cutBefore, 0}, "answer dropped": {dropAnswer, 1}} {
		before := f.done(t)
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{})
		runs := 0
		err := txn.WithTx(t.Context(), d, txn.Options{Label: "pay"}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			r.arm(commit, c.strike)
			return works["queued"](ctx, tx)
		})
		unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "pay", unknown.Label)
		require.Empty(t, unknown.XID)
		require.Contains(t, unknown.Why, "IdempotencyKey")
		require.Error(t, unknown.Err)
		require.Equal(t, 1, runs)
		require.Equal(t, before+c.done, f.done(t), name)
	}
}

func TestResolveNever(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveCommits: txn.ResolveNever})
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, dropAnswer)
		return works["statement"](ctx, tx)
	})
	unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, ok, "%v", err)
	require.Empty(t, unknown.XID)
	require.Contains(t, unknown.Why, "ResolveNever")
	require.EqualValues(t, 1, f.done(t))
}

// A *Tx that has only read has no id, and does not get one.
func TestReaderHasNoID(t *testing.T) {
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true, Settings: map[string]string{"autovacuum": "off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	f := setupOn(t, server, txn.Config{})
	next := func() int64 {
		return column[int64](t, f.db.Pool(), "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0]
	}
	before := next()
	for _, level := range levels {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Isolation: level}, func(ctx context.Context, tx *txn.Tx) error {
			for range 3 {
				id := ask[*string](t, ctx, tx, "select pg_current_xact_id_if_assigned()::text")
				require.Nil(t, id)
			}
			return nil
		}))
		require.NoError(t, txn.WithReadTx(t.Context(), f.db, txn.Options{Isolation: level}, func(ctx context.Context, rx *txn.ReadTx) error {
			ask[int](t, ctx, rx, "select 1")
			return nil
		}))
	}
	require.Equal(t, before, next(), "no id was used up")
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, works["statement"]))
	require.Equal(t, before+1, next(), "the counter counts")
}

// A transaction that changed no row may have sent a notification: nobody can be asked, and it
// is not run again. Its error says how little is unknown.
func TestLostCommitWithoutAWrite(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, sql := range []string{"select 1", "notify something"} {
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{})
		err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			r.arm(commit, dropAnswer)
			_, err := tx.Exec(ctx, sql)
			return err
		})
		unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, ok, "%v", err)
		require.Contains(t, unknown.Why, "changed no row")
		require.Equal(t, 1, r.connections(), "there is nothing to ask")
	}
}

// The id is asked for behind each statement, until there is one, and costs no round trip.
func TestIDIsAskedForUntilItIsThere(t *testing.T) {
	f := setup(t, txn.Config{})
	const question = "pg_current_xact_id_if_assigned"
	for name, c := range map[string]struct {
		cfg  txn.Config
		opts txn.Options
		want string
	}{
		"read committed":  {want: "b s S? S? U? s U c"},
		"repeatable read": {opts: txn.Options{Isolation: txn.RepeatableRead}, want: "b s S? S? U? s U c"},
		"never":           {cfg: txn.Config{ResolveCommits: txn.ResolveNever}, want: "b s S S U s U c"},
	} {
		seen := &statements{}
		cfg := f.db.Pool().Config()
		cfg.ConnConfig.Tracer = seen
		d := openConfig(t, cfg, c.cfg)
		for range 2 {
			seen.take()
			require.NoError(t, txn.WithTx(t.Context(), d, c.opts, func(ctx context.Context, tx *txn.Tx) error {
				for _, sql := range []string{
					"set local work_mem = '1MB'", "select 1", "select 2", withdraw, "set local work_mem = '2MB'", withdraw,
				} {
					if _, err := tx.Exec(ctx, sql); err != nil {
						return err
					}
				}
				return nil
			}))
			var short []string
			for _, sql := range seen.take() {
				if strings.Contains(sql, question) {
					short[len(short)-1] += "?"
					continue
				}
				first := sql[:1]
				if first == "s" && strings.HasPrefix(sql, "select") || sql == withdraw {
					first = strings.ToUpper(first)
				}
				short = append(short, first)
			}
			require.Equal(t, c.want, strings.Join(short, " "), name)
		}
	}

}

// A connection's epoch is asked for once, except behind a pooler.
func TestEpochIsAskedForOnce(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, key := range []string{"", "k"} {
		for pooler, want := range map[bool]int{false: 1, true: 3} {
			seen := &statements{}
			cfg := one(f.db.Pool().Config())
			cfg.ConnConfig.Tracer = seen
			d := openConfig(t, cfg, txn.Config{Pooler: pooler})
			for i := range 3 {
				opts := txn.Options{}
				if key != "" {
					opts.IdempotencyKey = fmt.Sprint(key, pooler, i)
				}
				require.NoError(t, txn.WithTx(t.Context(), d, opts, works["statement"]))
			}
			asked := 0
			for _, sql := range seen.take() {
				if strings.Contains(sql, "pg_postmaster_start_time") {
					asked++
				}
			}
			require.Equal(t, want, asked, "key %q, pooler %v", key, pooler)
		}
	}
}

// one makes a pool of one connection of cfg.
func one(cfg *pgxpool.Config) *pgxpool.Config {
	cfg = cfg.Copy()
	cfg.MaxConns = 1
	return cfg
}

// statements are the texts that a tracer was told of.
type statements struct {
	mu    sync.Mutex
	texts []string
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, data.SQL)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *statements) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.texts
	s.texts = nil
	return texts
}

// Locks taken first must be held before the snapshot is taken: nothing of ours may come
// between them.
func TestLockTableBeforeTheSnapshot(t *testing.T) {
	f := keyed(t, txn.Config{})
	admin := f.Admin(t)
	for _, level := range []txn.Isolation{txn.RepeatableRead, txn.Serializable} {
		for _, key := range []string{"", level.String()} {
			before := f.done(t)
			holder, err := admin.Begin(t.Context())
			require.NoError(t, err)
			_, err = holder.Exec(t.Context(), "lock table accounts in exclusive mode; "+withdraw)
			require.NoError(t, err)
			result := make(chan error, 1)
			seen := int64(0)
			go func() {
				result <- txn.WithTx(t.Context(), f.db, txn.Options{Isolation: level, IdempotencyKey: key}, func(ctx context.Context, tx *txn.Tx) error {
					for _, table := range []string{"notes", "accounts"} { // the second has to wait
						if _, err := tx.Exec(ctx, "lock table "+table+" in exclusive mode"); err != nil {
							return err
						}
					}
					return tx.QueryRow(ctx, "select 1000 - balance from accounts where id = 1").Scan(&seen)
				})
			}()
			blocked(t, admin)
			require.NoError(t, holder.Commit(t.Context()))
			require.NoError(t, <-result)
			require.Equal(t, before+1, seen, "it sees what the lock's last holder did")
		}
	}
}

// SET TRANSACTION is refused by the server once a snapshot was taken.
func TestSetTransactionFirst(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, level := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Isolation: level}, func(ctx context.Context, tx *txn.Tx) error {
			for _, sql := range []string{"set local work_mem = '1MB'", "set transaction isolation level serializable", "set constraints all deferred"} {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
			}
			require.Equal(t, "serializable", ask[string](t, ctx, tx, "show transaction_isolation"))
			require.Equal(t, "1MB", ask[string](t, ctx, tx, "show work_mem"))
			return nil
		}))
	}
}

// slowCommit makes COMMIT of a note "slow" wait until nobody holds the advisory lock 4711,
// which the returned transaction does.
func (f *fixture) slowCommit(t *testing.T) pgx.Tx {
	t.Helper()
	admin := f.Admin(t)
	_, err := admin.Exec(t.Context(), `
		create function slow() returns trigger language plpgsql as $$ begin
			if new.body like 'slow%' then perform pg_advisory_xact_lock(4711); end if; return null; end $$;
		create constraint trigger slow after insert on notes deferrable initially deferred
			for each row execute function slow()`)
	require.NoError(t, err)
	holder, err := admin.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = holder.Rollback(context.Background()) })
	_, err = holder.Exec(t.Context(), "select pg_advisory_xact_lock(4711)")
	require.NoError(t, err)
	return holder
}

// hangUpAfter cuts the client off and lets the server work on.
func hangUpAfter(l *link) {
	l.hangUp()
	l.forward()
	go l.end()
}

// A COMMIT that is still at work is waited for.
func TestSlowCommitIsWaitedFor(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, key := range []string{"", "k"} {
		t.Run("key "+key, func(t *testing.T) {
			f := f
			holder := f.slowOnce(t)
			r := newRelay(t, f.AppURL())
			r.set(func(r *relay) { r.noCancels = true })
			d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute})
			runs := 0
			result := make(chan error, 1)
			go func() {
				result <- txn.WithTx(t.Context(), d, txn.Options{IdempotencyKey: key}, func(ctx context.Context, tx *txn.Tx) error {
					runs++
					r.arm(commit, hangUpAfter)
					return write(ctx, tx, "slow "+key)
				})
			}()
			blocked(t, f.Admin(t))
			await(t, f.Admin(t), "select count(*) > 1 from pg_stat_activity where datname = current_database() and application_name = $1", r.name())
			require.NoError(t, holder.Commit(t.Context()))
			require.NoError(t, <-result)
			require.Equal(t, 1, runs)
			require.Contains(t, f.notes(t), "slow "+key)
		})
	}
}

// slowOnce is slowCommit, or for a database that has its trigger just the lock.
func (f *fixture) slowOnce(t *testing.T) pgx.Tx {
	t.Helper()
	if column[bool](t, f.db.Pool(), "select to_regproc('slow') is null")[0] {
		return f.slowCommit(t)
	}
	holder, err := f.Admin(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "select pg_advisory_xact_lock(4711)")
	require.NoError(t, err)
	return holder
}

// In the second half of ResolveTimeout it is made to stop: its client is gone.
func TestSlowCommitIsEnded(t *testing.T) {
	f := keyed(t, txn.Config{})
	holder := f.slowCommit(t)
	for _, level := range levels {
		for _, key := range []string{"", level.String()} {
			r := newRelay(t, f.AppURL())
			r.set(func(r *relay) { r.noCancels = true })
			d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second, BaseDelay: time.Nanosecond})
			runs := 0
			body := level.String() + key
			err := txn.WithTx(t.Context(), d, txn.Options{Isolation: level, IdempotencyKey: key}, func(ctx context.Context, tx *txn.Tx) error {
				if runs++; runs == 1 {
					r.arm(commit, hangUpAfter)
					return write(ctx, tx, "slow "+body)
				}
				return write(ctx, tx, body)
			})
			require.NoError(t, err)
			require.Equal(t, 2, runs)
			require.Contains(t, f.notes(t), body)
		}
	}
	require.NoError(t, holder.Commit(t.Context()))
	for _, note := range f.notes(t) {
		require.NotContains(t, note, "slow")
	}
}

// A transaction whose COMMIT never arrived holds its locks until its session is ended.
func TestCommitHeldBackInTheNetwork(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second, BaseDelay: time.Nanosecond})
	release, late := make(chan struct{}), make(chan struct{})
	runs := 0
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		if runs++; runs == 1 {
			r.arm(commit, func(l *link) {
				l.hangUp()
				go func() {
					defer close(late)
					<-release
					l.forward()
					l.end()
				}()
			})
		}
		return works["statement"](ctx, tx)
	}))
	close(release)
	<-late
	require.Equal(t, 2, runs)
	require.EqualValues(t, 1, f.done(t))
}

// The network is gone for all. The call ends all the same, and tells an operator what to ask
// for.
func TestPartition(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, committed := range []bool{false, true} {
		before := f.done(t)
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: 300 * time.Millisecond})
		xid, runs := "", 0
		open := func() {}
		ended := make(chan struct{})
		err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			require.NoError(t, works["statement"](ctx, tx))
			xid = ask[string](t, ctx, tx, "select pg_current_xact_id_if_assigned()::text")
			r.arm(commit, func(l *link) {
				open = r.shut()
				l.hangUp()
				if committed {
					l.forward()
				}
				go func() { defer close(ended); l.end() }()
			})
			return nil
		})
		unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, xid, unknown.XID)
		require.Contains(t, unknown.Server, r.ln.Addr().String()+", started 2")
		require.NotEmpty(t, unknown.Why)
		require.ErrorContains(t, err, "pg_xact_status('"+xid+"')")
		require.Equal(t, 1, runs)
		<-ended
		open()
		require.Equal(t, committed, f.done(t) > before)
	}
}

// Whoever wants to wait as long as it takes may say so.
func TestResolveTimeoutBeyondWhatTheServerCounts(t *testing.T) {
	f := keyed(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: math.MaxInt64 / 2})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("select pg_sleep(60)")
		r.arm("pg_sleep", func(l *link) {
			l.forward()
			cancel()
		})
		return tx.Flush(ctx)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, d.Pool().Ping(t.Context()))
	require.EqualValues(t, 1, d.Pool().Stat().NewConnsCount(), "the statement was given time to stop")
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{IdempotencyKey: "x"}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, dropAnswer)
		return works["queued"](ctx, tx)
	}))
	require.EqualValues(t, 1, f.done(t))
}

// The network comes back in time.
func TestShortPartition(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct {
		strike func(*link)
		runs   int
	}{"before": {cutBefore, 2}, "answer dropped": {dropAnswer, 1}} {
		before := f.done(t)
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: 2 * time.Second, BaseDelay: time.Nanosecond})
		runs := 0
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			if runs++; runs == 1 {
				r.arm(commit, func(l *link) {
					r.set(func(r *relay) { r.swallows = 1 }) // the first question
					c.strike(l)
				})
			}
			return works["statement"](ctx, tx)
		}), name)
		require.Equal(t, c.runs, runs, name)
		require.Equal(t, before+1, f.done(t))
	}
}

// swallow passes the message on or not, and then neither side hears anything of the other
// until the channel is closed.
func swallow(forward bool, until <-chan struct{}) func(*link) {
	return func(l *link) {
		l.silence()
		if forward {
			l.forward()
		}
		<-until
		l.mute.Unlock()
		if !forward {
			l.forward()
		}
	}
}

// The context ends while COMMIT is on its way, in all the ways in which it can be on its
// way. The call tells what became of it: nil if it is committed, else an error that says that
// it is not, and only where nobody can be asked that it is unknown.
func TestContextEndsWhileCommitIsOnItsWay(t *testing.T) {
	t.Parallel()
	const unknown = "unknown"
	strikes := map[string]func(gone <-chan struct{}) func(*link){
		"forwarded":        func(<-chan struct{}) func(*link) { return (*link).forward },
		"cut before":       func(<-chan struct{}) func(*link) { return cutBefore },
		"cut after":        func(<-chan struct{}) func(*link) { return cutAfter },
		"answer dropped":   func(<-chan struct{}) func(*link) { return dropAnswer },
		"swallowed":        func(gone <-chan struct{}) func(*link) { return swallow(false, gone) },
		"answer swallowed": func(gone <-chan struct{}) func(*link) { return swallow(true, gone) },
	}
	for _, c := range []struct {
		strike  string
		away    bool   // for new connections too
		outcome string // "" if it is a matter of chance
		keys    []string
	}{
		{"forwarded", false, "committed", []string{"", "k"}},
		{"cut before", false, "not", []string{"", "k"}},
		{"cut after", false, "", []string{"", "k"}},
		{"answer dropped", false, "committed", []string{"", "k"}},
		{"swallowed", false, "not", []string{""}},
		{"answer swallowed", false, "committed", []string{"k"}},
		{"swallowed", true, unknown, []string{"k"}},
		{"answer swallowed", true, unknown, []string{""}},
	} {
		for _, key := range c.keys {
			t.Run(fmt.Sprint(c.strike, c.away, key), func(t *testing.T) {
				f := keyed(t, txn.Config{})
				r := newRelay(t, f.AppURL())
				d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: 2 * time.Second})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				gone := make(chan struct{})
				defer close(gone)
				work := works["statement"]
				if key != "" {
					work = works["queued"]
				}
				runs, open := 0, func() {}
				defer func() { open() }()
				err := txn.WithTx(ctx, d, txn.Options{IdempotencyKey: key}, func(ctx context.Context, tx *txn.Tx) error {
					runs++
					r.arm(commit, func(l *link) {
						if c.away {
							open = r.shut()
						}
						cancel()
						strikes[c.strike](gone)(l)
					})
					return work(ctx, tx)
				})
				require.Equal(t, 1, runs, "nobody waits for another attempt")
				_, isUnknown := errors.AsType[*txn.CommitUnknownError](err)
				require.Equal(t, c.outcome == unknown, isUnknown, "%v", err)
				if isUnknown {
					return
				}
				done := f.done(t)
				require.Equal(t, err == nil, done == 1, "%v", err)
				switch c.outcome {
				case "committed":
					require.NoError(t, err)
				case "not":
					require.Error(t, err)
				}
			})
		}
	}
}

// The answer comes after the deadline, and before the call has given up.
func TestAnswerToCommitIsLate(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute})
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Timeout: 300 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, swallow(true, ctx.Done()))
		return works["statement"](ctx, tx)
	}))
	require.Equal(t, 1, r.connections(), "nobody had to be asked")
	require.EqualValues(t, 1, f.done(t))
}

// A pooler that lost its server sends an error of its own in the place of the answers that it
// did not get. It looks like the server's, and says nothing about COMMIT.
func TestErrorOfAPooler(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, c := range []struct {
		code    string
		pooler  bool
		key     string
		unknown bool
	}{
		{"08P01", false, "", true}, {"08P01", false, "a", false},
		{"08P01", true, "", true}, {"08P01", true, "b", false},
		{"57P01", true, "", true}, {"57P01", true, "c", false},
	} {
		before, runs := f.done(t), 0
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{Pooler: c.pooler})
		err := txn.WithTx(t.Context(), d, txn.Options{IdempotencyKey: c.key}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			r.arm(commit, func(l *link) {
				l.silence()
				l.forward()
				<-l.answered
				e := &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: c.code, Message: "server conn crashed?"}
				text, err := e.Encode(nil)
				if err != nil {
					t.Error(err)
				}
				_, _ = l.client.Write(text)
				l.hangUp()
				l.mute.Unlock()
				l.end()
			})
			return works["queued"](ctx, tx)
		})
		require.Equal(t, 1, runs, "%+v", c)
		require.Equal(t, before+1, f.done(t), "the server had done it")
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.Equal(t, c.unknown, unknown, "%+v: %v", c, err)
		if !unknown {
			require.NoError(t, err)
		}
	}
}
