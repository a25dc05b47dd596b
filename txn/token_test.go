package txn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Rule: work with an idempotency key is done once, and its key tells what became of it.

// goose splits a migration in goose's format into its statements.
func goose(text string) (up, down []string) {
	var statement strings.Builder
	to, whole := &up, false
	end := func() {
		if s := strings.TrimSpace(statement.String()); s != "" {
			*to = append(*to, s)
		}
		statement.Reset()
	}
	for line := range strings.Lines(text) {
		switch command, ok := strings.CutPrefix(strings.TrimSpace(line), "-- +goose "); {
		case ok && command == "Up":
			to = &up
		case ok && command == "Down":
			to = &down
		case ok && command == "StatementBegin":
			whole = true
		case ok && command == "StatementEnd":
			whole = false
			end()
		case strings.HasPrefix(strings.TrimSpace(line), "--"):
		default:
			statement.WriteString(line)
			if !whole && strings.HasSuffix(strings.TrimSpace(line), ";") {
				end()
			}
		}
	}
	return up, down
}

func migrations(t testing.TB) (up, down []string) {
	t.Helper()
	names, err := fs.Glob(txn.Migrations, "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		text, err := fs.ReadFile(txn.Migrations, name)
		require.NoError(t, err)
		u, d := goose(string(text))
		up, down = append(up, u...), append(d, down...)
	}
	return up, down
}

// keyGrants are the privileges that Migrations' comment asks for.
const keyGrants = `grant usage on schema interlock to ` + pgserver.AppRole + `;
	grant select, insert, update, delete on interlock.commit_token to ` + pgserver.AppRole

// keyed is a fixture with the table of keys.
func keyed(t *testing.T, cfg txn.Config) *fixture {
	t.Helper()
	f := setup(t, cfg)
	f.addKeys(t)
	return f
}

func (f *fixture) addKeys(t testing.TB) {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), f.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.Background())
	up, _ := migrations(t)
	for _, sql := range append(up, keyGrants) {
		_, err := owner.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

// claimed are the keys that were committed with.
func (f *fixture) claimed(t *testing.T) []string {
	t.Helper()
	return column[string](t, f.db.Pool(), "select key from interlock.commit_token where attempt is not null order by key")
}

func column[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) []T {
	t.Helper()
	rows, err := pool.Query(context.WithoutCancel(t.Context()), sql, args...)
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err)
	return values
}

// withdraw is work that shows how often it was done.
const withdraw = "update accounts set balance = balance - 1 where id = 1"

// done is how often withdraw was committed.
func (f *fixture) done(t *testing.T) int64 {
	t.Helper()
	return 1000 - column[int64](t, f.db.Pool(), "select balance from accounts where id = 1")[0]
}

var levels = []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable}

// The ways in which the work of a transaction can reach the server.
var works = map[string]func(context.Context, *txn.Tx) error{
	"statement": func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, withdraw)
		return err
	},
	"rows": func(ctx context.Context, tx *txn.Tx) error {
		return tx.QueryRow(ctx, withdraw+" returning id").Scan(new(int64))
	},
	"batch": func(ctx context.Context, tx *txn.Tx) error {
		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue(withdraw)
		return tx.SendBatch(ctx, b).Close()
	},
	"queued": func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(withdraw)
		return nil
	},
	"flushed": func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(withdraw)
		return tx.Flush(ctx)
	},
	"read, then queued": func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(withdraw)
		return tx.QueryRow(ctx, "select 1").Scan(new(int))
	},
	"lock table first": func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "lock table notes in share mode"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, withdraw)
		return err
	},
	"several in one text": func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "select 1; "+withdraw)
		return err
	},
	"savepoint": func(ctx context.Context, tx *txn.Tx) error {
		return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, withdraw)
			return err
		})
	},
	"undone savepoint first": func(ctx context.Context, tx *txn.Tx) error {
		_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := tx.Exec(ctx, "insert into notes (body) values ('undone')"); err != nil {
				return err
			}
			return errBusiness
		})
		_, err := tx.Exec(ctx, withdraw)
		return err
	},
	"failed savepoint first": func(ctx context.Context, tx *txn.Tx) error {
		_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "P0001") })
		tx.Queue(withdraw)
		return nil
	},
	"work, then an undone savepoint": func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(withdraw)
		_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "P0001") })
		return nil
	},
}

