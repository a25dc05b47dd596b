package txn_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// At each message of a transfer, on both sides, the caller's context ends, and the network
// does what networks do. Nothing is lost, nothing is done twice, what the call says is true,
// and it says it soon.

// A plight is what befalls a call at a message, with the end of its context.
type plight struct {
	name string
	do   faultproxy.Action
	deaf bool // cancel requests are swallowed as well
	// The network comes back: at once, or after this part of ResolveTimeout, or, if neither,
	// when the call has returned.
	atOnce bool
	after  float64
}

var plights = []plight{
	{name: "cancelled", do: faultproxy.Hold{}, atOnce: true},
	{name: "held back for a while", do: faultproxy.Hold{}, after: 0.25},
	{name: "held back for good", do: faultproxy.Hold{}},
	{name: "black hole before", do: faultproxy.BlackHole{}},
	{name: "black hole after", do: faultproxy.BlackHole{After: true}},
	{name: "black hole, cancel requests too", do: faultproxy.BlackHole{}, deaf: true},
}

// A spot is a message of a call.
type spot struct {
	from faultproxy.Source
	nth  int
}

func (s spot) String() string {
	if s.from == faultproxy.Server {
		return fmt.Sprintf("the server's message %d", s.nth)
	}
	return fmt.Sprintf("the client's message %d", s.nth)
}

func TestFaultsAtEachMessage(t *testing.T) {
	timeout, last, together := 4*time.Second, 2, 12 // messages on each side; calls at a time
	if *long {
		timeout, last, together = 5*time.Second, 1000, 40 // the default, and all
	}
	for _, w := range cutWays[:3] { // those that leave something to ask for
		t.Run(w.name, func(t *testing.T) {
			f := setup(t, txn.Config{})
			f.commitTokens(t)
			f.effectsTable(t)
			_, err := f.Admin(t).Exec(t.Context(), "insert into accounts (id, balance) select n, 1000 from generate_series(5, 5000) n")
			require.NoError(t, err)
			cfg := txn.Config{BaseDelay: time.Microsecond, ResolveTimeout: timeout}
			if w.never {
				cfg.ResolveCommits = txn.ResolveNever
			}
			s := &sweep{f: f, way: w, cfg: cfg}
			watched(t, func(ctx context.Context) {
				s.run(t, ctx, s.spots(t, ctx, last), together)
			})
		})
	}
}

// A sweep makes a call for each spot, on a connection, a pool, a proxy and accounts of its own.
type sweep struct {
	f     *fixture
	way   way
	cfg   txn.Config
	calls atomic.Int64
}

// spots are the last messages of a call on either side.
func (s *sweep) spots(t *testing.T, ctx context.Context, last int) (spots []spot) {
	c, err := s.call(ctx)
	require.NoError(t, err)
	defer c.close()
	c.proxy.Reset()
	require.NoError(t, c.transfer(ctx, "counted"))
	n := c.proxy.Stats()
	for i := max(1, n.ClientMessages+1-last); i <= n.ClientMessages; i++ {
		spots = append(spots, spot{faultproxy.Client, i})
	}
	for i := max(1, n.ServerMessages+1-last); i <= n.ServerMessages; i++ {
		spots = append(spots, spot{faultproxy.Server, i})
	}
	return spots
}

// run makes a call for each plight at each spot, so many at a time: most of them wait.
func (s *sweep) run(t *testing.T, ctx context.Context, spots []spot, together int) {
	totals := make([]tally, len(plights))
	var mu sync.Mutex
	var all sync.WaitGroup
	room := make(chan struct{}, together)
	for i, p := range plights {
		for _, at := range spots {
			room <- struct{}{}
			all.Go(func() {
				defer func() { <-room }()
				one, err := s.befall(ctx, p, at)
				if err != nil {
					t.Errorf("%s, %s: %v", p.name, at, err)
				}
				mu.Lock()
				defer mu.Unlock()
				totals[i].add(one)
			})
		}
	}
	all.Wait()
	for i, p := range plights {
		what, total := p.name+", "+s.way.name, totals[i]
		t.Logf("%s: %s", what, &total)
		report.add(what, total.String())
		require.Equal(t, len(spots), total.points)
		total.clean(t)
		require.Zero(t, total.unknown)
		// Whatever is told has to be found out on a machine that may be busy.
		require.LessOrEqual(t, total.slowest, s.cfg.ResolveTimeout*5/4, "%s", what)
	}
}

