package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A Proxy stands on the loopback interface in front of a PostgreSQL server. It passes on what
// clients and server send, counts it, delays it if asked to, and does the faults that it was
// armed with. Its methods are safe for concurrent use.
type Proxy struct {
	cfg    *pgconn.Config // of the server
	ln     net.Listener
	url    string
	delay  atomic.Int64 // one way
	refuse atomic.Bool
	counts counts

	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	relays map[*relay]struct{}
	armed  []*Armed
	arms   atomic.Int64      // len(armed), to be asked for each message
	holes  []<-chan struct{} // new connections wait until these are closed
}

// Start starts a proxy in front of the server of dsn, on a free port. It outlives ctx: Close it
// when it is no longer needed. Tests rather use txntest.NewProxy, which closes it for them.
//
// dsn may have any form that pgx takes. Of several hosts the first that answers is used for
// each connection, whatever target_session_attrs says. If dsn asks for TLS, the proxy speaks
// it with the server; with clients it never does.
func Start(ctx context.Context, dsn string) (*Proxy, error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("faultproxy: pgx cannot parse the connection string") // which may hold a password
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{
		cfg:    cfg,
		ln:     ln,
		url:    through(cfg, ln.Addr()),
		conns:  map[net.Conn]struct{}{},
		relays: map[*relay]struct{}{},
	}
	p.ctx, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.running.Go(p.accept)
	return p, nil
}

// through is the connection string of cfg by way of addr.
func through(cfg *pgconn.Config, addr net.Addr) string {
	q := url.Values{}
	for name, value := range cfg.RuntimeParams { // the options of pgx and its pool among them
		q.Set(name, value)
	}
	q.Set("sslmode", "disable")
	for name, value := range map[string]string{
		"require_auth":         cfg.RequireAuth,
		"min_protocol_version": cfg.MinProtocolVersion,
		"max_protocol_version": cfg.MaxProtocolVersion,
	} {
		if value != "" && value != "3.0" {
			q.Set(name, value)
		}
	}
	if cfg.ConnectTimeout > 0 {
		q.Set("connect_timeout", strconv.Itoa(int((cfg.ConnectTimeout+time.Second-1)/time.Second)))
	}
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(cfg.User, cfg.Password),
		Host:     addr.String(),
		Path:     "/" + cfg.Database,
		RawQuery: strings.ReplaceAll(q.Encode(), "+", "%20"),
	}
	if cfg.Password == "" {
		u.User = url.User(cfg.User)
	}
	return u.String()
}

// URL connects to the same database by way of the proxy: same user, password, database and
// parameters, without TLS.
func (p *Proxy) URL() string { return p.url }

// SetDelay makes everything take d longer on its way to the other side, in both directions,
// from now on. At first there is no delay. It does not limit how much is under way at a time.
// It is accurate to some tens of microseconds on Linux, to a millisecond elsewhere. What a
// network would add for the establishing of the TCP connection itself is not added.
func (p *Proxy) SetDelay(d time.Duration) { p.delay.Store(int64(d)) }

// Refuse makes new connections fail, those of cancel requests too, until it is called with
// false. Open connections go on.
func (p *Proxy) Refuse(refuse bool) { p.refuse.Store(refuse) }

// Close cuts all connections, with what faults hold back on them, and returns when nothing of
// the proxy runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.end()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	_ = p.ln.Close()
	for c := range conns {
		_ = c.Close()
	}
	p.running.Wait()
}

// Stats are what passed a proxy since it was started or Reset. The establishing of
// connections, up to the server's first ReadyForQuery, and Terminate, which ends them, are
// not counted, except as Connections. When a call on a connection has returned, what it
// caused has been counted.
type Stats struct {
	// RoundTrips are the times that a client asked for an answer while none was due: by
	// Sync, a simple Query, a FunctionCall, or a Flush with something before it. Whatever it
	// sends until the answer is there belongs to the same round trip: a pipeline with one Sync
	// is one, and so is COPY FROM STDIN as pgx does it, which sends its data without waiting
	// for the server's go-ahead. A client that does wait for that is counted one too few.
	RoundTrips int

	ClientMessages int // of the protocol, sent by clients
	ServerMessages int // of the protocol, sent to clients
	Syncs          int // messages that ReadyForQuery answers: Sync, Query, FunctionCall
	Connections    int // that clients made, to the database
	Cancels        int // cancel requests, each of which has a connection of its own
}

type counts struct {
	roundTrips, clientMessages, serverMessages, syncs, connections, cancels atomic.Int64
}

// Stats returns what has passed.
func (p *Proxy) Stats() Stats {
	return Stats{
		RoundTrips:     int(p.counts.roundTrips.Load()),
		ClientMessages: int(p.counts.clientMessages.Load()),
		ServerMessages: int(p.counts.serverMessages.Load()),
		Syncs:          int(p.counts.syncs.Load()),
		Connections:    int(p.counts.connections.Load()),
		Cancels:        int(p.counts.cancels.Load()),
	}
}

// RoundTrips is the number of that name in Stats.
func (p *Proxy) RoundTrips() int { return p.Stats().RoundTrips }

// Reset sets all counts to zero.
func (p *Proxy) Reset() {
	for _, n := range []*atomic.Int64{
		&p.counts.roundTrips, &p.counts.clientMessages, &p.counts.serverMessages,
		&p.counts.syncs, &p.counts.connections, &p.counts.cancels,
	} {
		n.Store(0)
	}
}
