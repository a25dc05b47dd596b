package txntest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/internal/seam"
)

// A TestTx is a transaction that a test works in and that is never committed. It embeds the
// handle: give it to whatever takes a txn.Transactor.
type TestTx struct {
	*txn.Tx
	contained seam.Contained
}

// Tx begins a transaction of d for the test, which is rolled back at the test's end: quicker
// than a database per test, where the code under test does not mind running in a transaction.
//
// Each call that joins it by WithTx runs in a savepoint, so that one that fails is undone
// alone, as a transaction of its own would be. What differs from real transactions: nothing
// is retried, deferred constraints are not checked, others see nothing of it, and all of it
// has one time (now()) and, from RepeatableRead up, one snapshot. Functions registered with
// AfterCommit wait for TestTx.AfterCommit.
func Tx(t testing.TB, d *txn.DB, opts txn.Options) *TestTx {
	t.Helper()
	tx, contained, err := seam.Contain(context.WithoutCancel(t.Context()), d, opts)
	require.NoError(t, err)
	t.Cleanup(contained.RollBack)
	return &TestTx{tx.(*txn.Tx), contained}
}

// AfterCommit calls the functions that wait for a COMMIT, in order, and forgets them, as if
// the transaction had been committed now. The error is a *txn.HookError.
func (tx *TestTx) AfterCommit(ctx context.Context) error { return tx.contained.AfterCommit(ctx) }
