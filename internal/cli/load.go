package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// A load asks the account service for transfers from many goroutines, and notes what each
// call reported.
type load struct {
	demo     *demo
	stage    *stage
	db       *txn.DB
	accounts []int64
	kills    *fault
	cuts     *fault

	// The same between COMMIT and its answer.
	commitKills, commitCuts *fault

	tally *tally
	took  time.Duration // of run
}

func newLoad(d *demo, s *stage) *load {
	t := newTally()
	return &load{
		demo:  d,
		stage: s,
		db: txn.New(s.app, txn.Config{
			Options:   txn.Options{OnRetry: t.noteRetry},
			Observers: []txn.Observer{t},
		}),
		kills: &fault{name: "kills", wanted: d.kills, hit: &t.killed, strike: s.kill},
		cuts:  &fault{name: "cuts", wanted: d.cuts, hit: &t.cut, strike: s.cut},
		commitKills: &fault{
			name: "kills", wanted: min(d.commits, d.kills), hit: &t.commitKilled, strike: s.killCommitting,
		},
		commitCuts: &fault{
			name: "cuts", wanted: min(d.commits, d.cuts), hit: &t.commitCut, strike: s.cutCommitting,
		},
		tally: t,
	}
}

func (l *load) faults() []*fault { return []*fault{l.kills, l.cuts, l.commitKills, l.commitCuts} }

// open signs users up, whose accounts hold the welcome bonus then.
func (l *load) open(ctx context.Context) error {
	for n := range l.demo.accounts {
		user, err := account.SignUp(ctx, l.db, account.SignUpRequest{
			Email: fmt.Sprintf("user-%d@example.com", n+1),
			Name:  fmt.Sprintf("User %d", n+1),
		})
		if err != nil {
			return fmt.Errorf("demo: user %d: %w", n+1, err)
		}
		l.accounts = append(l.accounts, user.AccountID)
	}
	return nil
}

// opened is what all accounts hold together, from the beginning to the end.
func (l *load) opened() money.Minor {
	return money.Minor(len(l.accounts)) * account.WelcomeBonus
}

