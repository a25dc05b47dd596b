package txn_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Rule: COMMIT is checked, and nothing but its answer is believed.

func openConfig(t *testing.T, cfg *pgxpool.Config, of ...txn.Config) *txn.DB {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	if len(of) > 0 {
		return txn.New(pool, of[0])
	}
	return txn.New(pool, txn.Config{})
}

func TestSwallowedStatementErrorIsReported(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithTx(t.Context(), f.db, txn.Options{Label: "x"}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "a"))
		require.Equal(t, "23505", txn.SQLState(write(ctx, tx, "a")))
		later := write(ctx, tx, "b")
		require.ErrorIs(t, later, txn.ErrRollbackOnly)
		require.Equal(t, "23505", txn.SQLState(later), "the cause, where the server would say 25P02")
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Equal(t, "23505", txn.SQLState(err))
	require.Equal(t, "notes_body_key", txn.ConstraintName(err))
	require.Empty(t, f.notes(t))
}

// The server may answer COMMIT without an error, and not have committed.
func TestCommitAnsweredWithRollback(t *testing.T) {
	f := keyed(t, txn.Config{})
	// "abort" is as long as "commit", and answered with ROLLBACK.
	abort := func(l *link) {
		l.chunk = bytes.Replace(l.chunk, []byte(commit), []byte("abort \x00"), 1)
		l.forward()
	}
	for _, way := range []string{"statement", "queued"} {
		r := newRelay(t, f.AppURL())
		d := r.open(t, f.AppURL(), txn.Config{})
		runs := 0
		err := txn.WithTx(t.Context(), d, txn.Options{Label: way}, func(ctx context.Context, tx *txn.Tx) error {
			runs++
			r.arm(commit, abort)
			return works[way](ctx, tx)
		})
		require.ErrorIs(t, err, pgx.ErrTxCommitRollback, way)
		require.ErrorContains(t, err, way)
		require.Equal(t, 1, runs, "the reason is not known, so that it is not one to run again for")
		require.Zero(t, f.done(t))
		released(t, d)
	}

	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{Options: txn.Options{Settings: map[string]string{"app.tenant": "1"}}})
	r.arm(commit, abort)
	_, err := sqlcbind.Autocommit(d).Exec(t.Context(), withdraw)
	require.ErrorIs(t, err, pgx.ErrTxCommitRollback)
	require.Zero(t, f.done(t))
}

func TestDeferredConstraintFailsAtCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, body := range map[string]func(context.Context, *txn.Tx) error{
		"foreign key": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "insert into lines (account) values (99)")
			return err
		},
		"DeferConstraints": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "insert into lines (seat) values (1), (1)")
			return err
		},
	} {
		err := txn.WithTx(t.Context(), f.db, txn.Options{DeferConstraints: name == "DeferConstraints"},
			func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, "undone"))
				require.NoError(t, body(ctx, tx), "not checked yet")
				return nil
			})
		require.Error(t, err, name)
		require.NotEmpty(t, txn.ConstraintName(err), name)
		require.False(t, txn.IsRetryable(err))
	}
	require.Empty(t, f.notes(t))
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

func TestSerializationFailureAtCommitIsRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	_, err := f.Admin(t).Exec(t.Context(), `
		create function late() returns trigger language plpgsql security definer as $$ begin
			if new.body like 'late%' then perform fail('40001'); end if; return null; end $$;
		create constraint trigger late after insert on notes deferrable initially deferred
			for each row execute function late()`)
	require.NoError(t, err)
	runs := 0
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		if runs++; runs == 1 {
			return write(ctx, tx, "late")
		}
		return write(ctx, tx, "kept")
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

// The connection is cut around COMMIT. Whatever became of it, the call says that it does
// not know, and does not run again.
func TestLostCommitIsUnknownAndNeverRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, committed := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			p := txntest.NewProxy(t, f.AppURL())
			d := openConfig(t, poolConfig(t, p.URL()), txn.Config{ResolveCommits: txn.ResolveNever})
			cut := p.Arm(cutAt("^commit$", name == "after"))
			runs := 0
			err := txn.WithTx(t.Context(), d, txn.Options{Label: "x", RetryAlso: []string{"08006"}}, func(ctx context.Context, tx *txn.Tx) error {
				runs++
				return write(ctx, tx, name)
			})
			unknown, ok := errors.AsType[*txn.CommitUnknownError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "x", unknown.Label)
			require.Equal(t, 1, runs)
			require.False(t, txn.IsRetryable(err))
			require.NoError(t, cut.WaitSession(t.Context()))
			require.Equal(t, committed, slices.Contains(f.notes(t), name))
		})
	}
}

// A read-only transaction has nothing to commit: it is run again.
func TestLostCommitOfAReadIsRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	p := txntest.NewProxy(t, f.AppURL())
	d := openConfig(t, poolConfig(t, p.URL()))
	cut := p.Arm(cutAt("^commit$", true))
	runs := 0
	require.NoError(t, txn.WithReadTx(t.Context(), d, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
		runs++
		ask[int](t, ctx, rx, "select 1")
		return nil
	}))
	require.Equal(t, 2, runs)
	require.NoError(t, cut.WaitSession(t.Context()))
}

func TestNothingIsCommittedAfterTheDeadline(t *testing.T) {
	f := setup(t, txn.Config{})
	err := txn.WithTx(t.Context(), f.db, txn.Options{Timeout: 50 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "undone"))
		<-ctx.Done()
		return nil
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, f.notes(t))
}

// A COMMIT under way when its context ends is waited for: its answer is the only truth.
func TestCommitOutlivesItsContext(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := admin.Exec(t.Context(), `
		create function wait() returns trigger language plpgsql as $$ begin
			perform pg_advisory_xact_lock(4711); return null; end $$;
		create constraint trigger wait after insert on notes deferrable initially deferred
			for each row execute function wait()`)
	require.NoError(t, err)
	holder, err := admin.Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "select pg_advisory_xact_lock(4711)")
	require.NoError(t, err)

	result := make(chan error, 1)
	pid := make(chan int, 1)
	go func() {
		result <- txn.WithTx(ctx, f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			pid <- ask[int](t, ctx, tx, "select pg_backend_pid()")
			return write(ctx, tx, "kept")
		})
	}()
	txntest.WaitBlocked(t, holder, <-pid)
	cancel()
	require.NoError(t, holder.Commit(t.Context()))
	require.NoError(t, <-result)
	require.Equal(t, []string{"kept"}, f.notes(t))
}