func TestKeyIsCommittedOnce(t *testing.T) {
	f := keyed(t, txn.Config{})
	want := int64(0)
	for _, level := range levels {
		for name, work := range works {
			t.Run(level.String()+"/"+name, func(t *testing.T) {
				opts := txn.Options{Label: "pay", Isolation: level, IdempotencyKey: t.Name(), Fingerprint: "x"}
				call := func(opts txn.Options) error { return txn.WithTx(t.Context(), f.db, opts, work) }
				require.NoError(t, call(opts))
				want++
				require.Equal(t, want, f.done(t))
				require.Contains(t, f.claimed(t), t.Name())

				again := call(opts)
				require.ErrorIs(t, again, txn.ErrAlreadyCommitted)
				require.ErrorContains(t, again, "pay")
				require.False(t, txn.IsRetryable(again))
				opts.Fingerprint = "y"
				require.ErrorIs(t, call(opts), txn.ErrKeyReused)
				opts.Fingerprint = ""
				require.ErrorIs(t, call(opts), txn.ErrAlreadyCommitted, "who does not say what the work is does not ask")
				require.Equal(t, want, f.done(t), "nothing was done again")
			})
		}
	}
	require.Empty(t, f.notes(t))
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

// At ReadCommitted the function's first statement is not executed if the key is taken.
func TestTakenKeyComesBeforeTheFirstStatement(t *testing.T) {
	f := keyed(t, txn.Config{})
	opts := txn.Options{IdempotencyKey: "k"}
	require.NoError(t, txn.WithTx(t.Context(), f.db, opts, works["statement"]))
	_, err := f.Admin(t).Exec(t.Context(), "create sequence executed; grant usage on sequence executed to "+pgserver.AppRole)
	require.NoError(t, err)
	err = txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
		err := tx.QueryRow(ctx, "select nextval('executed')").Scan(new(int64))
		require.Error(t, err)
		require.ErrorIs(t, write(ctx, tx, "undone"), txn.ErrRollbackOnly)
		return nil
	})
	require.ErrorIs(t, err, txn.ErrAlreadyCommitted)
	require.Equal(t, []bool{false}, column[bool](t, f.Admin(t), "select is_called from executed"))
}

// The key is taken, and then the connection is lost before it is known for what.
func TestConnectionLostWithATakenKey(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, level := range levels {
		for i, text := range []string{"rollback\x00", "select fingerprint"} {
			for fingerprint, want := range map[string]error{"": txn.ErrAlreadyCommitted, "x": txn.ErrAlreadyCommitted, "y": txn.ErrKeyReused} {
				opts := txn.Options{Isolation: level, IdempotencyKey: fmt.Sprint(level, i, fingerprint), Fingerprint: "x"}
				require.NoError(t, txn.WithTx(t.Context(), f.db, opts, works["statement"]))
				before := f.done(t)
				r := newRelay(t, f.AppURL())
				d := r.open(t, f.AppURL(), txn.Config{BaseDelay: time.Nanosecond})
				opts.Fingerprint = fingerprint
				r.arm(text, cutBefore)
				require.ErrorIs(t, txn.WithTx(t.Context(), d, opts, works["statement"]), want)
				require.Equal(t, before, f.done(t))
			}
		}
	}
}

// A function that sends nothing has done its work, too: whatever that was, it is not to be
// done again.
func TestKeyOfAFunctionThatSendsNothing(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, level := range levels {
		opts := txn.Options{Isolation: level, IdempotencyKey: level.String()}
		nothing := func(context.Context, *txn.Tx) error { return nil }
		require.NoError(t, txn.WithTx(t.Context(), f.db, opts, nothing))
		require.ErrorIs(t, txn.WithTx(t.Context(), f.db, opts, nothing), txn.ErrAlreadyCommitted)
	}
	require.Len(t, f.claimed(t), len(levels))
}

