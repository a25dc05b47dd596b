package txn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// The network has swallowed COMMIT or its answer, without a word, and the caller's context
// ends. Somebody else is asked while the answer is still waited for: long before
// ResolveTimeout is over, and without waiting for the connection.
func TestSwallowedCommitIsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		opts      txn.Options
		way       string
		committed bool
		forward   bool
	}{
		"answer, by id":  {way: "statement", forward: true, committed: true},
		"answer, by key": {way: "queued", opts: txn.Options{IdempotencyKey: "answer"}, forward: true, committed: true},
		"COMMIT, by key": {way: "queued", opts: txn.Options{IdempotencyKey: "commit"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := keyed(t, txn.Config{})
			r := newRelay(t, f.AppURL())
			const resolve = 20 * time.Second
			d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: resolve})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			gone := make(chan struct{})
			defer close(gone)
			var ended time.Time
			err := txn.WithTx(ctx, d, c.opts, func(ctx context.Context, tx *txn.Tx) error {
				r.arm(commit, func(l *link) {
					ended = time.Now()
					cancel()
					swallow(c.forward, gone)(l)
				})
				return works[c.way](ctx, tx)
			})
			require.Less(t, time.Since(ended), resolve)
			require.Equal(t, c.committed, err == nil, "%v", err)
			require.Equal(t, c.committed, f.done(t) == 1)
			require.Equal(t, 2, r.connections(), "COMMIT's, and one to ask on")
			require.Eventually(t, func() bool { return d.Pool().Stat().AcquiredConns() == 0 }, 10*time.Second, time.Millisecond,
				"what pgx still does about the connection is not waited for")
		})
	}
}

// A COMMIT that brings the key's claim is held up, and the attempt is voided meanwhile, of
// which nobody hears. The claim then fails; the key is nobody's, and the call must not say
// that it is.
func TestVoidedWhileCommitIsHeldUp(t *testing.T) {
	f := keyed(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: 5 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := txn.Options{IdempotencyKey: "held up", MaxAttempts: 1}
	err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, func(l *link) {
			voided := make(chan struct{})
			r.arm(commit, func(asking *link) {
				r.set(func(r *relay) { r.refuses = true })
				dropAnswer(asking)
				close(voided)
			})
			cancel()
			<-voided
			l.forward()
		})
		return works["queued"](ctx, tx)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, txn.ErrAlreadyCommitted)
	require.Zero(t, f.done(t))
	r.set(func(r *relay) { r.refuses = false })
	require.NoError(t, txn.WithTx(t.Context(), d, opts, works["queued"]))
	require.EqualValues(t, 1, f.done(t))
}

// The answer comes while somebody else is asked. It is what counts, and the connection goes
// back to the pool.
func TestAnswerComesDuringTheVigil(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: 2 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, func(l *link) {
			asked := r.asked(1)
			cancel()
			<-asked
			l.forward()
		})
		return works["statement"](ctx, tx)
	}))
	require.EqualValues(t, 1, f.done(t))
	require.EqualValues(t, 1, d.Pool().Stat().TotalConns())
	require.EqualValues(t, 1, d.Pool().Stat().NewConnsCount(), "the connection is kept")
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, works["statement"]))
	require.EqualValues(t, 1, d.Pool().Stat().NewConnsCount())
}

// COMMIT is answered with an error after the caller's context ended, and then the network goes
// silent. The answer says everything: nobody is asked any more, and ROLLBACK is given up by its
// own limit alone.
func TestNoVigilOverRollback(t *testing.T) {
	f := keyed(t, txn.Config{})
	for name, opts := range map[string]txn.Options{"without a key": {}, "with a key": {IdempotencyKey: "rolled back"}} {
		t.Run(name, func(t *testing.T) {
			r := newRelay(t, f.AppURL())
			d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: time.Second})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			gone := make(chan struct{})
			defer close(gone)
			err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
				tx.Queue("select fail('P0001')")
				r.arm(commit, func(l *link) {
					r.arm("rollback\x00", swallow(false, gone))
					cancel()
					l.forward()
				})
				return nil
			})
			require.Equal(t, "P0001", txn.SQLState(err))
			require.Equal(t, 1, r.connections(), "nobody was asked")
			require.Eventually(t, func() bool { return d.Pool().Stat().AcquiredConns() == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

// The connection breaks after the caller's context ended. Its answer is not waited for then, the
// less as there is nothing to ask for.
func TestNoVigilOverALostConnection(t *testing.T) {
	f := setup(t, txn.Config{})
	r := newRelay(t, f.AppURL())
	const resolve = 20 * time.Second
	d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: resolve})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lost time.Time
	err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		r.arm(commit, func(l *link) {
			cancel()
			lost = time.Now()
			dropAnswer(l)
		})
		return works["queued"](ctx, tx)
	})
	require.Less(t, time.Since(lost), resolve/2)
	var unknown *txn.CommitUnknownError
	require.ErrorAs(t, err, &unknown)
}

// The caller's context ends while what travels with COMMIT is being prepared: COMMIT was not
// sent. Its attempt may be voided meanwhile, but nothing is unknown.
func TestContextEndsDuringAPreparationAtCommit(t *testing.T) {
	f := keyed(t, txn.Config{})
	for name, opts := range map[string]txn.Options{"without a key": {}, "with a key": {IdempotencyKey: "prepared"}} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the network comes back: %t", name, back), func(t *testing.T) {
				r := newRelay(t, f.AppURL())
				const resolve = 2 * time.Second
				d := r.open(t, f.AppURL(), txn.Config{ResolveTimeout: resolve})
				if opts.IdempotencyKey != "" {
					opts.IdempotencyKey = t.Name()
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				gone := make(chan struct{})
				var ended time.Time
				work := func(_ context.Context, tx *txn.Tx) error {
					tx.Queue(insertNote, t.Name())
					return nil
				}
				err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
					r.arm(insertNote, func(l *link) {
						voided := make(chan struct{})
						r.arm(commit, func(asking *link) {
							asking.forward()
							close(voided)
						})
						ended = time.Now()
						cancel()
						switch {
						case !back:
							swallow(false, gone)(l)
						case opts.IdempotencyKey != "":
							<-voided
							l.forward()
						default:
							l.forward()
						}
					})
					return work(ctx, tx)
				})
				require.Less(t, time.Since(ended), resolve*3/2)
				close(gone)
				if back && opts.IdempotencyKey == "" {
					require.NoError(t, err)
					require.Contains(t, f.notes(t), t.Name())
					return
				}
				require.Error(t, err)
				var unknown *txn.CommitUnknownError
				require.NotErrorAs(t, err, &unknown)
				require.NotErrorIs(t, err, txn.ErrAlreadyCommitted)
				require.NotContains(t, f.notes(t), t.Name())
				if opts.IdempotencyKey != "" {
					require.NoError(t, txn.WithTx(t.Context(), d, opts, work), "the key is free")
				}
			})
		}
	}
}
