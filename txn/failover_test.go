package txn_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Rule: after a crash or a failover the server may have given a transaction's id to another
// one. What it says of that is not believed; what a key says is.

// lazy are settings with which a server writes nothing to its disk that it need not: what was
// not committed is lost in a crash, ids included.
var lazy = map[string]string{"wal_writer_delay": "10s", "wal_writer_flush_after": "0", "autovacuum": "off"}

func ownServer(t *testing.T, settings map[string]string) *pgserver.Server {
	t.Helper()
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true, Settings: settings})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

// connected runs do on a connection of its own.
func connected(t *testing.T, url string, do func(*pgx.Conn)) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer c.Close(context.Background())
	do(c)
}

// reuse commits transactions until one of them had the id. It fails if the id was not lost.
func reuse(t *testing.T, url, xid string) {
	t.Helper()
	wanted, err := strconv.ParseInt(xid, 10, 64)
	require.NoError(t, err)
	connected(t, url, func(c *pgx.Conn) {
		for first, id := true, int64(0); id < wanted; first = false {
			err := c.QueryRow(t.Context(), "update accounts set version = version + 1 where id = 4 returning pg_current_xact_id()::text::bigint").Scan(&id)
			require.NoError(t, err)
			require.False(t, first && id > wanted, "the id %s was not lost: the next is %d", xid, id)
		}
		var status string
		require.NoError(t, c.QueryRow(t.Context(), "select pg_xact_status($1::text::xid8)", xid).Scan(&status))
		require.Equal(t, "committed", status, "this is what must not be believed")
	})
}

// killOne ends a process of the server as a failure of the system would: the server ends all
// sessions, recovers, and goes on under the same main process.
func killOne(t *testing.T, f *fixture) {
	t.Helper()
	const life = "select pg_postmaster_start_time()::text, (select stats_reset::text from pg_stat_bgwriter)"
	var start, reset, startAfter, resetAfter string
	connected(t, f.AdminURL(), func(c *pgx.Conn) {
		require.NoError(t, c.QueryRow(t.Context(), life).Scan(&start, &reset))
		p, err := os.FindProcess(int(c.PgConn().PID()))
		require.NoError(t, err)
		require.NoError(t, p.Kill())
	})
	require.Eventually(t, func() bool {
		c, err := pgx.Connect(t.Context(), f.AdminURL())
		if err != nil {
			return false
		}
		defer c.Close(context.Background())
		return c.QueryRow(t.Context(), life).Scan(&startAfter, &resetAfter) == nil && resetAfter != reset
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, start, startAfter, "the main process is the same")
}

// lose runs work whose COMMIT is lost: when it is on its way, strike decides what the server
// gets, and nobody can connect until meanwhile has been called, with the transaction's id.
func lose(t *testing.T, r *relay, d *txn.DB, opts txn.Options, strike func(*link), meanwhile func(xid string)) (runs int, xid string, err error) {
	t.Helper()
	struck, result := make(chan struct{}), make(chan error, 1)
	var open func()
	go func() {
		result <- txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			if runs++; runs > 1 {
				return works["statement"](ctx, tx)
			}
			if err := works["statement"](ctx, tx); err != nil {
				return err
			}
			r.arm(commit, func(l *link) {
				open = r.shut()
				strike(l)
				close(struck)
			})
			return tx.QueryRow(ctx, "select pg_current_xact_id()::text").Scan(&xid)
		})
	}()
	select {
	case <-struck:
	case err := <-result:
		require.NoError(t, err)
	}
	meanwhile(xid)
	open()
	err = <-result
	return runs, xid, err
}

// keepBack hangs up on the client and keeps the message: the server hears nothing, not even
// of the end.
func keepBack(l *link) { l.hangUp() }

// The COMMIT never arrives, the server crashes, and the transaction's id is given to another
// one, which is committed.
func TestIDsThatAreReusedAfterACrash(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(*testing.T, *fixture){
		"the whole server": func(t *testing.T, f *fixture) { require.NoError(t, f.Server().Crash(t.Context())) },
		"one process":      killOne,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setupOn(t, ownServer(t, lazy), txn.Config{})
			f.addKeys(t)
			for _, key := range []string{"", "k"} {
				before := f.done(t)
				connected(t, f.AdminURL(), func(c *pgx.Conn) {
					_, err := c.Exec(t.Context(), "checkpoint")
					require.NoError(t, err)
				})
				r := newRelay(t, f.AppURL())
				d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute, BaseDelay: time.Nanosecond})
				runs, xid, err := lose(t, r, d, txn.Options{IdempotencyKey: key}, keepBack, func(xid string) {
					crash(t, f)
					f.db.Pool().Reset()
					reuse(t, f.AdminURL(), xid)
				})
				if key != "" {
					require.NoError(t, err)
					require.Equal(t, 2, runs, "the key tells that it was not committed")
					require.Equal(t, before+1, f.done(t))
					continue
				}
				requireRestarted(t, err, xid)
				require.Equal(t, 1, runs)
				require.Equal(t, before, f.done(t), "it was not committed")
			}
		})
	}
}

func requireRestarted(t *testing.T, err error, xid string) {
	t.Helper()
	unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, xid, unknown.XID)
	require.Contains(t, unknown.Why, "the server was restarted since, or is another one")
	require.False(t, txn.IsRetryable(err))
}

