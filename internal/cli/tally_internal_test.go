package cli

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func server(code string) error { return &pgconn.PgError{Code: code} }

func TestJudge(t *testing.T) {
	t.Parallel()
	p := &part{scene: &accounts{}}
	hook := func(err error) error { return &txn.HookError{Err: err} }
	for _, c := range []struct {
		name   string
		said   answer
		err    error
		fate   fate
		reason string
	}{
		{"committed", did, nil, committed, ""},
		{"repeated", wasDone, nil, repeated, ""},
		{"done", isDone, nil, done, ""},
		{"unknown", did, &txn.CommitUnknownError{Err: server("57P01")}, unknown, ""},
		{"refused", did, fmt.Errorf("call: %w", &account.InsufficientFundsError{}), refused, "insufficient funds"},
		{"deadlock", did, &txn.RetriesExhaustedError{Err: server("40P01")}, failed, "40P01"},
		{"killed", did, server("57P01"), failed, "57P01"},
		{"a constraint", did, server("23514"), unexplained, noReason},
		{"key reused", did, account.ErrKeyReused, unexplained, noReason},
		{"cancelled", did, context.Canceled, unexplained, noReason},
		{"committed, and no receipt", did, hook(server("57P01")), committed, ""},
		{"committed, and a fault", did, hook(server("42601")), unexplained, noReason},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, reason := p.judge(c.said, c.err)
			require.Equal(t, c.fate, f)
			require.Equal(t, c.reason, reason)
		})
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	tally := newTally(newToll())
	for _, err := range []error{server("57P01"), server("40P01"), server("40P01")} {
		tally.noteRetry(t.Context(), txn.Retry{Err: err})
	}
	tally.noteAttempt(t.Context(), &txn.CommitUnknownError{Err: errors.New("reset")})
	tally.noteAttempt(t.Context(), &txn.CommitUnknownError{Err: server("57P01")})
	tally.noteAttempt(t.Context(), account.ErrInsufficientFunds)
	require.Equal(t, counts{"57P01": 1, "40P01": 2}, tally.retries)
	require.EqualValues(t, 3, tally.toll.retried.Load())
	require.EqualValues(t, 2, tally.toll.killed.Load())
	require.EqualValues(t, 1, tally.toll.cut.Load())
	require.EqualValues(t, 1, tally.toll.commitKilled.Load())
	require.EqualValues(t, 1, tally.toll.commitCut.Load())

	tally.note(outcome{keys: []string{"k"}, fate: unknown}, time.Second)
	tally.note(outcome{keys: []string{"k"}, fate: repeated}, time.Second)
	require.Equal(t, committed, tally.histories()["k"].fate())

	all := newTally(newToll())
	all.noteUnexplained(account.ErrKeyReused)
	all.add(tally)
	all.add(tally)
	require.Equal(t, counts{"57P01": 2, "40P01": 4}, all.retries)
	require.Len(t, all.outcomes, 4)
	require.Len(t, all.latencies, 4)
	require.Len(t, all.errors, 1)
	require.Equal(t, counts{"57P01": 1, "40P01": 2}, tally.retries)
}

// The fault behind a COMMIT that was executed is counted here, the others with what they did
// to the attempt.
func TestObserve(t *testing.T) {
	t.Parallel()
	tally := newTally(newToll())
	for _, e := range []txn.Event{
		txn.ResolutionEvent{Committed: true, Err: errors.New("reset")},
		txn.ResolutionEvent{Committed: true, Err: errors.New("reset")},
		txn.ResolutionEvent{Committed: true, Err: server("57P01")},
		txn.ResolutionEvent{Err: errors.New("reset")},
		txn.ResolutionEvent{Unknown: true, Err: errors.New("no answer")},
		txn.CommitEvent{},
	} {
		tally.Observe(t.Context(), e)
	}
	require.Equal(t, resolved{Committed: 3, NotCommitted: 1, Unknown: 1}, tally.found())
	require.EqualValues(t, 2, tally.toll.cut.Load())
	require.EqualValues(t, 1, tally.toll.killed.Load())
	require.EqualValues(t, 3, tally.toll.commitCut.Load())
	require.EqualValues(t, 1, tally.toll.commitKilled.Load())
}

// While the server is stopped, and a little longer, nothing is put down to another fault.
func TestHitsOfAnOutage(t *testing.T) {
	t.Parallel()
	tally := newTally(newToll())
	o := &tally.toll.outages
	ctx := asking(t.Context())
	o.begin()
	for _, err := range []error{server("57P01"), server("57P02"), &txn.CommitUnknownError{Err: errors.New("reset")}} {
		tally.noteAttempt(ctx, err)
	}
	tally.Observe(ctx, txn.ResolutionEvent{Committed: true, Err: server("57P01")})
	o.end()
	tally.noteAttempt(asking(t.Context()), server("57P01"))
	require.EqualValues(t, 5, tally.toll.downed.Load())
	require.EqualValues(t, 2, tally.toll.commitDowned.Load())
	require.Zero(t, tally.toll.killed.Load()+tally.toll.cut.Load()+tally.toll.commitKilled.Load()+tally.toll.commitCut.Load())

	require.EqualValues(t, 1, o.over.Load())
	require.True(t, o.since(askedAt(ctx)))
	require.False(t, o.since(time.Now()))
	require.True(t, o.felt(time.Now()))
	require.False(t, o.felt(time.Now().Add(feltFor)))
	require.Equal(t, o.total(), o.ended.Sub(o.began))
	o.begin()
	require.True(t, o.since(time.Now().Add(time.Hour)), "it goes on")
}

