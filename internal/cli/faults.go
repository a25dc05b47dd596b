package cli

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// A fault ends connections of the application at moments that it knows nothing of.
type fault struct {
	wanted int                                  // how many attempts are to be hit in the middle of a transaction
	hit    *atomic.Int64                        // how many were, as the attempts themselves report
	strike func(context.Context) (int64, error) // ends a connection; 0 if there was none to end
	ended  atomic.Int64                         // connections ended, those included that were idle or had done their work
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
	const all = 0.97
	return int64(float64(f.wanted) * min(1, done/all))
}

func (f *fault) incomplete() bool { return f.hit.Load() < int64(f.wanted) }

// killSQL ends one of the application's sessions that is at work.
const killSQL = `
	select count(*) filter (where pg_terminate_backend(pid)) from (
		select pid from pg_stat_activity
		where usename = $1 and datname = current_database() and state <> 'idle'
		order by random() limit 1) busy`

// kill has the server end a session, as an operator or a failing server does.
func (s *stage) kill(ctx context.Context) (ended int64, err error) {
	err = s.admin.QueryRow(ctx, killSQL, pgserver.AppRole).Scan(&ended)
	return ended, err
}

// A network carries the application's connections, and can break them.
type network struct {
	mu   sync.Mutex
	open map[*wire]bool
}

type wire struct {
	net.Conn
	network    *network
	committing atomic.Bool // COMMIT was sent and nothing received since
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, network: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open[w] = true
	return w, nil
}

// commitText is COMMIT in every message that can carry it.
var commitText = []byte("commit\x00")

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err == nil && bytes.Contains(p, commitText) {
		w.committing.Store(true)
	}
	return n, err
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.committing.Store(false)
	return n, err
}

func (w *wire) Close() error {
	w.network.mu.Lock()
	delete(w.network.open, w)
	w.network.mu.Unlock()
	return w.Conn.Close()
}

// cut breaks one of the connections. The server learns of it when it next reads or writes: a
// COMMIT that it has received is carried out, and its answer is lost.
func (n *network) cut(context.Context) (int64, error) {
	return n.cutOne(func(*wire) bool { return true })
}

// cutCommitting breaks one of the connections that wait for the answer to COMMIT.
func (n *network) cutCommitting(context.Context) (int64, error) {
	return n.cutOne(func(w *wire) bool { return w.committing.Load() })
}

func (n *network) cutOne(pass func(*wire) bool) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.open { // in no order
		if pass(w) {
			delete(n.open, w)
			return 1, w.Conn.Close()
		}
	}
	return 0, nil
}