// befall makes one call with the plight at the spot, and compares what it says with what is
// there when all has come to rest.
func (s *sweep) befall(ctx context.Context, p plight, at spot) (one tally, err error) {
	c, err := s.call(ctx)
	if err != nil {
		return one, err
	}
	defer c.close()
	if p.deaf {
		deaf := c.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Every: true, Do: faultproxy.BlackHole{}})
		defer deaf.Release()
		c.restored = deaf.Release
	}
	armed := c.proxy.Arm(faultproxy.Fault{From: at.from, Nth: at.nth, Do: p.do})
	defer armed.Release()
	caller, giveUp := context.WithCancel(ctx)
	defer giveUp()
	said := make(chan error, 1)
	go func() { said <- c.transfer(caller, "struck") }()
	if err := armed.Wait(ctx); err != nil {
		giveUp()
		return one, errors.Join(err, <-said)
	}
	since := time.Now()
	giveUp()
	switch {
	case p.atOnce:
		armed.Release()
	case p.after > 0:
		later := time.AfterFunc(time.Duration(p.after*float64(s.cfg.ResolveTimeout)), armed.Release)
		defer later.Stop()
	}
	var result error
	select {
	case result = <-said:
	case <-time.After(time.Minute):
		return one, errors.New("it did not return within a minute")
	}
	one.took(time.Since(since))
	armed.Release()
	c.restored()
	effects, err := c.settled(ctx)
	one.count(result, effects)
	if one.lost+one.doubled+one.lies+one.unknown > 0 {
		err = errors.Join(err, fmt.Errorf("done %d times, and the call said: %w", effects, result))
	}
	return one, err
}

// A sweptCall is what one call needs for itself.
type sweptCall struct {
	s        *sweep
	n        int64
	proxy    *faultproxy.Proxy
	db       *txn.DB
	from, to int64
	restored func() // lets cancel requests through again
}

// call makes a pool whose connection knows the transfer's statements.
func (s *sweep) call(ctx context.Context) (*sweptCall, error) {
	c := &sweptCall{s: s, n: s.calls.Add(1), restored: func() {}}
	c.from, c.to = 2*c.n+3, 2*c.n+4
	u, err := url.Parse(s.f.AppURL())
	if err != nil {
		return nil, err
	}
	q := u.Query()
	q.Set("application_name", c.name())
	u.RawQuery = q.Encode()
	if c.proxy, err = faultproxy.Start(ctx, u.String()); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(c.proxy.URL())
	if err != nil {
		c.proxy.Close()
		return nil, err
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	cfg.MaxConns = 1
	txn.ConfigurePool(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		c.proxy.Close()
		return nil, err
	}
	c.db = txn.New(pool, s.cfg)
	if err := c.transfer(ctx, "before"); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *sweptCall) close() {
	c.db.Close()
	c.proxy.Close()
}

func (c *sweptCall) name() string { return fmt.Sprint("call ", c.n) }

func (c *sweptCall) transfer(ctx context.Context, which string) error {
	return c.s.way.between(ctx, c.db, c.name()+" "+which, c.from, c.to)
}

// settled waits until the pool has its connection back and the server has come to the end of
// all that it was sent, and returns how often the money was moved by the call that was struck.
func (c *sweptCall) settled(ctx context.Context) (effects int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pool := c.s.f.db.Pool()
	for busy := true; busy; {
		err := pool.QueryRow(ctx, `select exists (
				select from pg_stat_activity where application_name = $1 and datname = current_database() and state <> 'idle')
			from pg_sleep(0.005)`, c.name()).Scan(&busy)
		if err != nil {
			return 0, fmt.Errorf("a session did not come to an end: %w", err)
		}
		if c.db.Pool().Stat().AcquiredConns() > 0 {
			busy = true
		}
	}
	var moved, received int
	if err := pool.QueryRow(ctx, `select
			(select count(*) from effects where request = $1),
			(select 999 - balance from accounts where id = $2), (select balance - 1001 from accounts where id = $3)`,
		c.name()+" struck", c.from, c.to).Scan(&effects, &moved, &received); err != nil {
		return 0, err
	}
	if moved != effects || received != effects {
		return effects, fmt.Errorf("%d was taken and %d arrived in %d transfers", moved, received, effects)
	}
	return effects, nil
}