// Each of these comes between COMMIT and its answer. Whether the server has done it differs.
func TestFaultsBetweenCommitAndItsAnswer(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, txntest.SQL("create table notes (n int)"))
	s := &stage{proxy: txntest.NewProxy(t, database.AppURL()), admin: database.Admin(t)}
	tally := newTally(newToll())
	db, err := txn.Open(t.Context(), s.proxy.URL(), txn.Config{Observers: []txn.Observer{tally}})
	require.NoError(t, err)
	defer db.Close()
	strike := func(strike func(context.Context) (int64, error)) {
		t.Helper()
		struck := make(chan error, 1)
		go func() {
			ended, err := strike(t.Context())
			if err == nil && ended != 1 {
				err = fmt.Errorf("%d connections", ended)
			}
			struck <- err
		}()
		for before := tally.found().total(); tally.found().total() == before; {
			require.NoError(t, txn.WithTx(t.Context(), db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "insert into notes values (1)")
				return err
			}))
		}
		require.NoError(t, <-struck)
	}

	strike(s.killCommitting)
	require.Equal(t, resolved{NotCommitted: 1}, tally.found())
	strike(s.cutCommitting)
	require.Equal(t, resolved{NotCommitted: 2}, tally.found(), "COMMIT did not arrive")
	strike(s.cutCommitting) // when the server gets it
	before := tally.found()
	strike(s.cutCommitting)
	require.Equal(t, before.Committed+1, tally.found().Committed, "it was done")
	require.EqualValues(t, 1, tally.toll.commitKilled.Load())
	require.EqualValues(t, 3, tally.toll.commitCut.Load())
}

// A cut may hit what has done its work; that one was made is certain.
func TestCut(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, txntest.SQL())
	s := &stage{proxy: txntest.NewProxy(t, database.AppURL())}
	pool, err := pgxpool.New(t.Context(), s.proxy.URL())
	require.NoError(t, err)
	defer pool.Close()
	for range 20 {
		cut := make(chan error, 1)
		go func() {
			ended, err := s.cut(t.Context())
			if err == nil && ended != 1 {
				err = fmt.Errorf("%d connections", ended)
			}
			cut <- err
		}()
		for len(cut) == 0 {
			_ = pool.Ping(t.Context()) // if it is cut, the next one is made
		}
		require.NoError(t, <-cut)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.cut(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.killCommitting(ctx)
	require.ErrorIs(t, err, context.Canceled)
	pool.Reset() // the last cut may have come when its ping had been answered
	require.NoError(t, pool.Ping(t.Context()), "nothing is left that would break this one")
}

func TestCounts(t *testing.T) {
	t.Parallel()
	require.Equal(t, "none", counts{}.String())
	require.Equal(t, "b 3, a 1, c 1", counts{"a": 1, "b": 3, "c": 1}.String())
	require.Equal(t, 5, counts{"a": 1, "b": 3, "c": 1}.total())
}

// Faults follow the work, and those that hit nothing are made up for.
func TestFaults(t *testing.T) {
	t.Parallel()
	var hit atomic.Int64
	var strokes []int64
	done := make(chan struct{})
	f := &fault{wanted: 4, hit: &hit}
	f.strike = func(context.Context) (int64, error) {
		strokes = append(strokes, hit.Load())
		if len(strokes)%2 == 0 {
			hit.Add(1)
		}
		if !f.incomplete() {
			close(done)
		}
		return 1, nil
	}
	for share, due := range map[float64]int64{0: 0, 0.24: 0, 0.25: 1, 0.5: 2, 0.75: 3, 0.97: 4, 1: 4} {
		require.Equal(t, due, f.due(share), "%v", share)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.inflict(ctx, func() float64 { return float64(hit.Load()+1) / 4 }) }()
	<-done
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, []int64{0, 0, 1, 1, 2, 2, 3, 3}, strokes)
	require.EqualValues(t, 8, f.ended.Load())

	require.EqualValues(t, 2, (&fault{wanted: 2, by: 0.8}).due(0.8))
	require.EqualValues(t, 1, (&fault{wanted: 2, by: 0.8}).due(0.7))

	broken := &fault{wanted: 1, hit: new(atomic.Int64), strike: func(context.Context) (int64, error) { return 0, errors.New("broken") }}
	require.EqualError(t, broken.inflict(t.Context(), func() float64 { return 1 }), "broken")
}

// What is known of a transfer is the best that any of its calls knows.
func TestHistory(t *testing.T) {
	t.Parallel()
	order := []fate{committed, unknown, refused, failed, unexplained}
	for i, f := range order {
		for _, other := range order[i:] {
			h := &history{}
			h.calls[f]++
			h.calls[other]++
			require.Equal(t, f, h.fate(), "%d with %d", f, other)
		}
	}
	h := &history{}
	h.calls[repeated]++
	h.calls[unknown]++
	require.Equal(t, committed, h.fate())
}