// Several callers with one key are at work at once. One does it; the others hear that it was
// done, and wait for one another without a deadlock.
func TestConcurrentCallsWithOneKey(t *testing.T) {
	f := keyed(t, txn.Config{})
	const callers = 8
	for i, level := range levels {
		for _, way := range []string{"statement", "queued", "lock table first", "undone savepoint first"} {
			if way == "lock table first" && level != txn.RepeatableRead {
				continue // its callers wait for one another before the key does
			}
			before := f.done(t)
			key := fmt.Sprint(i, way)
			b := txntest.NewBarrier(callers)
			failed := make(chan error, callers)
			for range callers {
				go func() {
					opts := txn.Options{Isolation: level, IdempotencyKey: key, MaxAttempts: 10}
					failed <- txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
						if tx.Attempt() == 1 {
							if err := b.Wait(ctx); err != nil {
								return err
							}
						}
						return works[way](ctx, tx)
					})
				}()
			}
			won := 0
			for range callers {
				switch err := <-failed; {
				case err == nil:
					won++
				default:
					require.ErrorIs(t, err, txn.ErrAlreadyCommitted, "%s/%s", level, way)
				}
			}
			require.Equal(t, 1, won, "%s/%s", level, way)
			require.Equal(t, before+1, f.done(t))
		}
	}
}

// While the first caller is at work the second waits, and does not start.
func TestKeyIsWaitedFor(t *testing.T) {
	f := keyed(t, txn.Config{})
	admin := f.Admin(t)
	for end, want := range map[error]error{nil: txn.ErrAlreadyCommitted, errBusiness: nil} {
		opts := txn.Options{IdempotencyKey: fmt.Sprint(end)}
		second := make(chan error, 1)
		err := txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, works["statement"](ctx, tx))
			go func() { second <- txn.WithTx(t.Context(), f.db, opts, works["statement"]) }()
			blocked(t, admin)
			return end
		})
		require.Equal(t, end, err)
		require.ErrorIs(t, <-second, want)
	}
	require.EqualValues(t, 2, f.done(t))
}

// A limit for locks bounds that wait too.
func TestLockTimeoutBoundsTheWaitForAKey(t *testing.T) {
	f := keyed(t, txn.Config{})
	opts := txn.Options{IdempotencyKey: "k"}
	require.NoError(t, txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, works["statement"](ctx, tx))
		opts.LockTimeout = time.Millisecond
		require.ErrorIs(t, txn.WithTx(txn.Detach(ctx), f.db, opts, works["statement"]), txn.ErrLockNotAvailable)
		return nil
	}))
	require.EqualValues(t, 1, f.done(t))
}

// blocked waits until a session waits for another's lock.
func blocked(t *testing.T, admin *pgxpool.Pool) {
	t.Helper()
	await(t, admin, "select exists (select from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)")
}

// await waits until the query says true.
func await(t *testing.T, q txntest.Querier, sql string, args ...any) {
	t.Helper()
	var ok bool
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		require.NoError(t, q.QueryRow(t.Context(), "select ("+sql+") from pg_sleep(0.002)", args...).Scan(&ok))
		if ok {
			return
		}
	}
	t.Fatalf("in vain waited for: %s\n\t%s", sql, txntest.Sessions(t.Context(), q))
}

// What failed has not used its key up.
func TestKeyOfAFailureIsFree(t *testing.T) {
	f := keyed(t, txn.Config{BaseDelay: time.Nanosecond})
	for _, level := range levels {
		opts := txn.Options{Isolation: level, IdempotencyKey: level.String()}
		for range 2 {
			err := txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, works["statement"](ctx, tx))
				return errBusiness
			})
			require.Equal(t, errBusiness, err)
			err = txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "40001") })
			require.Equal(t, "40001", txn.SQLState(err))
		}
		require.NoError(t, txn.WithTx(t.Context(), f.db, opts, works["statement"]))
	}
	require.EqualValues(t, len(levels), f.done(t))
}

// The attempts of a call have one key, and only the last has it for good.
func TestKeyAcrossAttempts(t *testing.T) {
	f := keyed(t, txn.Config{BaseDelay: time.Nanosecond})
	f.failAtCommit(t)
	for _, level := range levels {
		for where, failing := range map[string]func(context.Context, *txn.Tx) error{
			"statement": func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "40001") },
			"queued":    func(_ context.Context, tx *txn.Tx) error { tx.Queue("select fail('40001')"); return nil },
			"commit":    func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "fail 40001") },
		} {
			opts := txn.Options{Isolation: level, IdempotencyKey: level.String() + where}
			runs := 0
			err := txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
				if runs++; runs == 1 {
					return failing(ctx, tx)
				}
				return works["statement"](ctx, tx)
			})
			require.NoError(t, err, "%s at %s", where, level)
			require.Equal(t, 2, runs)
		}
	}
	require.EqualValues(t, 9, f.done(t))
	require.Len(t, f.claimed(t), 9)
}

