package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Rule: rollback runs on a context of its own, and a cancelled context does not cost the
// connection.

func TestCancelledContextKeepsTheConnection(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	holder, err := admin.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(t.Context()) }()
	_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
	require.NoError(t, err)

	var pids []int
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		pid := make(chan int, 1)
		result := make(chan error, 1)
		go func() {
			result <- txn.WithTx(ctx, f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				if err := write(ctx, tx, "undone"); err != nil {
					return err
				}
				var p int
				if err := tx.QueryRow(ctx, "select pg_backend_pid()").Scan(&p); err != nil {
					return err
				}
				pid <- p
				_, err := tx.Exec(ctx, "select from accounts where id = 1 for update")
				return err
			})
		}()
		p := <-pid
		txntest.WaitBlocked(t, holder, p)
		cancel()
		err := <-result
		require.Error(t, err)
		require.True(t, errors.Is(err, context.Canceled) || txn.SQLState(err) == "57014", "%v", err)
		require.False(t, txn.IsRetryable(err))
		pids = append(pids, p)
	}
	for _, p := range pids {
		require.Equal(t, pids[0], p, "twenty cancellations, one connection")
	}
	require.Empty(t, f.notes(t))
	require.EqualValues(t, 1, f.db.Pool().Stat().NewConnsCount())
}

// The same on a pool that was not prepared: the connection is lost, the outcome is right.
func TestCancelledContextOnAPlainPool(t *testing.T) {
	f := setup(t, txn.Config{})
	d := openConfig(t, plainConfig(t, f.AppURL()))
	ctx, cancel := context.WithCancel(t.Context())
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "undone"))
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := tx.Exec(ctx, "select pg_sleep(60)")
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, txn.IsRetryable(err))
	require.Empty(t, f.notes(t))
}

func TestTimeoutEndsTheStatementOnTheServer(t *testing.T) {
	f := setup(t, txn.Config{})
	var pid int
	err := txn.WithTx(t.Context(), f.db, txn.Options{Timeout: 50 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
		pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
		_, err := tx.Exec(ctx, "select pg_sleep(60)")
		return err
	})
	require.Error(t, err)
	require.True(t, errors.Is(err, context.DeadlineExceeded) || txn.SQLState(err) == "57014", "%v", err)
	var state string
	require.NoError(t, f.Admin(t).QueryRow(t.Context(), "select state from pg_stat_activity where pid = $1", pid).Scan(&state))
	require.Equal(t, "idle", state)
}

// What a client that died leaves behind is ended by the server itself.
func TestTimeoutHasABackstopOnTheServer(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Timeout: time.Minute, StatementTimeout: time.Second}, func(ctx context.Context, tx *txn.Tx) error {
		version := ask[int](t, ctx, tx, "select current_setting('server_version_num')::int")
		require.Equal(t, "1s", ask[string](t, ctx, tx, "show statement_timeout"))
		if version >= 170000 {
			require.Equal(t, "61s", ask[string](t, ctx, tx, "show transaction_timeout"))
		} else {
			require.Equal(t, "61s", ask[string](t, ctx, tx, "show idle_in_transaction_session_timeout"))
		}
		return nil
	}))
}

func TestClientEncodeErrorKeepsTheTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "before"))
		_, err := tx.Exec(ctx, "select $1::int", make(chan int))
		require.Error(t, err, "nothing was sent")
		return write(ctx, tx, "after")
	}))
	require.Equal(t, []string{"before", "after"}, f.notes(t))
}
