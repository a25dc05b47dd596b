package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A slot is what was measured of one contender in its turn.
type slot struct {
	Contender    string
	Round, Turn  int
	Transactions int
	Wall         time.Duration
	CPU          time.Duration // of this process; 0 where it cannot be asked for
	Allocs       uint64
	Bytes        uint64
	Times        []time.Duration // of each transaction; none where they are not known

	// Of the whole turn, with what came before and after the measuring: what is under way at
	// a point in time has done a part of its round trips.
	AllTransactions int
	AllRoundTrips   int // -1: not counted
}

func (s *slot) per(total float64) float64 { return total / float64(s.Transactions) }
func (s *slot) throughput() float64       { return float64(s.Transactions) / s.Wall.Seconds() }
func (s *slot) cpu() float64              { return s.per(float64(s.CPU)) }

// fewest is how many transactions a slot has at least; it lasts longer if need be.
const fewest = 8

// A runner runs a contender's slots.
type runner struct {
	move    transfer
	next    func(r *rand.Rand) (from, to int64)
	workers int
	wire    *wire // nil: none
	latency time.Duration
	times   [][]time.Duration // of each worker; used again
}

// run lets the workers run without a pause, and measures for the length in the middle of it:
// from when all have their connection and did their first transaction, which no longer counts,
// and not until the last is done. So what is begun before and ended after is not in favour of
// the quick ones or the slow ones.
func (r *runner) run(ctx context.Context, length time.Duration, seed uint64) (s slot, err error) {
	for len(r.times) < r.workers {
		r.times = append(r.times, make([]time.Duration, 0, 1<<15)) // so that it does not show in Bytes
	}
	var open, over atomic.Bool
	var done, every atomic.Int64
	var warm, all sync.WaitGroup
	warm.Add(r.workers)
	failed := make(chan error, r.workers)
	trips, err := r.trips()
	if err != nil {
		return s, err
	}
	for i := range r.workers {
		all.Go(func() {
			first := sync.OnceFunc(warm.Done)
			defer first()
			times := r.times[i][:0]
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for !over.Load() {
				from, to := r.next(random)
				start := time.Now()
				if err := r.move(ctx, from, to, 1); err != nil {
					failed <- err
					return
				}
				every.Add(1)
				if took := time.Since(start); open.Load() && !over.Load() {
					times = append(times, took)
					done.Add(1)
				}
				first()
			}
			r.times[i] = times
		})
	}
	warm.Wait()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used, start := cpu(), time.Now()
	open.Store(true)
	for wait := length; ; wait = length / 4 {
		err = pause(ctx, wait, failed)
		if err != nil || done.Load() >= fewest {
			break
		}
	}
	over.Store(true)
	s.Wall, s.CPU = time.Since(start), cpu()-used
	runtime.ReadMemStats(&after)
	all.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	s.Allocs, s.Bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	s.Times = slices.Concat(r.times...)
	s.Transactions, s.AllTransactions = len(s.Times), int(every.Load())
	now, terr := r.trips()
	if s.AllRoundTrips = now - trips; r.wire == nil {
		s.AllRoundTrips = -1
	}
	return s, errors.Join(err, terr)
}

func (r *runner) trips() (int, error) {
	if r.wire == nil {
		return 0, nil
	}
	return r.wire.trips(r.latency)
}

// pause waits, unless something fails before.
func pause(ctx context.Context, d time.Duration, failed <-chan error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