// failAtCommit makes COMMIT fail with the SQLSTATE that a note of the form "fail 40001" says.
func (f *fixture) failAtCommit(t *testing.T) {
	t.Helper()
	_, err := f.Admin(t).Exec(t.Context(), `
		create function fail_late() returns trigger language plpgsql security definer as $$ begin
			if new.body like 'fail %' then perform fail(substr(new.body, 6)); end if; return null; end $$;
		create constraint trigger fail_late after insert on notes deferrable initially deferred
			for each row execute function fail_late()`)
	require.NoError(t, err)
}

// The faults that a COMMIT can meet on its way. committed is what becomes of it, if that is
// not a matter of chance.
var commitFaults = []struct {
	name      string
	committed string
	do        func(t *testing.T, f *fixture, admin *pgxpool.Pool) func(*link)
}{
	{"cut before", "no", func(*testing.T, *fixture, *pgxpool.Pool) func(*link) { return cutBefore }},
	{"cut after", "", func(*testing.T, *fixture, *pgxpool.Pool) func(*link) { return cutAfter }},
	{"answer dropped", "yes", func(*testing.T, *fixture, *pgxpool.Pool) func(*link) { return dropAnswer }},
	{"terminated before", "no", func(t *testing.T, f *fixture, admin *pgxpool.Pool) func(*link) {
		return func(l *link) { l.relay.terminate(admin); l.forward() }
	}},
	{"terminated after", "", func(t *testing.T, f *fixture, admin *pgxpool.Pool) func(*link) {
		return func(l *link) { l.forward(); l.relay.terminate(admin) }
	}},
}

// terminate ends the sessions that came by way of the relay.
func (r *relay) terminate(admin *pgxpool.Pool) {
	_, _ = admin.Exec(context.Background(), `select pg_terminate_backend(pid, 5000) from pg_stat_activity
		where datname = current_database() and application_name = $1`, r.name())
}

// Whatever becomes of a COMMIT on its way: the call returns nil and the work is done once. The
// key tells the outcome also where everything travelled with COMMIT.
func TestLostCommitWithAKey(t *testing.T) {
	f := keyed(t, txn.Config{})
	admin := f.Admin(t)
	want := int64(0)
	for _, resolution := range []txn.CommitResolution{txn.ResolveByXID, txn.ResolveNever} {
		for _, level := range levels {
			for _, way := range []string{"statement", "queued", "undone savepoint first"} {
				for _, fault := range commitFaults {
					t.Run(fmt.Sprintf("%d/%s/%s/%s", resolution, level, way, fault.name), func(t *testing.T) {
						r := newRelay(t, f.AppURL())
						d := r.open(t, f.AppURL(), txn.Config{ResolveCommits: resolution, BaseDelay: time.Nanosecond})
						opts := txn.Options{Isolation: level, IdempotencyKey: t.Name()}
						runs := 0
						work := func(ctx context.Context, tx *txn.Tx) error {
							if runs++; runs == 1 {
								r.arm(commit, fault.do(t, f, admin))
							}
							return works[way](ctx, tx)
						}
						require.NoError(t, txn.WithTx(t.Context(), d, opts, work))
						want++
						require.Equal(t, want, f.done(t))
						if level != txn.Serializable { // where runs may fail for reasons of their own
							switch fault.committed {
							case "yes":
								require.Equal(t, 1, runs)
							case "no":
								require.Equal(t, 2, runs)
							}
						}
						require.ErrorIs(t, txn.WithTx(t.Context(), d, opts, work), txn.ErrAlreadyCommitted)
						require.Equal(t, want, f.done(t))
					})
				}
			}
		}
	}
}

