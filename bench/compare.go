package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// A cell is one comparison: a workload at a latency, with some workers at a time.
type cell struct {
	*workload
	latency time.Duration
	workers int
	slots   []slot
}

func (c *cell) String() string {
	way := c.latency.String() + " one way"
	if c.latency == direct {
		way = "no proxy"
	}
	return fmt.Sprintf("%s, %s, %d at a time", c.name, way, c.workers)
}

// An entrant takes part in a cell.
type entrant struct {
	name string
	run  func(ctx context.Context, length time.Duration, seed uint64) (slot, error)
	done func()
}

// A course is where the cells are run.
type course struct {
	url   string // of the database
	admin string // of the database, too
	wire  *wire
	slot  time.Duration // how long a turn takes without latency
	seed  uint64
	bench string // pgbench, "" if there is none
	log   func(format string, args ...any)
}

// length is how long a turn takes: at a distance a transaction takes longer, too.
func (c *course) length(of *cell) time.Duration { return c.slot + 100*max(of.latency, 0) }

// rounds are the fewest of a cell: of less a median says nothing.
const rounds = 3

// run measures the cells, each for its part of the time, which may not be enough for the fewest
// rounds.
func (c *course) run(ctx context.Context, cells []*cell, within time.Duration) error {
	deadline := time.Now().Add(within)
	var weight time.Duration
	for _, cell := range cells {
		weight += c.length(cell)
	}
	for _, cell := range cells {
		part := time.Duration(float64(time.Until(deadline)) * float64(c.length(cell)) / float64(weight))
		weight -= c.length(cell)
		if err := c.compare(ctx, cell, part); err != nil {
			return fmt.Errorf("%s: %w", cell, err)
		}
	}
	return nil
}

// compare lets the contenders take turns for as long as there is time.
func (c *course) compare(ctx context.Context, cell *cell, within time.Duration) error {
	start := time.Now()
	entrants, err := c.enter(ctx, cell)
	defer func() {
		for _, e := range entrants {
			e.done()
		}
	}()
	if err != nil {
		return err
	}
	money, err := total(ctx, c.admin)
	if err != nil {
		return err
	}
	order := rand.New(rand.NewPCG(c.seed, uint64(cell.latency)<<8|uint64(cell.workers)))
	round, longest := 0, time.Duration(0)
	for ; round < rounds || time.Since(start)+longest < within; round++ {
		began := time.Now()
		for turn, who := range order.Perm(len(entrants)) {
			runtime.GC() // nobody pays for what others left
			s, err := entrants[who].run(ctx, c.length(cell), c.seed+uint64(round))
			if err != nil {
				return fmt.Errorf("%s: %w", entrants[who].name, err)
			}
			s.Contender, s.Round, s.Turn = entrants[who].name, round, turn
			cell.slots = append(cell.slots, s)
		}
		longest = max(longest, time.Since(began))
	}
	c.log("%s: %d rounds in %s\n", cell, round, time.Since(start).Round(time.Second/10))
	left, err := total(ctx, c.admin)
	if err == nil && cell.conserves && left != money {
		err = fmt.Errorf("the accounts hold %d, and held %d before", left, money)
	}
	return err
}

// enter opens the contenders, and lets each run for a while, so that it has its connections
// and prepared its statements on all of them.
func (c *course) enter(ctx context.Context, cell *cell) (entrants []entrant, err error) {
	url, way := c.wire.URL, c.wire
	if cell.latency == direct {
		url, way = c.url, nil
	} else if _, err := c.wire.trips(0); err != nil {
		return nil, err
	}
	for _, contender := range cell.contenders {
		move, done, err := contender.open(ctx, url, cell.workers)
		if err != nil {
			return entrants, fmt.Errorf("%s: %w", contender.name, err)
		}
		r := &runner{move: move, next: cell.next, workers: cell.workers, wire: way, latency: cell.latency}
		entrants = append(entrants, entrant{contender.name, r.run, done})
		warmUp := *r
		warmUp.latency = max(cell.latency, 0)
		if _, err := warmUp.run(ctx, min(c.slot, time.Second/10), 0); err != nil {
			return entrants, fmt.Errorf("%s: %w", contender.name, err)
		}
	}
	if cell.latency == direct && cell.name == "transfer" && c.bench != "" {
		entrants = append(entrants, c.pgbench(cell.workers))
	}
	return entrants, nil
}
