package txn_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// A few workers change one row, then many, in turns, beside plain pgx. Nothing is lost; how
// much less gets done in a crowd is a figure, and no test: it depends on the machine. So that
// it depends on nothing else, this test runs alone.
func TestFaultsOfACrowd(t *testing.T) {
	c := crowd{few: 2, many: 8, rounds: 1, window: 50 * time.Millisecond}
	delays := []time.Duration{0}
	if *long {
		c = crowd{few: 8, many: 64, rounds: 5, window: time.Second}
		delays = []time.Duration{0, time.Millisecond}
	}
	for _, delay := range delays {
		database := txntest.NewDatabase(t, schema)
		f := &fixture{Database: database, db: open(t, database.AppURL(), txn.Config{})}
		_, err := f.Admin(t).Exec(t.Context(), "update accounts set balance = 0 where id = 1")
		require.NoError(t, err)
		p := txntest.NewProxy(t, f.AppURL())
		p.SetDelay(delay)
		pool := func(conns int) *txn.DB {
			cfg := poolConfig(t, p.URL())
			cfg.MaxConns = int32(conns)
			d := openConfig(t, cfg)
			fill(t, d.Pool(), conns)
			return d
		}
		d, bounded := pool(c.many), pool(c.few)
		ways := map[string]func(ctx context.Context) error{
			"plain pgx": func(ctx context.Context) error {
				return pgx.BeginFunc(ctx, d.Pool(), func(tx pgx.Tx) error {
					_, err := tx.Exec(ctx, moveSQL, int64(1), int64(1))
					return err
				})
			},
		}
		for _, level := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
			opts := txn.Options{Isolation: level, MaxAttempts: 10_000}
			ways[level.String()] = func(ctx context.Context) error {
				return txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
					_, err := tx.Exec(ctx, moveSQL, int64(1), int64(1))
					return err
				})
			}
		}
		ways["read committed, all queued"] = func(ctx context.Context) error {
			return txn.WithTx(ctx, d, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
				tx.Queue(moveSQL, int64(1), int64(1))
				return nil
			})
		}
		ways["read committed, a small pool"] = func(ctx context.Context) error {
			return txn.WithTx(ctx, bounded, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, moveSQL, int64(1), int64(1))
				return err
			})
		}
		moved := 0
		for _, name := range slices.Sorted(maps.Keys(ways)) {
			few, many := c.compare(t, ways[name], &moved)
			counted := fmt.Sprintf("%d workers commit %.0f %% of what %d do (%.0f and %.0f a second)", c.many, 100*many/few, c.few, many, few)
			t.Logf("%s, %s: %s", name, delay, counted)
			report.add(fmt.Sprintf("one row, %s, %s one way", name, delay), counted)
		}
		require.EqualValues(t, moved, f.balance(t, 1))
	}
}

// A crowd is how many workers, and how often and for how long they work.
type crowd struct {
	few, many int
	rounds    int
	window    time.Duration
}

// compare returns how many transactions a second few workers make, and many.
func (c crowd) compare(t *testing.T, transaction func(context.Context) error, moved *int) (few, many float64) {
	t.Helper()
	done := map[int][]float64{} // by the number of workers
	for range c.rounds {
		for _, workers := range []int{c.few, c.many} {
			n, took := rush(t, workers, c.window, transaction)
			*moved += n
			done[workers] = append(done[workers], float64(n)/took.Seconds())
		}
	}
	return median(done[c.few]), median(done[c.many])
}

// rush has so many workers make transactions until the time is over, and returns how many they
// made.
func rush(t *testing.T, workers int, window time.Duration, transaction func(context.Context) error) (made int, took time.Duration) {
	t.Helper()
	var over atomic.Bool
	var done atomic.Int64
	var all sync.WaitGroup
	since := time.Now()
	defer time.AfterFunc(window, func() { over.Store(true) }).Stop()
	for range workers {
		all.Go(func() {
			for !over.Load() {
				if err := transaction(t.Context()); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return int(done.Load()), time.Since(since)
}

func median(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