// A COMMIT is held back in the network, its attempt is found not committed, and then it
// arrives: it must not be executed any more.
func TestLateCommitOfAnAttemptThatWasGivenUp(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, level := range levels {
		for _, way := range []string{"statement", "queued", "undone savepoint first"} {
			t.Run(level.String()+"/"+way, func(t *testing.T) {
				r := newRelay(t, f.AppURL())
				d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second})
				opts := txn.Options{Isolation: level, IdempotencyKey: t.Name(), MaxAttempts: 1}
				release := make(chan struct{})
				var late sync.WaitGroup
				late.Add(2)
				for range 2 { // both come late
					err := txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
						r.arm(commit, func(l *link) {
							l.hangUp()
							go func() {
								defer late.Done()
								<-release
								l.forward()
								l.end()
							}()
						})
						return works[way](ctx, tx)
					})
					require.True(t, txn.IsRetryable(err), "%v", err)
					require.NotContains(t, f.claimed(t), t.Name())
				}
				close(release)
				late.Wait()
				require.NotContains(t, f.claimed(t), t.Name(), "not committed is final")
				before := f.done(t)
				require.NoError(t, txn.WithTx(t.Context(), f.db, opts, works[way]), "the key is free for another attempt")
				require.Equal(t, before+1, f.done(t))
				require.Contains(t, f.claimed(t), t.Name())
			})
		}
	}
	require.EqualValues(t, 9, f.done(t))
}

// While a COMMIT is lost, another call commits with the key: this one has not done the work,
// and says whether the other did the same.
func TestLostCommitWhoseKeyAnotherCallTook(t *testing.T) {
	f := keyed(t, txn.Config{})
	for fingerprint, want := range map[string]error{"x": txn.ErrAlreadyCommitted, "y": txn.ErrKeyReused} {
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{})
		opts := txn.Options{IdempotencyKey: fingerprint, Fingerprint: "x"}
		other := opts
		other.Fingerprint = fingerprint
		before := f.done(t)
		err := txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			open := func() {}
			r.arm(commit, func(l *link) {
				open = r.shut()
				cutBefore(l)
				if err := txn.WithTx(context.Background(), f.db, other, works["statement"]); err != nil {
					t.Error(err)
				}
				open()
			})
			return works["statement"](ctx, tx)
		})
		require.ErrorIs(t, err, want)
		require.Equal(t, before+1, f.done(t))
	}
}

// Nobody can be asked: the call says so, and may be repeated as it is, because of its key.
func TestUnknownCommitWithAKeyIsRepeated(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, fault := range []struct {
		name   string
		do     func(*link)
		second error
	}{{"before", cutBefore, nil}, {"answer dropped", dropAnswer, txn.ErrAlreadyCommitted}} {
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: 100 * time.Millisecond})
		opts := txn.Options{Label: "pay", IdempotencyKey: fault.name}
		err := txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			r.arm(commit, func(l *link) {
				r.set(func(r *relay) { r.refuses = true })
				fault.do(l)
			})
			tx.Queue(withdraw)
			return nil
		})
		unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "pay", unknown.Label)
		require.NotEmpty(t, unknown.Why)
		require.Equal(t, r.ln.Addr().String(), strings.Split(unknown.Server, ",")[0])
		r.set(func(r *relay) { r.refuses = false })
		require.ErrorIs(t, txn.WithTx(t.Context(), d, opts, works["queued"]), fault.second)
	}
	require.EqualValues(t, 2, f.done(t))
}

func TestDeleteCommitTokens(t *testing.T) {
	f := keyed(t, txn.Config{Options: txn.Options{Isolation: txn.Serializable}})
	_, err := f.Admin(t).Exec(t.Context(), `insert into interlock.commit_token (key, attempt, created_at)
		select 'old' || n, 'a', now() - interval '2 days' from generate_series(1, 3500) n`)
	require.NoError(t, err)
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: "new"}, works["statement"]))

	var deleted atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			n, err := f.db.DeleteCommitTokens(context.Background(), 24*time.Hour)
			if err != nil {
				t.Error(err)
			}
			deleted.Add(n)
		})
	}
	all.Wait()
	require.EqualValues(t, 3500, deleted.Load())
	require.Equal(t, []string{"new"}, f.claimed(t))

	// What was deleted may be done again.
	n, err := f.db.DeleteCommitTokens(t.Context(), 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: "new"}, works["statement"]))
	_, err = f.db.DeleteCommitTokens(t.Context(), -time.Hour)
	require.ErrorContains(t, err, "negative")
	require.Equal(t, []string{"new"}, f.claimed(t))
}

