package txn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Rule: misuse of a handle is a typed error, never a panic and never a statement in the
// wrong place.

func TestHandleUsedAfterItsFunctionReturned(t *testing.T) {
	f := setup(t, txn.Config{})
	var left *txn.Tx
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		left = tx
		var joined *txn.Tx
		require.NoError(t, txn.WithTx(ctx, tx, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
			joined = tx
			return nil
		}))
		require.ErrorIs(t, write(ctx, joined, "x"), txn.ErrTxDone, "a joined function's handle ends with it")
		return nil
	}))
	require.ErrorIs(t, write(t.Context(), left, "x"), txn.ErrTxDone)
	require.ErrorIs(t, txn.WithTx(t.Context(), left, txn.Options{}, nothing), txn.ErrTxDone)
	require.Empty(t, f.notes(t))
}

func TestRowsReadAfterTheEnd(t *testing.T) {
	f := setup(t, txn.Config{})
	var left pgx.Rows
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) (err error) {
		require.NoError(t, write(ctx, tx, "undone"))
		left, err = tx.Query(ctx, "-- name: ListAccounts :many\nselect id from accounts")
		require.True(t, left.Next())
		return err
	})
	require.ErrorIs(t, err, txn.ErrRowsOpen)
	require.ErrorContains(t, err, "ListAccounts")
	require.False(t, left.Next())
	left.Close()
	require.Empty(t, f.notes(t), "a function that leaves rows open does not know what it read")
}

func TestStatementWhileRowsAreOpen(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		rows, err := tx.Query(ctx, "select id from accounts order by id")
		require.NoError(t, err)
		require.True(t, rows.Next())
		err = write(ctx, tx, "x")
		require.ErrorIs(t, err, txn.ErrRowsOpen)
		require.ErrorContains(t, err, "select id from accounts order by id")
		require.ErrorIs(t, tx.Savepoint(ctx, nothing), txn.ErrRowsOpen)
		require.ErrorIs(t, txn.WithTx(ctx, tx, txn.Options{}, nothing), txn.ErrRowsOpen)
		rows.Close()
		require.NoError(t, rows.Err())

		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue("select 2")
		results := tx.SendBatch(ctx, b)
		require.ErrorIs(t, write(ctx, tx, "x"), txn.ErrRowsOpen)
		var n int
		require.NoError(t, results.QueryRow().Scan(&n))
		require.NoError(t, results.Close())
		require.NoError(t, results.Close())
		return write(ctx, tx, "kept")
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))
}

func TestRowsLeftOpenInASavepoint(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, write(ctx, tx, "undone"))
			_, err := tx.Query(ctx, "select generate_series(1, 100000)")
			return err
		})
		require.ErrorIs(t, err, txn.ErrRowsOpen)
		return write(ctx, tx, "after")
	}))
	require.Equal(t, []string{"after"}, f.notes(t))
}

func TestConcurrentUse(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	holder, err := admin.Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
	require.NoError(t, err)

	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		pid := ask[int](t, ctx, tx, "select pg_backend_pid()")
		blocked := make(chan error, 1)
		go func() {
			_, err := tx.Exec(ctx, "update accounts set balance = 0 where id = 1")
			blocked <- err
		}()
		txntest.WaitBlocked(t, holder, pid)
		statement, savepoint := write(ctx, tx, "x"), tx.Savepoint(ctx, nothing)
		require.NoError(t, holder.Commit(ctx)) // before a failure, whose rollback would wait for the goroutine
		require.ErrorIs(t, statement, txn.ErrConcurrentUse)
		require.ErrorIs(t, savepoint, txn.ErrConcurrentUse)
		return <-blocked
	}))
}

// A goroutine that the function left behind is waited for, and works no more afterwards.
func TestGoroutineLeftBehind(t *testing.T) {
	f := setup(t, txn.Config{})
	stopped := make(chan struct{})
	_ = txn.WithTx(t.Context(), f.db, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
		started := make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				_, err := tx.Exec(ctx, "select 1")
				if i == 0 {
					close(started)
				}
				if errors.Is(err, txn.ErrTxDone) {
					return
				}
			}
		}()
		<-started
		return nil
	})
	<-stopped
	require.Zero(t, f.db.Pool().Stat().AcquiredConns())
}

func TestTransactionControlAsText(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, sql := range []string{
		"commit", "COMMIT AND CHAIN", "  rollback", "abort", "end", "begin", "start transaction",
		"savepoint x", "release x", "prepare transaction 'x'", "-- c\ncommit", "/* a /* b */ */ commit", ";commit",
		"select 1; commit", "insert into notes (body) values ('x'); commit; begin",
	} {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, sql)
			require.ErrorIs(t, err, txn.ErrManaged, sql)
			b := &pgx.Batch{}
			b.BeginTx(pgx.TxOptions{})
			require.ErrorIs(t, tx.SendBatch(ctx, b).Close(), txn.ErrManaged)
			return nil
		}), sql)
		_, err := sqlcbind.Autocommit(f.db).Exec(t.Context(), sql)
		require.ErrorIs(t, err, txn.ErrManaged, sql)
	}
}

// What a text does that looks like the end of a function's body, the connection's status
// tells.
func TestTransactionEndedByText(t *testing.T) {
	f := setup(t, txn.Config{})
	pid := 0
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		pid = ask[int](t, ctx, tx, "select pg_backend_pid()")
		_, err := tx.Exec(ctx, "insert into notes (body) values ('committed by text'); end")
		require.ErrorIs(t, err, txn.ErrManaged)
		require.Error(t, write(ctx, tx, "outside"), "nothing runs outside the transaction")
		return nil
	})
	ended, ok := errors.AsType[*txn.EndedError](err)
	require.True(t, ok, "%v", err)
	require.Contains(t, ended.Query, "insert into notes")
	require.False(t, txn.IsRetryable(err))
	require.Equal(t, []string{"committed by text"}, f.notes(t))
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NotEqual(t, pid, ask[int](t, ctx, tx, "select pg_backend_pid()"), "the connection was destroyed")
		return nil
	}))
}

func TestCopyFrom(t *testing.T) {
	f := setup(t, txn.Config{})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		n, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"a"}, {"b"}}))
		require.EqualValues(t, 2, n)
		return err
	}))
	require.Equal(t, []string{"a", "b"}, f.notes(t))
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"c"}, {"a"}}))
		return err
	})
	require.Equal(t, "23505", txn.SQLState(err))
	require.Equal(t, []string{"a", "b"}, f.notes(t))
}
