package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Rule: where COMMIT waits for a standby, nil means that a standby has it.

// synchronous is a fixture on a primary that waits for a standby which is not there. join
// starts one.
func synchronous(t *testing.T) (f *fixture, join func()) {
	t.Helper()
	f = setupOn(t, ownServer(t, nil), txn.Config{})
	f.addKeys(t)
	waitFor := func(names string) {
		c, err := pgx.Connect(context.Background(), f.AdminURL())
		require.NoError(t, err)
		defer c.Close(context.Background())
		for _, sql := range []string{"alter system set synchronous_standby_names = '" + names + "'", "select pg_reload_conf()"} {
			_, err := c.Exec(context.Background(), sql)
			require.NoError(t, err)
		}
		// The servers' processes hear of it a moment later, each for itself; one that is new
		// knows it. A COMMIT waits by what the checkpointer says.
		var now string
		require.NoError(t, c.QueryRow(context.Background(), "show synchronous_standby_names").Scan(&now))
		for now != names {
			require.NoError(t, c.QueryRow(context.Background(), "show synchronous_standby_names").Scan(&now))
		}
	}
	waitFor("*")
	t.Cleanup(func() { waitFor("") })
	connected(t, f.AdminURL(), func(c *pgx.Conn) {
		// Until one waits, the checkpointer may not have heard.
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := c.Exec(ctx, "update accounts set version = version + 1 where id = 4")
			cancel()
			if err != nil {
				return
			}
		}
	})
	return f, func() {
		standby, err := pgserver.StartStandby(t.Context(), f.Server(), pgserver.Config{NoSync: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, standby.Stop()) })
	}
}

// visible is what others see of works["statement"].
func (f *fixture) visible(t *testing.T) (done int64) {
	t.Helper()
	connected(t, f.AppURL(), func(c *pgx.Conn) {
		require.NoError(t, c.QueryRow(t.Context(), "select 1000 - balance from accounts where id = 1").Scan(&done))
	})
	return done
}

// waiting returns when a session that came by way of the relay waits for a standby.
func (f *fixture) waiting(t *testing.T, r *relay) {
	c, err := pgx.Connect(context.Background(), f.AdminURL())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close(context.Background())
	for waits := false; !waits && err == nil; {
		err = c.QueryRow(context.Background(), `select exists (select from pg_stat_activity
			where application_name = $1 and wait_event = 'SyncRep') from pg_sleep(0.002)`, r.name()).Scan(&waits)
	}
	if err != nil {
		t.Error(err)
	}
}

func requireUnconfirmed(t *testing.T, err error) {
	t.Helper()
	unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, ok, "%v", err)
	require.Contains(t, unknown.Why, "standbys did not confirm it")
}

// The connection breaks while COMMIT waits. A session that waits for a standby is not ended:
// the transaction would then be committed without one.
func TestLostCommitThatWaitsForAStandby(t *testing.T) {
	t.Parallel()
	f, join := synchronous(t)
	r := newRelay(t, f.AppURL())
	r.set(func(r *relay) { r.noCancels = true })
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second})
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, hangUpAfter)
		return works["statement"](ctx, tx)
	})
	unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
	require.True(t, ok, "%v", err)
	require.Contains(t, unknown.Why, "in progress")
	require.Zero(t, f.visible(t))
	connected(t, f.AdminURL(), func(c *pgx.Conn) {
		await(t, c, "select exists (select from pg_stat_activity where application_name = $1 and wait_event = 'SyncRep')", r.name())
		join()
		await(t, c, "select 1000 - balance = 1 from accounts where id = 1")
	})

	// Now that there is a standby, an outcome is confirmed by it.
	for _, opts := range []txn.Options{{}, {IdempotencyKey: "k"}, {SynchronousCommit: txn.SyncRemoteApply}} {
		before, runs := f.visible(t), 0
		require.NoError(t, txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			r.arm(commit, dropAnswer)
			return works["statement"](ctx, tx)
		}))
		require.Equal(t, 1, runs)
		require.Equal(t, before+1, f.visible(t))
	}
}

// pgx sends a cancel request when a connection breaks. It ends the wait: the transaction is
// committed and seen by all, and may be gone after a failover.
func TestCommittedWithoutItsStandby(t *testing.T) {
	t.Parallel()
	f, _ := synchronous(t)
	for name, c := range map[string]struct {
		opts      txn.Options
		confirmed bool
	}{
		"as the server says": {},
		"on":                 {opts: txn.Options{SynchronousCommit: txn.SyncOn}},
		"local":              {opts: txn.Options{SynchronousCommit: txn.SyncLocal}, confirmed: true},
		"off":                {opts: txn.Options{SynchronousCommit: txn.SyncOff}, confirmed: true},
	} {
		before := f.visible(t)
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second})
		runs := 0
		err := txn.WithTx(t.Context(), d, c.opts, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			r.arm(commit, func(l *link) {
				l.silence()
				l.forward()
				if c.confirmed {
					<-l.answered
				} else {
					f.waiting(t, r)
				}
				l.hangUp()
				l.mute.Unlock()
				go l.end()
			})
			return works["statement"](ctx, tx)
		})
		require.Equal(t, 1, runs, name)
		require.Equal(t, before+1, f.visible(t), name)
		if c.confirmed {
			require.NoError(t, err, name)
		} else {
			requireUnconfirmed(t, err)
		}
	}
}

// So does the call's own cancel request, when COMMIT has been waited for long enough.
func TestCancelledCommitThatWaitsForAStandby(t *testing.T) {
	t.Parallel()
	f, _ := synchronous(t)
	d := open(t, f.AppURL(), txn.Config{ResolveTimeout: 3 * time.Second})
	for _, way := range []string{"statement", "queued"} {
		for level, confirmed := range map[txn.SynchronousCommit]bool{txn.SyncUnspecified: false, txn.SyncLocal: true} {
			before := f.visible(t)
			err := txn.WithTx(t.Context(), d, txn.Options{Timeout: time.Second, SynchronousCommit: level}, works[way])
			require.Equal(t, before+1, f.visible(t))
			if confirmed {
				require.NoError(t, err)
			} else {
				requireUnconfirmed(t, err)
			}
		}
	}
}

// A key's row waits for the standby as the work does, and the same call gets its answer then.
func TestKeyWaitsForAStandby(t *testing.T) {
	t.Parallel()
	f, join := synchronous(t)
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second})
	opts := txn.Options{IdempotencyKey: "k"}
	err := txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, hangUpAfter)
		return works["statement"](ctx, tx)
	})
	require.ErrorAs(t, err, new(*txn.CommitUnknownError))
	join()
	require.ErrorIs(t, txn.WithTx(t.Context(), d, opts, works["statement"]), txn.ErrAlreadyCommitted)
	require.EqualValues(t, 1, f.visible(t))
}

// A statement that is a transaction of its own is told by the same measure.
func TestCancelledStatementThatWaitsForAStandby(t *testing.T) {
	t.Parallel()
	f, _ := synchronous(t)
	for name, settings := range map[string]map[string]string{"plain": nil, "with settings": {"app.tenant": "a"}} {
		d := open(t, f.AppURL(), txn.Config{ResolveTimeout: 3 * time.Second, Options: txn.Options{Settings: settings}})
		before := f.visible(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := sqlcbind.Autocommit(d).Exec(ctx, withdraw)
		cancel()
		require.Equal(t, before+1, f.visible(t), name)
		requireUnconfirmed(t, err)
	}
}