func TestMigrations(t *testing.T) {
	f := setup(t, txn.Config{})
	owner, err := pgx.Connect(t.Context(), f.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.Background())
	up, down := migrations(t)
	run := func(statements ...string) {
		for _, sql := range statements {
			_, err := owner.Exec(t.Context(), sql)
			require.NoError(t, err, sql)
		}
	}
	exists := func() bool {
		return column[bool](t, f.db.Pool(), "select to_regnamespace('interlock') is not null")[0]
	}
	for range 2 {
		run(up...)
		run(keyGrants)
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: "k"}, works["statement"]))
		require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: "k"}, works["statement"]), txn.ErrAlreadyCommitted)
		run(down...)
		require.False(t, exists())
	}
	// Others may keep something in the schema.
	for _, others := range []string{
		"create table interlock.theirs ()", "create type interlock.theirs as enum ()",
		"create function interlock.theirs() returns int language sql as 'select 1'",
	} {
		run(up...)
		run(others)
		run(down...)
		require.True(t, exists(), others)
		run("drop schema interlock cascade")
	}
	for range 2 {
		run(append([]string{"create schema if not exists interlock"}, up...)...)
		run(down...)
	}
}

// What is missing is said before anything is done.
func TestKeyWithoutItsTable(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, level := range levels {
		for _, way := range []string{"statement", "queued"} {
			err := txn.WithTx(t.Context(), f.db, txn.Options{Isolation: level, IdempotencyKey: "k"}, works[way])
			require.Equal(t, "42P01", txn.SQLState(err))
			require.ErrorContains(t, err, "txn.Migrations")
		}
	}
	f.addKeys(t)
	_, err := f.Admin(t).Exec(t.Context(), "revoke update on interlock.commit_token from "+pgserver.AppRole)
	require.NoError(t, err)
	err = txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: "k"}, func(ctx context.Context, tx *txn.Tx) error {
		require.Error(t, works["statement"](ctx, tx))
		return nil
	})
	require.Equal(t, "42501", txn.SQLState(err))
	require.ErrorContains(t, err, "txn.Migrations")
	require.Zero(t, f.done(t))
}

func TestKeyOfAJoinedCall(t *testing.T) {
	f := keyed(t, txn.Config{})
	for _, c := range []struct{ outer, inner txn.Options }{
		{txn.Options{}, txn.Options{IdempotencyKey: "k"}},
		{txn.Options{IdempotencyKey: "k"}, txn.Options{IdempotencyKey: "other"}},
		{txn.Options{IdempotencyKey: "k"}, txn.Options{IdempotencyKey: "k", Fingerprint: "x"}},
	} {
		err := txn.WithTx(t.Context(), f.db, c.outer, func(ctx context.Context, tx *txn.Tx) error {
			return txn.WithTx(ctx, tx, c.inner, works["statement"])
		})
		require.ErrorIs(t, err, txn.ErrOptionsConflict)
		require.ErrorContains(t, err, "IdempotencyKey")
	}
	require.Empty(t, f.claimed(t))
	opts := txn.Options{IdempotencyKey: "k", Fingerprint: "x"}
	require.NoError(t, txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, txn.WithTx(ctx, tx, txn.Options{}, works["statement"]))
		return txn.WithTx(ctx, tx, opts, works["statement"])
	}))
	require.Equal(t, []string{"k"}, f.claimed(t))
	require.EqualValues(t, 2, f.done(t))
}

func TestKeysThatCannotBe(t *testing.T) {
	f := keyed(t, txn.Config{})
	long := strings.Repeat("ä", 200)
	for field, opts := range map[string][]txn.Options{
		"IdempotencyKey": {
			{IdempotencyKey: long + "x"}, {IdempotencyKey: "a\x00b"}, {IdempotencyKey: "\xff"},
			{IdempotencyKey: "k", Fingerprint: "\x00"}, {IdempotencyKey: "k", Fingerprint: "\xff"},
		},
		"Fingerprint": {{Fingerprint: "x"}},
	} {
		for _, o := range opts {
			err := txn.WithTx(t.Context(), f.db, o, works["statement"])
			wrong, ok := errors.AsType[*txn.OptionsError](err)
			require.True(t, ok, "%q: %v", o.IdempotencyKey, err)
			require.Equal(t, field, wrong.Field)
		}
	}
	for _, o := range []txn.Options{{IdempotencyKey: "k"}, {Fingerprint: "x"}} {
		err := txn.WithReadTx(t.Context(), f.db, o, func(context.Context, *txn.ReadTx) error { return nil })
		require.ErrorAs(t, err, new(*txn.OptionsError))
	}
	d := txn.New(f.db.Pool(), txn.Config{Options: txn.Options{IdempotencyKey: "k"}})
	require.ErrorContains(t, txn.WithTx(t.Context(), d, txn.Options{}, works["statement"]), "per call only")
	require.Empty(t, f.claimed(t))

	strange := []string{long, "'; drop table notes; --", "\\", " ", "\u2028"}
	for _, key := range strange {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: key, Fingerprint: key}, works["queued"]))
		require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{IdempotencyKey: key, Fingerprint: key}, works["queued"]), txn.ErrAlreadyCommitted)
	}
	require.ElementsMatch(t, strange, f.claimed(t))
}

