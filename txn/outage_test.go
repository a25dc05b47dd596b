package txn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The server goes down and comes back, again and again, while money moves. In the end the
// books are right, every answer was true, and each time work went on soon.

// A season is how often and for how long the server is down, and how much is done meanwhile.
type season struct {
	transfers int // at least
	outages   int
	every     [2]time.Duration // from, to
	stopped   time.Duration    // at most
}

func TestFaultsOfTheServer(t *testing.T) {
	t.Parallel()
	s := season{transfers: 300, outages: 2, every: [2]time.Duration{200 * time.Millisecond, 400 * time.Millisecond}, stopped: 200 * time.Millisecond}
	if *long {
		s = season{transfers: 10_000, outages: 8, every: [2]time.Duration{5 * time.Second, 40 * time.Second}, stopped: 2 * time.Second}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := setupOn(t, ownServer(t, nil), txn.Config{})
	f.addKeys(t)
	_, err := f.Admin(t).Exec(t.Context(), `
		update accounts set balance = 1000000;
		create table ledger (request text not null, account bigint not null, amount bigint not null);
		create index on ledger (request);
		grant all on ledger to `+pgserver.AppRole)
	require.NoError(t, err)
	const workers = 8
	var tellers [workers]*teller
	var back time.Duration
	watched(t, func(ctx context.Context) {
		cfg := poolConfig(t, f.AppURL())
		cfg.MaxConns = workers
		d := openConfig(t, cfg)
		var stop atomic.Bool
		var all sync.WaitGroup
		for i := range tellers {
			tellers[i] = &teller{n: i, db: d, random: rand.New(rand.NewPCG(seed, uint64(i))), said: map[string]error{}}
			all.Go(func() {
				for !stop.Load() {
					if err := tellers[i].serve(ctx); err != nil {
						t.Errorf("teller %d: %v", i, err)
						return
					}
				}
			})
		}
		back = s.pass(t, f.Server(), tellers[:], rand.New(rand.NewPCG(seed, workers)))
		stop.Store(true)
		all.Wait()
		released(t, d)
		d.Close()
	})

	f.db.Pool().Reset()
	total, calls, again, unsure := f.audit(t, tellers[:])
	counted := fmt.Sprintf("%s; %d outages, %d calls (%d repeated, %d of them after an unknown outcome), all working again within %.2f s",
		&total, s.outages, calls, again, unsure, back.Seconds())
	t.Log(counted)
	report.add("server stopped and started", counted)
	require.GreaterOrEqual(t, total.points, s.transfers)
	require.Positive(t, again, "the outages were not noticed")
	total.clean(t)
}

// pass lets the outages happen, and returns how long after a start it took, at most, until
// every teller had moved money again.
func (s season) pass(t *testing.T, server *pgserver.Server, tellers []*teller, random *rand.Rand) (longest time.Duration) {
	const patience = 10 * time.Second
	progress := func(what string, limit time.Duration, enough func(i int, moved int64) bool) time.Duration {
		since := time.Now()
		require.Eventually(t, func() bool {
			for i, worker := range tellers {
				if !enough(i, worker.moved.Load()) {
					return false
				}
			}
			return true
		}, limit, time.Millisecond, what)
		return time.Since(since)
	}
	for n := range s.outages {
		pause := time.NewTimer(s.every[0] + time.Duration(random.Int64N(int64(s.every[1]-s.every[0]))))
		select {
		case <-pause.C:
		case <-t.Context().Done():
			return longest
		}
		o := pgserver.Outage{Crash: n%2 == 1, For: time.Duration(random.Int64N(int64(s.stopped)))}
		unwatched(t.Context(), func(ctx context.Context) { require.NoError(t, server.Outage(ctx, o)) })
		before := make([]int64, len(tellers))
		for i, worker := range tellers {
			before[i] = worker.moved.Load()
		}
		longest = max(longest, progress("work goes on", patience, func(i int, moved int64) bool { return moved > before[i] }))
	}
	each := int64(s.transfers/len(tellers) + 1)
	progress("all is done", 5*time.Minute, func(_ int, moved int64) bool { return moved >= each })
	return longest
}

// A teller moves money as one does who has to know what became of it: a call without an
// answer is repeated with the same key.
type teller struct {
	n        int
	db       *txn.DB
	random   *rand.Rand
	moved    atomic.Int64
	requests int
	calls    int
	again    int
	unsure   int              // repeated although the work may have been done
	said     map[string]error // the last answer to each request
}

// serve serves one request, three in four with a key. What is said not to be done is
// repeated, or in one of four cases left so.
func (w *teller) serve(ctx context.Context) error {
	w.requests++
	request := fmt.Sprintf("teller %d, request %d", w.n, w.requests)
	from := 1 + w.random.Int64N(4)
	to := 1 + (from+w.random.Int64N(3))%4
	opts := txn.Options{Label: "transfer"}
	if w.random.IntN(4) > 0 {
		opts.IdempotencyKey = request
	}
	unsure := false
	for {
		w.calls++
		err := w.transfer(ctx, opts, request, from, to)
		w.said[request] = err
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		switch {
		case err == nil:
			w.moved.Add(1)
			return nil
		case errors.Is(err, txn.ErrAlreadyCommitted):
			if !unsure {
				return fmt.Errorf("%s: done before, by a call that said it was not", request)
			}
			w.moved.Add(1)
			return nil
		case unknown && opts.IdempotencyKey == "":
			return nil // whoever repeats it now may do it twice
		case unknown:
			unsure = true
		case !txn.IsRetryable(err):
			return fmt.Errorf("%s: %w", request, err)
		case !unsure && w.random.IntN(4) == 0:
			return nil
		}
		w.again++
		if unsure {
			w.unsure++
		}
		pause := time.NewTimer(time.Duration(w.random.Int64N(int64(20 * time.Millisecond))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *teller) transfer(ctx context.Context, opts txn.Options, request string, from, to int64) error {
	return txn.WithTx(ctx, w.db, opts, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := lockAccounts(ctx, tx, from, to); err != nil {
			return err
		}
		tx.Queue(moveSQL, from, int64(-1))
		tx.Queue(moveSQL, to, int64(1))
		tx.Queue("insert into ledger (request, account, amount) values ($1, $2, -1), ($1, $3, 1)", request, from, to)
		return nil
	})
}

// audit compares the tellers' answers with the books, and the books with the accounts.
func (f *fixture) audit(t *testing.T, tellers []*teller) (total tally, calls, again, unsure int) {
	t.Helper()
	effects := map[string]int{}
	rows, err := f.db.Pool().Query(t.Context(), "select request, count(*) from ledger group by request")
	require.NoError(t, err)
	for rows.Next() {
		var request string
		var entries int
		require.NoError(t, rows.Scan(&request, &entries))
		require.Zero(t, entries%2, request)
		effects[request] = entries / 2
	}
	require.NoError(t, rows.Err())
	for _, w := range tellers {
		for request, err := range w.said {
			total.count(err, effects[request])
			delete(effects, request)
		}
		calls += w.calls
		again += w.again
		unsure += w.unsure
	}
	require.Empty(t, effects, "nobody asked for it")
	require.Empty(t, column[int64](t, f.db.Pool(), `
		select id from accounts where balance <> 1000000 + (select coalesce(sum(amount), 0) from ledger where account = id)`))
	require.Equal(t, []int64{4_000_000}, column[int64](t, f.db.Pool(), "select sum(balance)::bigint from accounts"))
	return total, calls, again, unsure
}
