package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// A load asks the application for everything that the scenes ask for, from many goroutines,
// and notes what each call said.
type load struct {
	demo  *demo
	stage *stage
	parts []*part
	crew  *crew
	toll  *toll

	// The faults of this load. The last two are between COMMIT and its answer.
	kills, cuts, restarts, commitKills, commitCuts *fault

	start time.Time
	done  atomic.Int64  // things asked for, with an answer
	took  time.Duration // of run
}

// A part is a scene of this load.
type part struct {
	casting
	scene
	d     *txn.DB
	tally *tally
}

func newLoad(d *demo, s *stage, cast []casting) *load {
	t := newToll()
	l := &load{
		demo:     d,
		stage:    s,
		toll:     t,
		kills:    &fault{name: "kills", wanted: d.kills, hit: &t.killed, strike: s.kill},
		cuts:     &fault{name: "cuts", wanted: d.cuts, hit: &t.cut, strike: s.cut},
		restarts: &fault{name: "restarts", wanted: d.restarts, hit: &t.outages.over, by: 0.8},
		commitKills: &fault{
			name: "kills", wanted: min(d.commits, d.kills), hit: &t.commitKilled, strike: s.killCommitting,
		},
		commitCuts: &fault{
			name: "cuts", wanted: min(d.commits, d.cuts), hit: &t.commitCut, strike: s.cutCommitting,
		},
	}
	l.restarts.strike = func(ctx context.Context) (int64, error) { return s.restart(ctx, &t.outages) }
	for _, c := range cast {
		p := &part{casting: c, scene: c.make(d), tally: newTally(t)}
		p.d = txn.New(s.app, txn.Config{
			Options:   txn.Options{OnRetry: p.tally.noteRetry, MaxAttempts: c.attempts},
			Observers: []txn.Observer{p.tally},
		})
		l.parts = append(l.parts, p)
	}
	return l
}

func (l *load) faults() []*fault {
	return []*fault{l.kills, l.cuts, l.restarts, l.commitKills, l.commitCuts}
}

// open opens the scenes. What is lost in a crash then is the whole demonstration, so that COMMIT need
// not wait for the disk.
func (l *load) open(ctx context.Context) error {
	d := txn.New(l.stage.app, txn.Config{Options: txn.Options{SynchronousCommit: txn.SyncOff}})
	for _, p := range l.parts {
		if err := p.open(ctx, d); err != nil {
			return fmt.Errorf("demo: open %s: %w", p.name, err)
		}
	}
	return nil
}

// intention says what is going to happen.
func (l *load) intention() string {
	var names []string
	for _, p := range l.parts {
		names = append(names, p.name)
	}
	text := fmt.Sprintf("%d goroutines ask for ", l.demo.workers) + strings.Join(names, ", ")
	if l.demo.requests > 0 {
		return text + fmt.Sprintf(": %d requests", l.demo.requests)
	}
	return text + fmt.Sprintf(" for %s", l.demo.duration)
}

// An errand is a request on its way to a worker.
type errand struct {
	part *part
	request
}

// errands are the requests of all scenes, in an order that is the same for the same seed.
func (l *load) errands() iter.Seq[errand] {
	return func(yield func(errand) bool) {
		next := map[*part]func() (request, bool){}
		for _, p := range l.parts {
			n, stop := iter.Pull(p.requests(l.demo.seed))
			defer stop()
			next[p] = n
		}
		// Each comes as often as its weight says, spread evenly: the one that is furthest
		// behind is the next.
		asked := map[*part]int{}
		for {
			p := slices.MinFunc(l.parts, func(a, b *part) int { return (1+asked[a])*b.weight - (1+asked[b])*a.weight })
			asked[p]++
			r, ok := next[p]()
			if !ok || !yield(errand{p, r}) {
				return
			}
		}
	}
}

