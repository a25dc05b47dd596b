package txn_test

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// Wrappers around transactions as programs write them by hand and tutorials show them, and
// what becomes of the same work in each and in WithTx. They are as they are found, but for the
// pauses between attempts.

// unmanaged is what they have in common: COMMIT as a statement, whose answer nobody reads.
func unmanaged(ctx context.Context, pool *pgxpool.Pool, level string, operation func(*pgxpool.Conn) error) error {
	c, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	if _, err := c.Exec(ctx, "begin isolation level "+level); err != nil {
		return err
	}
	if err := operation(c); err != nil {
		_, _ = c.Exec(ctx, "rollback")
		return err
	}
	_, err = c.Exec(ctx, "commit")
	return err
}

// attempts repeats operation up to three times, if retryable says so.
func attempts(operation func() error, retryable func(error) bool) (err error) {
	for range 3 {
		if err = operation(); err == nil || !retryable(err) {
			return err
		}
	}
	return err
}

func anyServerError(err error) bool { return txn.SQLState(err) != "" }

var looksRetryable = regexp.MustCompile(`(?i)deadlock|timeout|connection|could not serialize`)

func byMessage(err error) bool { return looksRetryable.MatchString(err.Error()) }

// retryTransaction, isRetryableError: an error of the server, or a word in its text, is taken for
// one that passes.
func TestMistakesAreNotRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mistake := range []struct {
		sql, state string
		retryable  func(error) bool
	}{
		{"selec 1", "42601", anyServerError},
		{"select * from old_connections", "42P01", byMessage}, // the name is taken for a lost connection
	} {
		ran := 0
		err := attempts(func() error {
			return unmanaged(t.Context(), f.db.Pool(), "read committed", func(c *pgxpool.Conn) error {
				ran++
				_, err := c.Exec(t.Context(), mistake.sql)
				return err
			})
		}, mistake.retryable)
		require.Equal(t, mistake.state, txn.SQLState(err))
		require.Equal(t, 3, ran)

		ran = 0
		err = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			ran++
			_, err := tx.Exec(ctx, mistake.sql)
			return err
		})
		require.Equal(t, mistake.state, txn.SQLState(err))
		require.Equal(t, 1, ran)
		require.False(t, txn.IsRetryable(err))
	}
}

// safeTransactionWrapper: what follows COMMIT is inside what is repeated. A mail server that
// does not answer makes the work be done three times, and be reported as failed.
func TestCommittedWorkIsNotRepeatedForWhatFollowsIt(t *testing.T) {
	f := setup(t, txn.Config{})
	timeout := errors.New("SMTP timeout")
	pool := f.db.Pool()
	_, err := pool.Exec(t.Context(), "update accounts set balance = 1000 where id = 1")
	require.NoError(t, err)
	const add = "update accounts set balance = balance + 10 where id = 1"

	require.ErrorIs(t, attempts(func() error {
		if err := unmanaged(t.Context(), pool, "read committed", func(c *pgxpool.Conn) error {
			_, err := c.Exec(t.Context(), add)
			return err
		}); err != nil {
			return err
		}
		return timeout // of onSuccess
	}, byMessage), timeout)
	require.Equal(t, 1030, balance(t, f, 1))

	err = txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		tx.AfterCommit(func(context.Context) error { return timeout })
		_, err := tx.Exec(ctx, add)
		return err
	})
	require.ErrorIs(t, err, timeout)
	_, committed := errors.AsType[*txn.HookError](err)
	require.True(t, committed, "it says that the work is done")
	require.Equal(t, 1040, balance(t, f, 1))
}

// executeWithRetry, performTransaction: the function around the transaction logs its error and
// returns nothing. There is nothing to retry then, and the caller takes it for done.
func TestSwallowedDeadlockIsRetried(t *testing.T) {
	f := setup(t, txn.Config{})
	ran := 0
	swallow := func(error) error { return nil }
	require.NoError(t, attempts(func() error {
		return swallow(unmanaged(t.Context(), f.db.Pool(), "read committed", func(c *pgxpool.Conn) error {
			ran++
			if _, err := c.Exec(t.Context(), "insert into notes (body) values ('by hand')"); err != nil {
				return err
			}
			_, err := c.Exec(t.Context(), "select fail('40P01')")
			return err
		}))
	}, anyServerError))
	require.Equal(t, 1, ran)
	require.Empty(t, f.notes(t), "and yet it said that all was well")

	ran = 0
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		if ran++; ran == 1 {
			_ = fail(ctx, tx, "40P01")
			return nil
		}
		return write(ctx, tx, "ours")
	}))
	require.Equal(t, 2, ran)
	require.Equal(t, []string{"ours"}, f.notes(t))
}

