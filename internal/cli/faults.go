package cli

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// A fault ends connections of the application at moments that it knows nothing of.
type fault struct {
	name   string
	wanted int                                  // how many attempts are to be hit in the middle of a transaction
	hit    *atomic.Int64                        // how many were, as the attempts themselves report
	strike func(context.Context) (int64, error) // ends a connection; 0 if there was none to end
	ended  atomic.Int64                         // connections ended, those included that were idle or had done their work
	by     float64                              // all are to have hit when so much of the work is done; 0 is nearly all
}

// A stroke that has hit nothing after a while came too early or too late: another one follows.
const (
	strokeEvery    = 2 * time.Millisecond
	strokePatience = 25 * time.Millisecond
)

// inflict strikes in proportion to the work done, which is 0 to 1: faults are spread over the
// load, on a slow machine as on a fast one. It returns when ctx ends.
func (f *fault) inflict(ctx context.Context, done func() float64) error {
	tick := time.NewTicker(strokeEvery)
	defer tick.Stop()
	var last time.Time
	var before int64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		hit := f.hit.Load()
		if hit >= f.due(done()) || hit == before && time.Since(last) < strokePatience {
			continue
		}
		n, err := f.strike(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		f.ended.Add(n)
		before, last = hit, time.Now()
	}
}

// due is how many attempts should have been hit by now: all a little before the end.
func (f *fault) due(done float64) int64 {
	const nearly = 0.97
	return int64(float64(f.wanted) * min(1, done/cmp.Or(f.by, nearly)))
}

func (f *fault) incomplete() bool { return f.hit.Load() < int64(f.wanted) }

func (f *fault) String() string { return fmt.Sprintf("%d of %d %s", f.hit.Load(), f.wanted, f.name) }

// killSQL ends one of the application's sessions that is at work.
const killSQL = `
	select count(*) filter (where pg_terminate_backend(pid)) from (
		select pid from pg_stat_activity
		where usename = $1 and datname = current_database() and state <> 'idle'
		order by random() limit 1) busy`

// kill has the server end a session, as an operator or a failing server does.
func (s *stage) kill(ctx context.Context) (ended int64, err error) {
	s.striking.RLock()
	defer s.striking.RUnlock()
	return s.killed(ctx, killSQL, pgserver.AppRole)
}

// killed also counts when the load ends meanwhile, and ctx with it: the server may have done it.
func (s *stage) killed(ctx context.Context, sql string, arg any) (ended int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = s.admin.QueryRow(ctx, sql, arg).Scan(&ended)
	return ended, err
}

// killCommitting has the server end a session that waits for a COMMIT which the application
// has sent: the proxy holds it back meanwhile. Now and then kill hits one, too, that has got it.
func (s *stage) killCommitting(ctx context.Context) (ended int64, err error) {
	s.striking.RLock()
	defer s.striking.RUnlock()
	held := s.proxy.Arm(faultproxy.Fault{SQL: commitSQL, Do: faultproxy.Hold{}})
	defer held.Release()
	if err := held.Wait(ctx); err != nil {
		return 0, err
	}
	if ended, err = s.killed(ctx, "select count(*) filter (where pg_terminate_backend($1))", held.PID()); ended > 0 {
		_ = held.WaitSession(ctx) // which another fault may have cut off from the proxy
	}
	return ended, err
}

const commitSQL = "^commit$"

// cut breaks a connection before or after one of the next messages, from either side.
func (s *stage) cut(ctx context.Context) (int64, error) {
	return s.breakAt(ctx, faultproxy.Fault{
		From: faultproxy.Source(rand.IntN(2)), // Client or Server
		Nth:  1 + rand.IntN(50),
		Do:   faultproxy.Cut{After: rand.IntN(2) == 0, Reset: rand.IntN(2) == 0},
	})
}

// aroundCommit is where the answer to a COMMIT can be lost, of which the application always
// sees the same: with the COMMIT itself on its way, when the server gets it, and after the
// server has done it.
var aroundCommit = []faultproxy.Fault{
	{SQL: commitSQL, Do: faultproxy.Cut{}},
	{SQL: commitSQL, Do: faultproxy.Cut{After: true}},
	{SQL: commitSQL, Answer: true, Do: faultproxy.Cut{}},
}

// cutCommitting breaks a connection between a COMMIT that the application has sent and its
// answer, at each place in turn.
func (s *stage) cutCommitting(ctx context.Context) (int64, error) {
	n := s.commitCuts.Add(1) - 1
	return s.breakAt(ctx, aroundCommit[n%int64(len(aroundCommit))])
}

func (s *stage) breakAt(ctx context.Context, f faultproxy.Fault) (int64, error) {
	s.striking.RLock()
	defer s.striking.RUnlock()
	cut := s.proxy.Arm(f)
	err := cut.Wait(ctx)
	cut.Disarm()
	return int64(cut.Fired()), err
}
