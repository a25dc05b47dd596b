package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: in a transaction that other code began a handle does all that it does in ours, but
// begin, end and retry it.

// owned runs fn on a handle in a transaction of the pool's own, and ends it as Join's
// documentation says.
func owned(ctx context.Context, d *txn.DB, opts txn.Options, fn func(context.Context, pgx.Tx, *txn.Joined) error) error {
	level := pgx.ReadCommitted
	if opts.Isolation != txn.IsolationUnspecified {
		level = pgx.TxIsoLevel(opts.Isolation.String())
	}
	tx, err := d.Pool().BeginTx(ctx, pgx.TxOptions{IsoLevel: level})
	if err != nil {
		return err
	}
	j := txn.Join(tx, opts)
	if err = fn(ctx, tx, j); err == nil {
		err = j.Finish(ctx)
	}
	if err != nil {
		_ = tx.Rollback(ctx)
		j.RolledBack(ctx, err)
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		j.RolledBack(ctx, err)
		return err
	}
	return j.Committed(ctx)
}

func TestJoinOperations(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for name, op := range operations {
			t.Run(mode.name+"/"+name, func(t *testing.T) {
				f.empty(t)
				require.NoError(t, owned(t.Context(), d, txn.Options{}, func(ctx context.Context, tx pgx.Tx, j *txn.Joined) error {
					_, err := tx.Exec(ctx, insertNote, "owner's")
					require.NoError(t, err)
					require.NoError(t, op(ctx, j.Tx()))
					if err := j.Tx().Flush(ctx); err != nil {
						return err
					}
					_, err = tx.Exec(ctx, insertNote, "owner's again")
					return err
				}))
				require.Equal(t, []string{"owner's", "op", "owner's again"}, f.notes(t))

				err := owned(t.Context(), d, txn.Options{}, func(ctx context.Context, _ pgx.Tx, j *txn.Joined) error {
					_ = op(ctx, j.Tx()) // fails, because the note is there
					return nil
				})
				require.Error(t, err, "what the function swallowed, or Finish was told")
				require.Equal(t, []string{"owner's", "op", "owner's again"}, f.notes(t))
				require.Equal(t, process, pid(t, d))
			})
		}
	}
}

func TestJoinedFunctions(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	require.NoError(t, owned(t.Context(), d, txn.Options{Label: "legacy", Isolation: txn.RepeatableRead}, func(ctx context.Context, _ pgx.Tx, j *txn.Joined) error {
		opts := txn.Options{Label: "ours", Isolation: txn.RepeatableRead, LockTimeout: time.Second}
		require.NoError(t, txn.WithTx(ctx, j.Tx(), opts, func(ctx context.Context, tx *txn.Tx) error {
			require.Equal(t, "legacy/ours", tx.Label())
			require.Equal(t, 1, tx.Attempt())
			require.Equal(t, "1s", ask[string](t, ctx, tx, "show lock_timeout"))
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				require.NoError(t, write(ctx, tx, "undone"))
				return errBusiness
			}), errBusiness)
			return write(ctx, tx, "kept")
		}))
		require.Equal(t, "0", ask[string](t, ctx, j.Tx(), "show lock_timeout"))
		require.ErrorIs(t, txn.WithTx(ctx, j.Tx(), txn.Options{Isolation: txn.Serializable}, nothing), txn.ErrOptionsConflict)
		return nil
	}))
	require.Equal(t, []string{"kept"}, f.notes(t))

	// What dooms the handle is the owner's to hear at Finish.
	runs := 0
	err := owned(t.Context(), d, txn.Options{}, func(ctx context.Context, _ pgx.Tx, j *txn.Joined) error {
		runs++
		_ = txn.WithTx(ctx, j.Tx(), txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			require.NoError(t, write(ctx, tx, "undone"))
			return fail(ctx, tx, "40001")
		})
		require.ErrorIs(t, write(ctx, j.Tx(), "behind"), txn.ErrRollbackOnly)
		return nil
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.True(t, txn.IsRetryable(err), "by the owner, who alone can")
	require.Equal(t, 1, runs)
	require.Equal(t, []string{"kept"}, f.notes(t))
}

func TestJoinQueue(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	var p *txn.Pending[pgconn.CommandTag]
	require.NoError(t, owned(t.Context(), d, txn.Options{}, func(_ context.Context, _ pgx.Tx, j *txn.Joined) error {
		p = j.Tx().Queue(insertNote, "queued")
		j.Tx().BeforeCommit(func(_ context.Context, tx *txn.Tx) error {
			tx.Queue(insertNote, "before commit")
			return nil
		})
		return nil
	}))
	_, err := p.Value()
	require.NoError(t, err)
	require.Equal(t, []string{"queued", "before commit"}, f.notes(t))

	err = owned(t.Context(), d, txn.Options{}, func(_ context.Context, _ pgx.Tx, j *txn.Joined) error {
		j.Tx().Queue(insertNote, "undone")
		p = j.Tx().Queue(insertNote, "queued")
		return nil
	})
	_, ok := errors.AsType[*txn.QueuedError](err)
	require.True(t, ok, "Finish says it, before the owner commits")
	require.Equal(t, "23505", txn.SQLState(err))
	require.Len(t, f.notes(t), 2)

	// The owner rolls back without Finish: nothing is sent.
	tx, err := d.Pool().Begin(t.Context())
	require.NoError(t, err)
	j := txn.Join(tx, txn.Options{})
	p = j.Tx().Queue(insertNote, "never sent")
	require.NoError(t, tx.Rollback(t.Context()))
	j.RolledBack(t.Context(), errBusiness)
	_, err = p.Value()
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Len(t, f.notes(t), 2)
}