// FuzzIdempotencyKey: any key is refused, or stored as it is, and then recognised, whichever
// way statements are sent.
func FuzzIdempotencyKey(f *testing.F) {
	for _, text := range hostileValues {
		f.Add(text, text, "other", false)
		f.Add(text, "", text, true)
	}
	f.Add(strings.Repeat("\u00e4", 200), "x", "x", true)
	f.Add(strings.Repeat("\u00e4", 201), "x", "x", true)
	f.Add("", "x", "", false)
	f.Add("\xd7", "\xb4", "0", true) // together they would be one letter
	x := setupFuzz(f, txn.Config{})
	x.addKeys(f)
	simple := txn.New(x.Pool(f, func(cfg *pgxpool.Config) { cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol }), txn.Config{})
	f.Fuzz(func(t *testing.T, key, fingerprint, other string, simply bool) {
		d := x.db
		if simply {
			d = simple
		}
		_, err := x.db.Pool().Exec(t.Context(), "delete from interlock.commit_token")
		require.NoError(t, err)
		ran := 0
		work := func(fingerprint string) error {
			opts := txn.Options{IdempotencyKey: key, Fingerprint: fingerprint, MaxAttempts: 1}
			return txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
				ran++
				return nil
			})
		}
		err = work(fingerprint)
		if refused, ok := errors.AsType[*txn.OptionsError](err); ok {
			right := text(key) && text(fingerprint) && utf8.RuneCountInString(key) <= 200
			require.False(t, right && (key != "" || fingerprint == ""), "%q, %q: %v", key, fingerprint, refused)
			require.Zero(t, ran)
			return
		}
		require.NoError(t, err, "%q, %q", key, fingerprint)
		if key == "" {
			return
		}
		var storedKey, storedFingerprint string
		require.NoError(t, x.db.Pool().QueryRow(t.Context(), "select key, fingerprint from interlock.commit_token where attempt is not null").Scan(&storedKey, &storedFingerprint))
		require.Equal(t, []string{key, fingerprint}, []string{storedKey, storedFingerprint})
		require.ErrorIs(t, work(fingerprint), txn.ErrAlreadyCommitted)
		if !text(other) {
			return
		}
		want := txn.ErrKeyReused
		if other == fingerprint || other == "" {
			want = txn.ErrAlreadyCommitted
		}
		require.ErrorIs(t, work(other), want)
	})
}

// text reports whether PostgreSQL can store a string as text.
func text(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// What stands between may number sessions by itself, beyond what a process can have for a
// number, and nobody can be made to stop by that. The key is asked for all the same.
func TestKeyOfASessionNumberedByAnother(t *testing.T) {
	f := keyed(t, txn.Config{})
	const resolve = time.Second
	r := newRelay(t, f.AppURL())
	cfg := poolConfig(t, r.url(t, f.AppURL()))
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return &renumbered{Conn: c}, err
	}
	d := openConfig(t, cfg, txn.Config{ResolveTimeout: resolve})
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, works["statement"])) // brings the server's epoch
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{IdempotencyKey: "x"}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, func(l *link) {
			time.AfterFunc(resolve*6/10, r.shut())
			dropAnswer(l)
		})
		return works["queued"](ctx, tx)
	}))
	require.EqualValues(t, 2, f.done(t))
}

// renumbered is a connection whose session has another number than its server gave it.
type renumbered struct {
	net.Conn
	done bool
}

func (c *renumbered) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if i := bytes.Index(b[:n], []byte("K\x00\x00\x00\x0c")); i >= 0 && !c.done {
		b[i+5], c.done = 0xf0, true
	}
	return n, err
}