// run asks for all transfers while connections are ended, and returns when every call has
// returned.
func (l *load) run(ctx context.Context) error {
	start := time.Now()
	defer func() { l.took = time.Since(start) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var around sync.WaitGroup
	for _, f := range l.faults() {
		around.Go(func() {
			if err := f.inflict(ctx, l.done); err != nil {
				cancel(err)
			}
		})
	}
	around.Go(func() { l.watch(ctx) })

	requests := make(chan request)
	var workers sync.WaitGroup
	for range l.demo.workers {
		workers.Go(func() {
			for r := range requests {
				l.serve(ctx, r)
			}
		})
	}
	err := l.send(ctx, requests)
	close(requests)
	workers.Wait()
	cancel(nil)
	around.Wait()
	return err
}

// done is how much of the work is done, from 0 to 1.
func (l *load) done() float64 {
	return min(1, float64(l.tally.done.Load())/float64(l.demo.transfers))
}

// faultPatience is how much longer than for the transfers the load goes on for the faults.
const faultPatience = 30 * time.Second

// send sends the requests to the workers, until all transfers were asked for and all faults
// have hit.
func (l *load) send(ctx context.Context, requests chan<- request) error {
	asked := 0
	var late <-chan time.Time
	for r := range l.requests() {
		if asked >= l.demo.transfers {
			if !slices.ContainsFunc(l.faults(), (*fault).incomplete) {
				break
			}
			if late == nil {
				late = time.After(faultPatience)
			}
		}
		select {
		case requests <- r:
			asked += r.transfers
		case <-late:
			return context.Cause(ctx) // and the report says which are missing
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

// A request is what one client asks for, or two that come at the same time.
type request struct {
	calls     [][]account.TransferRequest // each client's: one transaction
	transfers int                         // different ones in them
}

// Shares of the requests, in percent. The rest are plain transfers.
const (
	percentCrossed      = 2  // two clients with two transfers each, which deadlock
	percentInsufficient = 5  // more than all accounts hold together
	percentTwice        = 10 // two clients with one transfer and one key, like a double click
)

// requests are the same for the same seed, without end.
func (l *load) requests() iter.Seq[request] {
	return func(yield func(request) bool) {
		rng := rand.New(rand.NewPCG(l.demo.seed, 0))
		amount := func() money.Minor { return money.Minor(1 + rng.IntN(50)) }
		for n := 1; ; n++ {
			key := fmt.Sprintf("demo-%d-%d", l.demo.seed, n)
			from, to := l.pair(rng)
			plain := account.TransferRequest{From: from, To: to, Amount: amount(), Key: key}
			r := request{transfers: 1}
			switch dice := rng.IntN(100); {
			case dice < percentCrossed:
				r.calls, r.transfers = l.crossed(rng, amount, key), 4
			case dice < percentCrossed+percentInsufficient:
				plain.Amount = l.opened() + 1
				r.calls = [][]account.TransferRequest{{plain}}
			case dice < percentCrossed+percentInsufficient+percentTwice:
				r.calls = [][]account.TransferRequest{{plain}, {plain}}
			default:
				r.calls = [][]account.TransferRequest{{plain}}
			}
			if !yield(r) {
				return
			}
		}
	}
}

// pair returns two different accounts.
func (l *load) pair(rng *rand.Rand) (from, to int64) {
	i, j := rng.IntN(len(l.accounts)), rng.IntN(len(l.accounts)-1)
	if j >= i {
		j++
	}
	return l.accounts[i], l.accounts[j]
}

// crossed are two calls that wait for one another. A transfer takes its locks in order; two in
// one transaction do not. All deadlocks of a demonstration begin with these: without them
// there are none.
func (l *load) crossed(rng *rand.Rand, amount func() money.Minor, key string) [][]account.TransferRequest {
	p := rng.Perm(len(l.accounts))
	transfer := func(from, to int, key string) account.TransferRequest {
		return account.TransferRequest{From: l.accounts[p[from]], To: l.accounts[p[to]], Amount: amount(), Key: key}
	}
	return [][]account.TransferRequest{
		{transfer(0, 1, key+"a"), transfer(2, 3, key+"b")},
		{transfer(3, 2, key+"c"), transfer(1, 0, key+"d")},
	}
}

func (l *load) serve(ctx context.Context, r request) {
	var clients sync.WaitGroup
	for _, transfers := range r.calls {
		clients.Go(func() { l.ask(ctx, transfers) })
	}
	clients.Wait()
	l.tally.done.Add(int64(r.transfers))
}

// ask is a client, who asks once. What a fault did to the request is for the transaction to
// make up for.
func (l *load) ask(ctx context.Context, transfers []account.TransferRequest) {
	start := time.Now()
	replayed, err := l.call(ctx, transfers)
	l.tally.note(transfers, replayed, err, time.Since(start))
}

// call makes the transfers in one transaction, and reports whether an earlier call had.
func (l *load) call(ctx context.Context, transfers []account.TransferRequest) (replayed bool, err error) {
	if len(transfers) == 1 {
		receipt, err := account.Transfer(ctx, l.db, transfers[0])
		return receipt.Replayed, err
	}
	// Most of these pairs deadlock, and some of their retries do so with others: of so many
	// calls three attempts, the default, would leave one undone now and then.
	opts := txn.Options{Label: "demo: several transfers", MaxAttempts: 6}
	return txn.WithTxValue(ctx, l.db, opts, func(ctx context.Context, tx *txn.Tx) (replayed bool, err error) {
		for _, t := range transfers {
			receipt, err := account.Transfer(ctx, tx, t)
			if err != nil {
				return false, err
			}
			replayed = receipt.Replayed
		}
		return replayed, nil
	})
}

// watch adds up the balances again and again while money moves between them: whoever looks
// sees whole transfers, never half of one.
func (l *load) watch(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	opts := txn.Options{Label: "demo: sum of balances"}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		sum, err := txn.WithReadTxValue(ctx, l.db, opts, func(ctx context.Context, rx *txn.ReadTx) (sum money.Minor, err error) {
			err = rx.QueryRow(ctx, "select sum(balance_minor)::bigint from accounts where kind = 'customer'").Scan(&sum)
			return sum, err
		})
		if err == nil {
			l.tally.noteLook(sum == l.opened())
		} else if ctx.Err() == nil && !txn.IsRetryable(err) {
			l.tally.noteUnexplained(errors.Join(errors.New("sum of balances"), err))
		}
	}
}

func (l *load) killed() int64 { return l.kills.ended.Load() + l.commitKills.ended.Load() }

func (l *load) cut() int64 { return l.cuts.ended.Load() + l.commitCuts.ended.Load() }

// line is the load's progress.
func (l *load) line(elapsed time.Duration) string {
	done := l.tally.done.Load()
	return fmt.Sprintf("transfers %d/%d, %.0f/s; connections killed %d, cut %d; retries %d",
		done, l.demo.transfers, float64(done)/elapsed.Seconds(),
		l.killed(), l.cut(), l.tally.retried.Load())
}
