package cli

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// outages are the times when the server was stopped. They are safe for concurrent use.
type outages struct {
	over atomic.Int64 // how many

	mu     sync.Mutex
	down   bool
	began  time.Time
	ended  time.Time // the last one
	lasted time.Duration
}

// longest is for how long the server stays stopped, at most.
const longest = time.Second

// feltFor is how long after an outage the application may still come upon connections that
// ended in it: a connection that was idle for longer is tried by the pool before it is used.
const feltFor = time.Second

func (o *outages) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down, o.began = true, time.Now()
}

func (o *outages) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down, o.ended = false, time.Now()
	o.lasted += o.ended.Sub(o.began)
	o.over.Add(1)
}

// since reports whether the server is stopped, or was at some time since then.
func (o *outages) since(then time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down || !o.ended.IsZero() && then.Before(o.ended)
}

// felt reports whether what is going on since then may be an outage's consequence.
func (o *outages) felt(then time.Time) bool { return o.since(then.Add(-feltFor)) }

// total is how long the server was stopped so far.
func (o *outages) total() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return o.lasted + time.Since(o.began)
	}
	return o.lasted
}

// restart stops the server for a while, in an orderly way and as a failure would in turn. No
// other fault strikes meanwhile, nor as long as the outage is felt.
func (s *stage) restart(ctx context.Context, o *outages) (int64, error) {
	s.striking.Lock()
	defer s.striking.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err := s.outage(ctx, o); err != nil {
		return 1, err
	}
	felt := time.NewTimer(feltFor)
	defer felt.Stop()
	select {
	case <-felt.C:
	case <-ctx.Done():
	}
	return 1, nil
}

func (s *stage) outage(ctx context.Context, o *outages) error {
	// What was begun is finished when the load ends meanwhile: the books are yet to be read.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartPatience)
	defer cancel()
	o.begin()
	defer o.end()
	err := s.server.Outage(ctx, pgserver.Outage{Crash: o.over.Load()%2 == 1, For: rand.N(longest)})
	s.admin.Reset()
	return err
}

const restartPatience = time.Minute
