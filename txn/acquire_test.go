package txn_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// A server that lets nobody in is tried again, whichever bound the wait for a connection has:
// AcquireTimeout, none, or the caller's nearer deadline.
func TestUnreachableServerIsTriedAgain(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct {
		acquire, deadline time.Duration
	}{"AcquireTimeout": {}, "none": {acquire: -1}, "deadline": {deadline: 20 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			p := txntest.NewProxy(t, f.AppURL())
			d := openConfig(t, poolConfig(t, p.URL()), txn.Config{AcquireTimeout: c.acquire, BaseDelay: time.Nanosecond})
			p.Refuse(true)
			ctx := t.Context()
			if c.deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			runs := 0
			err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				runs++
				if runs == 2 {
					p.Refuse(false)
				}
				return write(ctx, tx, name)
			})
			require.NoError(t, err)
			require.Equal(t, 2, runs)
		})
	}
}

// The caller's deadline comes before AcquireTimeout: the error is the caller's own.
func TestDeadlineBeforeAcquireTimeout(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	held, err := d.Pool().Acquire(t.Context())
	require.NoError(t, err)
	defer held.Release()
	err = txn.WithTx(t.Context(), d, txn.Options{Timeout: 50 * time.Millisecond}, func(ctx context.Context, tx *txn.Tx) error {
		return write(ctx, tx, "never")
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, txn.ErrAcquireTimeout)
}