// The id was lost in a crash and not given again yet.
func TestIDsThatAreUnknownAfterACrash(t *testing.T) {
	t.Parallel()
	f := setupOn(t, ownServer(t, lazy), txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute})
	_, xid, err := lose(t, r, d, txn.Options{}, keepBack, func(string) {
		require.NoError(t, f.Server().Crash(t.Context()))
		f.db.Pool().Reset()
	})
	requireRestarted(t, err, xid)
	require.Zero(t, f.done(t))
}

// A restart loses nothing. The id is not believed all the same: nobody can tell it from a
// crash of another server in its place.
func TestRestartedServer(t *testing.T) {
	t.Parallel()
	f := setupOn(t, ownServer(t, nil), txn.Config{})
	f.addKeys(t)
	for _, key := range []string{"", "k"} {
		before := f.done(t)
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute})
		runs, xid, err := lose(t, r, d, txn.Options{IdempotencyKey: key}, dropAnswer, func(string) {
			require.NoError(t, f.Server().Restart(t.Context()))
			f.db.Pool().Reset()
		})
		require.Equal(t, 1, runs)
		require.Equal(t, before+1, f.done(t))
		if key == "" {
			requireRestarted(t, err, xid)
		} else {
			require.NoError(t, err)
		}
	}
}

// A standby takes over that has not got the transaction, and gives its id to another one. The
// old primary had committed it. By the id the outcome is unknown, and not "committed"; by the
// key the work is found missing and done where it counts now.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "k"} {
		t.Run("key "+key, func(t *testing.T) {
			t.Parallel()
			f := setupOn(t, ownServer(t, lazy), txn.Config{})
			f.addKeys(t)
			standby, err := pgserver.StartStandby(t.Context(), f.Server(), pgserver.Config{NoSync: true})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, standby.Stop()) })
			name := column[string](t, f.db.Pool(), "select current_database()::text")[0]
			connected(t, standby.AdminURL("postgres"), func(c *pgx.Conn) {
				lsn := column[string](t, f.db.Pool(), "select pg_current_wal_lsn()::text")[0]
				await(t, c, "select pg_last_wal_replay_lsn() >= $1::pg_lsn", lsn)
				// From now on it gets nothing.
				for _, sql := range []string{"alter system set primary_conninfo = ''", "select pg_reload_conf()"} {
					_, err := c.Exec(t.Context(), sql)
					require.NoError(t, err)
				}
				await(t, c, "select not exists (select from pg_stat_wal_receiver)")
			})

			r := newRelay(t, f.AppURL())
			d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute, BaseDelay: time.Nanosecond})
			runs, xid, err := lose(t, r, d, txn.Options{IdempotencyKey: key}, dropAnswer, func(xid string) {
				require.EqualValues(t, 1, f.done(t), "the old primary has committed it")
				r.lead(t, standby.AppURL(name))
				require.NoError(t, standby.Promote(t.Context()))
				reuse(t, standby.AdminURL(name), xid)
			})
			done := int64(-1)
			connected(t, standby.AppURL(name), func(c *pgx.Conn) {
				require.NoError(t, c.QueryRow(t.Context(), "select 1000 - balance from accounts where id = 1").Scan(&done))
			})
			if key == "" {
				requireRestarted(t, err, xid)
				require.Equal(t, 1, runs)
				require.Zero(t, done)
				return
			}
			require.NoError(t, err)
			require.Equal(t, 2, runs)
			require.EqualValues(t, 1, done)
			require.ErrorIs(t, txn.WithTx(t.Context(), d, txn.Options{IdempotencyKey: key}, works["statement"]), txn.ErrAlreadyCommitted)
		})
	}
}

// The question comes to a standby that was not promoted yet: it knows no outcome. A key is
// asked for until somebody accepts writes.
func TestQuestionToAStandby(t *testing.T) {
	t.Parallel()
	f := setupOn(t, ownServer(t, nil), txn.Config{})
	f.addKeys(t)
	standby, err := pgserver.StartStandby(t.Context(), f.Server(), pgserver.Config{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Stop()) })
	name := column[string](t, f.db.Pool(), "select current_database()::text")[0]

	// replayed waits until the standby shows what was committed.
	replayed := func(done int) {
		connected(t, standby.AdminURL(name), func(c *pgx.Conn) {
			await(t, c, "select 1000 - balance = $1 from accounts where id = 1", done)
		})
	}

	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute})
	_, xid, err := lose(t, r, d, txn.Options{}, dropAnswer, func(string) {
		r.lead(t, standby.AppURL(name))
		replayed(1)
	})
	unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, xid, unknown.XID)
	require.Contains(t, unknown.Why, "standby")

	r = newRelay(t, f.AppURL())
	d = r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Minute})
	promoted := make(chan error, 1)
	runs, _, err := lose(t, r, d, txn.Options{IdempotencyKey: "k"}, dropAnswer, func(string) {
		r.lead(t, standby.AppURL(name))
		replayed(2)
		asked := r.asked(1)
		go func() {
			<-asked
			promoted <- standby.Promote(context.Background())
		}()
	})
	require.NoError(t, <-promoted)
	require.NoError(t, err)
	require.Equal(t, 1, runs)
}