// run asks for everything while connections are ended, and returns when every call has
// returned and every job is done.
func (l *load) run(ctx context.Context, stderr io.Writer) (err error) {
	if l.crew, err = l.stage.hire(ctx, l.toll); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.crew.leave(ctx)) }()
	show := startProgress(stderr, l.line)
	err = l.ask(ctx)
	show.stop()
	if err != nil {
		return err
	}
	return l.crew.finish(ctx, l.stage.admin, stderr)
}

// ask asks for everything, and returns when every call has returned.
func (l *load) ask(ctx context.Context) error {
	l.start = time.Now()
	defer func() { l.took = time.Since(l.start) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var around sync.WaitGroup
	for _, f := range l.faults() {
		around.Go(func() {
			if err := f.inflict(ctx, l.progress); err != nil {
				cancel(err)
			}
		})
	}
	for _, p := range l.parts {
		around.Go(func() { p.watch(ctx) })
	}

	errands := make(chan errand)
	var workers sync.WaitGroup
	for range l.demo.workers {
		workers.Go(func() {
			for e := range errands {
				l.serve(ctx, e)
			}
		})
	}
	err := l.send(ctx, errands)
	close(errands)
	workers.Wait()
	cancel(nil)
	around.Wait()
	return err
}

// progress is how much of the work is done, from 0 to 1.
func (l *load) progress() float64 {
	if l.demo.requests > 0 {
		return min(1, float64(l.done.Load())/float64(l.demo.requests))
	}
	return min(1, float64(l.served())/float64(l.demo.duration))
}

// served is how long there was a server to be asked.
func (l *load) served() time.Duration { return time.Since(l.start) - l.toll.outages.total() }

// faultPatience is how much longer than for the work the load goes on for the faults.
const faultPatience = 30 * time.Second

// send sends the requests to the workers, until all was asked for and all faults have hit.
func (l *load) send(ctx context.Context, errands chan<- errand) error {
	asked := 0
	enough := func() bool { return asked >= l.demo.requests }
	if l.demo.requests == 0 {
		enough = func() bool { return l.served() >= l.demo.duration }
	}
	var late <-chan time.Time
	for e := range l.errands() {
		if enough() {
			if !slices.ContainsFunc(l.faults(), (*fault).incomplete) {
				break
			}
			if late == nil {
				late = time.After(faultPatience)
			}
		}
		select {
		case errands <- e:
			asked += e.work()
		case <-late:
			return context.Cause(ctx) // and the report says which are missing
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

func (l *load) serve(ctx context.Context, e errand) {
	var clients sync.WaitGroup
	for _, c := range e.request {
		clients.Go(func() { e.part.serve(ctx, c) })
	}
	clients.Wait()
	l.done.Add(int64(e.work()))
}

// watch looks at the scene again and again, if it is one to be looked at.
func (p *part) watch(ctx context.Context) {
	seen, ok := p.scene.(looker)
	if !ok {
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		right, err := seen.look(asking(ctx), p.d)
		if err == nil {
			p.tally.noteLook(right)
		} else if ctx.Err() == nil && !txn.IsRetryable(err) {
			p.tally.noteUnexplained(errors.Join(errors.New("look at "+p.name), err))
		}
	}
}

func (l *load) killed() int64 { return l.kills.ended.Load() + l.commitKills.ended.Load() }

func (l *load) cut() int64 { return l.cuts.ended.Load() + l.commitCuts.ended.Load() }

// line is the load's progress.
func (l *load) line(elapsed time.Duration) string {
	done := l.done.Load()
	text := fmt.Sprintf("%3.0f%%: requests %d, %.0f/s", 100*l.progress(), done, float64(done)/elapsed.Seconds())
	if l.demo.faults {
		text += fmt.Sprintf("; killed %d, cut %d, restarted %d", l.killed(), l.cut(), l.toll.outages.over.Load())
	}
	return text + fmt.Sprintf("; retries %d", l.toll.retried.Load())
}