func TestJoinHooks(t *testing.T) {
	f := setup(t, txn.Config{})
	for outcome, result := range map[string]error{"committed": nil, "rolled back": errBusiness} {
		var called []string
		err := owned(t.Context(), f.db, txn.Options{}, func(_ context.Context, _ pgx.Tx, j *txn.Joined) error {
			tx := j.Tx()
			tx.BeforeCommit(func(context.Context, *txn.Tx) error { called = append(called, "before"); return nil })
			tx.AfterCommit(func(context.Context) error { called = append(called, "after"); return nil })
			tx.AfterRollback(func(_ context.Context, err error) {
				require.ErrorIs(t, err, errBusiness)
				called = append(called, "rolled back")
			})
			return result
		})
		require.ErrorIs(t, err, result, outcome)
		require.Equal(t, map[string][]string{"committed": {"before", "after"}, "rolled back": {"rolled back"}}[outcome], called)
	}

	veto := owned(t.Context(), f.db, txn.Options{}, func(ctx context.Context, _ pgx.Tx, j *txn.Joined) error {
		j.Tx().BeforeCommit(func(context.Context, *txn.Tx) error { return errBusiness })
		return write(ctx, j.Tx(), "undone")
	})
	require.ErrorIs(t, veto, errBusiness)
	require.Empty(t, f.notes(t))
}

// When its owner has ended the transaction, the connection is somebody else's: the handle
// sends nothing more on it, whether it was finished or not.
func TestJoinAfterTheOwnersEnd(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	for end, by := range map[string]func(context.Context, pgx.Tx) error{
		"commit":   func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
		"rollback": func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) },
	} {
		t.Run(end, func(t *testing.T) {
			ctx := t.Context()
			tx, err := d.Pool().Begin(ctx)
			require.NoError(t, err)
			j := txn.Join(tx, txn.Options{})
			require.NoError(t, write(ctx, j.Tx(), end))
			p := j.Tx().Queue(insertNote, "lost")
			require.NoError(t, by(ctx, tx))

			require.NoError(t, txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, other *txn.Tx) error {
				require.NoError(t, write(ctx, other, "somebody else's "+end))
				require.ErrorIs(t, write(ctx, j.Tx(), "stray"), txn.ErrTxDone)
				require.ErrorIs(t, j.Tx().Flush(ctx), txn.ErrTxDone)
				require.ErrorIs(t, txn.WithTx(ctx, j.Tx(), txn.Options{}, nothing), txn.ErrTxDone)
				require.Nil(t, j.Tx().Pgx().Conn())
				require.ErrorIs(t, j.Finish(ctx), txn.ErrTxDone)
				require.ErrorIs(t, j.Finish(ctx), txn.ErrTxDone)
				return nil
			}))
			_, err = p.Value()
			require.Error(t, err)
			require.ErrorIs(t, write(ctx, txn.Join(tx, txn.Options{}).Tx(), "stray"), txn.ErrTxDone)
			require.NotContains(t, f.notes(t), "stray")
			require.NotContains(t, f.notes(t), "lost")
		})
	}
	j := txn.Join(nil, txn.Options{})
	require.ErrorIs(t, write(t.Context(), j.Tx(), "x"), txn.ErrTxDone)
	require.ErrorIs(t, j.Finish(t.Context()), txn.ErrTxDone)
}

// An owner who commits without Finish hears that this was not all.
func TestJoinCommittedWithoutFinish(t *testing.T) {
	f := setup(t, txn.Config{})
	tx, err := f.db.Pool().Begin(t.Context())
	require.NoError(t, err)
	j := txn.Join(tx, txn.Options{Label: "legacy"})
	called := false
	j.Tx().AfterCommit(func(context.Context) error { called = true; return nil })
	p := j.Tx().Queue(insertNote, "forgotten")
	require.NoError(t, tx.Commit(t.Context()))
	err = j.Committed(t.Context())
	hook, ok := errors.AsType[*txn.HookError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "legacy", hook.Label)
	require.False(t, txn.IsRetryable(err))
	require.True(t, called)
	_, err = p.Value()
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.Empty(t, f.notes(t))
}

// Join works on a savepoint of pgx, and on a transaction of ours as well.
func TestJoinInner(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, begin := range map[string]func(context.Context, func(pgx.Tx) error) error{
		"savepoint of pgx": func(ctx context.Context, fn func(pgx.Tx) error) error {
			return pgx.BeginFunc(ctx, f.db.Pool(), func(tx pgx.Tx) error { return pgx.BeginFunc(ctx, tx, fn) })
		},
		"ours": func(ctx context.Context, fn func(pgx.Tx) error) error {
			return txn.WithTx(ctx, f.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) error { return fn(tx.Pgx()) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.empty(t)
			require.NoError(t, begin(t.Context(), func(tx pgx.Tx) error {
				j := txn.Join(tx, txn.Options{})
				if err := write(t.Context(), j.Tx(), "a"); err != nil {
					return err
				}
				j.Tx().Queue(insertNote, "b")
				return j.Finish(t.Context())
			}))
			require.Equal(t, []string{"a", "b"}, f.notes(t))
		})
	}
}
