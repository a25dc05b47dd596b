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

// A wish is a transfer or an order that a client wants once, and what it was told.
type wish struct {
	key      string
	from, to int64 // of a transfer
	amount   int64 // of money; of an order: how many pieces
	user     int64 // of an order
	clients  int   // that send it at the same time

	mu    sync.Mutex
	ids   map[int64]int // of the transfer or the order, in answers
	fresh int           // answers that did not say replayed
}

func (w *wish) isOrder() bool { return w.user != 0 }

func (w *wish) request() (path, body, id string) {
	if w.isOrder() {
		return "/orders", fmt.Sprintf(`{"user": %d, "items": [{"product": 1, "quantity": %d}], "address": %s, "method": "card"}`,
			w.user, w.amount, someAddress), "order"
	}
	return "/transfers", fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": %d}`, w.from, w.to, w.amount), "transfer"
}

// fulfil repeats the request, as it is and with its key, until there is an answer to it.
func (s *site) fulfil(ctx context.Context, p *wish, unknown *atomic.Int64) error {
	path, body, id := p.request()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		a, err := s.do(ctx, http.MethodPost, path, body, "Idempotency-Key: "+p.key)
		switch {
		case err != nil: // the request, or its answer, may be lost: the key tells
		case a.status == http.StatusCreated:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.ids[a.number(id)]++
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
	{SQL: "CreateOrder", Answer: true, Do: faultproxy.Cut{}},
	{SQL: "LockProducts", Do: faultproxy.Fail{SQLState: "40P01"}},
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

// Clients that repeat what they got no answer to, with the key, have moved their money and got
// their goods once: each that got an answer, and none twice, although connections to the database break at every
// moment, and answers to COMMIT are lost.
func TestOnceUnderFaults(t *testing.T) {
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

			user := s.userOf(t, accounts[0])
			s.product(t, "Mug", 650, 100_000)

			const wishes, strikesWanted = 45, 16
			var struck, unknown atomic.Int64
			striking, end := context.WithCancel(ctx)
			var around, workers sync.WaitGroup
			var strikeErr error
			through := make(chan struct{}, 1)
			around.Go(func() { strikeErr = s.strike(striking, through, &struck) })

			var all []*wish
			requests := make(chan *wish)
			errs := make(chan error, 8)
			for range 8 {
				workers.Go(func() {
					for p := range requests {
						var clients sync.WaitGroup
						for range p.clients {
							clients.Go(func() {
								if err := s.fulfil(ctx, p, &unknown); err != nil {
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
			for n := 0; (n < wishes || struck.Load() < strikesWanted) && ctx.Err() == nil; n++ {
				from := rng.IntN(len(accounts))
				p := &wish{
					key: fmt.Sprintf("wish-%d", n), from: accounts[from], to: accounts[(from+1+rng.IntN(3))%len(accounts)],
					amount: 1 + rng.Int64N(3), clients: 1 + rng.IntN(2), ids: map[int64]int{},
				}
				if n%3 == 2 {
					p.from, p.to, p.user = 0, 0, user
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
			t.Logf("%d requests, %d faults, %d unknown outcomes", len(all), struck.Load(), unknown.Load())

			s.requireOnce(t, accounts, all)
		})
	}
}

// requireOnce compares what clients were told with the books.
func (s *site) requireOnce(t *testing.T, accounts []int64, all []*wish) {
	t.Helper()
	want := map[int64]int64{}
	for _, id := range accounts {
		want[id] = 1000
	}
	stock := int64(100_000)
	keys := map[string]*wish{}
	for _, w := range all {
		if w.isOrder() {
			stock -= w.amount
		} else {
			want[w.from] -= w.amount
			want[w.to] += w.amount
		}
		keys["http:"+w.key] = w
		require.Len(t, w.ids, 1, "%s: all its answers name one", w.key)
		require.LessOrEqual(t, w.fresh, 1, "%s: one of its answers, at most, says that it did it", w.key)
	}
	rows, err := s.admin.Query(t.Context(), `
		select id, idempotency_key, from_account, to_account, amount_minor from transfers where kind = 'transfer'
		union all
		select o.id, o.idempotency_key, 0, 0, i.quantity from orders o join order_items i on i.order_id = o.id`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id, from, to, amount int64
		var key string
		require.NoError(t, rows.Scan(&id, &key, &from, &to, &amount))
		w := keys[key]
		require.NotNil(t, w, "%s: nobody asked for it, or twice", key)
		require.Equal(t, []int64{w.from, w.to, w.amount}, []int64{from, to, amount}, key)
		require.Contains(t, w.ids, id, key)
		delete(keys, key)
	}
	require.NoError(t, rows.Err())
	require.Empty(t, keys, "acknowledged, and not there")
	for _, id := range accounts {
		require.Equal(t, want[id], s.balance(t, id), "account %d", id)
	}
	var left int64
	require.NoError(t, s.admin.QueryRow(t.Context(), "select stock from products").Scan(&left))
	require.Equal(t, stock, left)
}