// An error of one user's row is caught within the transaction, and the next one is worked on.
// The server has given the transaction up: it answers COMMIT with ROLLBACK.
func TestErrorCaughtInsideIsNotSuccess(t *testing.T) {
	f := setup(t, txn.Config{})
	bodies := []string{"first", "first", "third"} // the second one breaks a unique key
	saved := 0
	require.NoError(t, unmanaged(t.Context(), f.db.Pool(), "read committed", func(c *pgxpool.Conn) error {
		for _, body := range bodies {
			if _, err := c.Exec(t.Context(), insertNote, body); err == nil {
				saved++
			}
		}
		return nil
	}))
	require.Equal(t, 1, saved, "it counted one")
	require.Empty(t, f.notes(t), "and there is none")

	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		for _, body := range bodies {
			_ = write(ctx, tx, body)
		}
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Equal(t, "23505", txn.SQLState(err))

	saved = 0
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		for _, body := range bodies {
			err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, body) })
			switch {
			case err == nil:
				saved++
			case txn.SQLState(err) != "23505":
				return err
			}
		}
		return nil
	}))
	require.Equal(t, 2, saved)
	require.Equal(t, []string{"first", "third"}, f.notes(t))
}

// handleConcurrencyConflict: it opens no transaction. Within one, as with a savepoint, what
// could not be serialized cannot be a moment later either: the snapshot is the same.
func TestConflictRestartsTheWholeTransaction(t *testing.T) {
	f := setup(t, txn.Config{})
	disturb := func() {
		_, err := f.Admin(t).Exec(t.Context(), "update accounts set balance = balance + 1 where id = 1")
		require.NoError(t, err)
	}
	const read, add = "select balance from accounts where id = 1", "update accounts set balance = balance + 10 where id = 1"
	tries := 0
	err := unmanaged(t.Context(), f.db.Pool(), "repeatable read", func(c *pgxpool.Conn) error {
		if _, err := c.Exec(t.Context(), read); err != nil {
			return err
		}
		disturb()
		return attempts(func() error {
			tries++
			if _, err := c.Exec(t.Context(), "savepoint s"); err != nil {
				return err
			}
			_, err := c.Exec(t.Context(), add)
			if err != nil {
				_, e := c.Exec(t.Context(), "rollback to s")
				err = errors.Join(err, e)
			}
			return err
		}, byMessage)
	})
	require.Equal(t, "40001", txn.SQLState(err))
	require.Equal(t, 3, tries)

	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Isolation: txn.RepeatableRead}, func(ctx context.Context, tx *txn.Tx) error {
		ask[int](t, ctx, tx, read)
		if tx.Attempt() == 1 {
			disturb()
		}
		_, err := tx.Exec(ctx, add)
		return err
	}))
	require.Equal(t, 1012, balance(t, f, 1))
}

// executeWithTimeout: the caller stops waiting, and the transaction does not stop.
func TestTimeoutEndsTheTransactionAndNotTheWaitAlone(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	hold := func() pgx.Tx {
		holder, err := admin.Begin(t.Context())
		require.NoError(t, err)
		_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
		require.NoError(t, err)
		return holder
	}
	const add = "update accounts set balance = balance + 10 where id = 1"

	holder := hold()
	session := make(chan uint32, 1)
	done := make(chan error, 1)
	go func() {
		done <- unmanaged(context.WithoutCancel(t.Context()), f.db.Pool(), "read committed", func(c *pgxpool.Conn) error {
			session <- c.Conn().PgConn().PID()
			_, err := c.Exec(context.WithoutCancel(t.Context()), add)
			return err
		})
	}()
	txntest.WaitBlocked(t, admin, int(<-session))
	timer := time.NewTimer(time.Millisecond)
	select {
	case <-timer.C: // "Transaction timeout after 1ms"
	case err := <-done:
		require.Fail(t, "it cannot be done", err)
	}
	require.NoError(t, holder.Rollback(t.Context()))
	require.NoError(t, <-done)
	require.Equal(t, 1010, balance(t, f, 1), "reported as failed, and committed later")

	holder = hold()
	err := txn.WithTx(t.Context(), f.db, txn.Options{Timeout: 50 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, add)
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, holder.Rollback(t.Context()))
	require.Equal(t, 1010, balance(t, f, 1))
}

func balance(t *testing.T, f *fixture, account int) (n int) {
	t.Helper()
	require.NoError(t, f.Admin(t).QueryRow(t.Context(), "select balance from accounts where id = $1", account).Scan(&n))
	return n
}
