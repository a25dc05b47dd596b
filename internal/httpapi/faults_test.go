package httpapi_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A payment is a transfer that a client wants made once, and what it was told.
type payment struct {
	key      string
	from, to int64
	amount   int64
	clients  int // that send it at the same time

	mu        sync.Mutex
	transfers map[int64]int // ids in answers
	fresh     int           // answers that did not say replayed
}

// pay repeats the request, as it is and with its key, until there is an answer to it.
func (s *site) pay(ctx context.Context, p *payment, unknown *atomic.Int64) error {
	body := fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": %d}`, p.from, p.to, p.amount)
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		a, err := s.do(ctx, http.MethodPost, "/transfers", body, "Idempotency-Key: "+p.key)
		switch {
		case err != nil: // the request, or its answer, may be lost: the key tells
		case a.status == http.StatusCreated:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.transfers[a.number("transfer")]++
			if a.body["replayed"] == false {
				p.fresh++
			}
			return nil
		case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
			if a.problem() == "unknown-outcome" {
				unknown.Add(1)
			}
		default:
			return fmt.Errorf("%s: status %d: %s", p.key, a.status, a.text)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", p.key, ctx.Err())
		}
	}
}

// strikes are faults on the way to the database, each with a chance to hit any request.
var strikes = []faultproxy.Fault{
	{SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}},
	{SQL: "^commit$", Do: faultproxy.Cut{}},
	{SQL: "RecordTransfer", Answer: true, Do: faultproxy.Cut{}},
	{SQL: "LockAccounts", Do: faultproxy.Cut{Reset: true}},
	{From: faultproxy.Server, Nth: 17, Do: faultproxy.Cut{}},
	{Nth: 23, Do: faultproxy.Cut{After: true}},
	{SQL: "RecordTransfer", Do: faultproxy.Fail{SQLState: "40001"}},
	{SQL: "^commit$", Do: faultproxy.Fail{SQLState: "57P01", Fatal: true}},
}

// strike breaks a connection and kills a session each time that a payment is through, until ctx
// ends.
func (s *site) strike(ctx context.Context, through <-chan struct{}, done *atomic.Int64) error {
	const kill = `
		select count(*) filter (where pg_terminate_backend(pid)) from (
			select pid from pg_stat_activity
			where usename = 'interlock_app' and datname = current_database() and state <> 'idle' limit 1) busy`
	for n := 0; ctx.Err() == nil; n++ {
		fault := s.proxy.Arm(strikes[n%len(strikes)])
		if fault.Wait(ctx) == nil {
			done.Add(1)
		}
		fault.Disarm()
		if _, err := s.admin.Exec(ctx, kill); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-through:
		case <-ctx.Done():
		}
	}
	return nil
}

// Clients that repeat what they got no answer to, with the key, have moved their money once:
// each that got an answer, and none twice, although connections to the database break at every
// moment, and answers to COMMIT are lost.
func TestMoneyMovesOnceUnderFaults(t *testing.T) {
	for name, resolve := range map[string]txn.CommitResolution{
		"outcomes are found out": txn.ResolveByXID,
		"outcomes stay unknown":  txn.ResolveNever,
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t, txn.Config{ResolveCommits: resolve}, httpapi.Config{})
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			accounts := []int64{s.customer(t), s.customer(t), s.customer(t), s.customer(t)}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()

			const payments, strikesWanted = 40, 16
			var struck, unknown atomic.Int64
			striking, end := context.WithCancel(ctx)
			var around, workers sync.WaitGroup
			var strikeErr error
			through := make(chan struct{}, 1)
			around.Go(func() { strikeErr = s.strike(striking, through, &struck) })

			var all []*payment
			requests := make(chan *payment)
			errs := make(chan error, 8)
			for range 8 {
				workers.Go(func() {
					for p := range requests {
						var clients sync.WaitGroup
						for range p.clients {
							clients.Go(func() {
								if err := s.pay(ctx, p, &unknown); err != nil {
									select {
									case errs <- err:
									default:
									}
								}
							})
						}
						clients.Wait()
						select {
						case through <- struct{}{}:
						default:
						}
					}
				})
			}
			for n := 0; (n < payments || struck.Load() < strikesWanted) && ctx.Err() == nil; n++ {
				from := rng.IntN(len(accounts))
				p := &payment{
					key: fmt.Sprintf("payment-%d", n), from: accounts[from], to: accounts[(from+1+rng.IntN(3))%len(accounts)],
					amount: 1 + rng.Int64N(3), clients: 1 + rng.IntN(2), transfers: map[int64]int{},
				}
				all = append(all, p)
				requests <- p
			}
			close(requests)
			workers.Wait()
			end()
			around.Wait()
			require.NoError(t, strikeErr)
			select {
			case err := <-errs:
				require.NoError(t, err)
			default:
			}
			require.GreaterOrEqual(t, struck.Load(), int64(strikesWanted), "faults that hit")
			if resolve == txn.ResolveNever {
				require.Positive(t, unknown.Load(), "answers that the outcome is unknown")
			}
			t.Logf("%d payments, %d faults, %d unknown outcomes", len(all), struck.Load(), unknown.Load())

			s.requireOnce(t, accounts, all)
		})
	}
}

// requireOnce compares what clients were told with the books.
func (s *site) requireOnce(t *testing.T, accounts []int64, all []*payment) {
	t.Helper()
	want := map[int64]int64{}
	for _, id := range accounts {
		want[id] = 1000
	}
	keys := map[string]*payment{}
	for _, p := range all {
		want[p.from] -= p.amount
		want[p.to] += p.amount
		keys["http:"+p.key] = p
		require.Len(t, p.transfers, 1, "%s: all its answers name one transfer", p.key)
		require.LessOrEqual(t, p.fresh, 1, "%s: one of its answers, at most, says that it did it", p.key)
	}
	rows, err := s.admin.Query(t.Context(), "select id, idempotency_key, from_account, to_account, amount_minor from transfers where kind = 'transfer'")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id, from, to, amount int64
		var key string
		require.NoError(t, rows.Scan(&id, &key, &from, &to, &amount))
		p := keys[key]
		require.NotNil(t, p, "%s: nobody asked for it, or twice", key)
		require.Equal(t, []int64{p.from, p.to, p.amount}, []int64{from, to, amount}, key)
		require.Contains(t, p.transfers, id, key)
		delete(keys, key)
	}
	require.NoError(t, rows.Err())
	require.Empty(t, keys, "acknowledged, and not there")
	for _, id := range accounts {
		require.Equal(t, want[id], s.balance(t, id), "account %d", id)
	}
}
