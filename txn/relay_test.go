package txn_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// A relay stands between a pool and its server. Armed, it lets a test decide what becomes of
// the next message with some text in it, and where connections lead from then on.
type relay struct {
	ln net.Listener

	mu        sync.Mutex
	target    string
	text      string // armed if not empty
	strike    func(*link)
	nth       int           // messages until it strikes, whatever they say; 0: not
	gate      chan struct{} // new connections wait until it is closed; nil: they do not
	swallows  int           // so many new connections are never answered
	done      chan struct{} // closed at the test's end
	refuses   bool          // new connections are closed
	noCancels bool          // cancel requests are lost
	conns     []net.Conn
	settled   chan struct{} // closed when the server has ended the session that was cut
	once      sync.Once
	opened    int    // connections so far, without cancel requests
	opening   func() // called for each that gets through
}

// commit is COMMIT as the simple protocol carries it.
const commit = "commit\x00"

func newRelay(t *testing.T, dsn string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{ln: ln, settled: make(chan struct{}), done: make(chan struct{})}
	r.lead(t, dsn)
	t.Cleanup(func() {
		_ = ln.Close()
		close(r.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.conns {
			_ = c.Close()
		}
	})
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go r.serve(client)
		}
	}()
	return r
}

// lead makes new connections go to the server of dsn.
func (r *relay) lead(t *testing.T, dsn string) {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = u.Host
}

// name is the application_name of sessions that came by way of the relay.
func (r *relay) name() string { return "via " + r.ln.Addr().String() }

// url is dsn by way of the relay.
func (r *relay) url(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	u.Host = r.ln.Addr().String()
	q := u.Query()
	q.Set("application_name", r.name())
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}

// open is a DB by way of the relay.
func (r *relay) open(t *testing.T, dsn string, cfg txn.Config) *txn.DB {
	t.Helper()
	return openConfig(t, poolConfig(t, r.url(t, dsn)), cfg)
}

// poolConfig is what Open would make of the URL.
func poolConfig(t *testing.T, url string) *pgxpool.Config {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	txn.ConfigurePool(cfg)
	return cfg
}

// arm has strike decide about the next message with the text.
func (r *relay) arm(text string, strike func(*link)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text, r.strike = text, strike
}

// armNth has strike decide about the nth message from now on; struck says whether it did.
func (r *relay) armNth(nth int, strike func(*link)) (struck func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nth, r.strike = nth, strike
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.nth <= 0
	}
}

// shut makes new connections wait until open is called.
func (r *relay) shut() (open func()) {
	gate := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = gate
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.gate = nil
		close(gate)
	}
}

// asked returns a channel that is closed when n more connections get through.
func (r *relay) asked(n int) <-chan struct{} {
	done := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opening = func() {
		if n--; n == 0 {
			close(done)
		}
	}
	return done
}

func (r *relay) set(change func(*relay)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

func (r *relay) armed(chunk []byte) func(*link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nth > 0 {
		if r.nth--; r.nth == 0 {
			return r.strike
		}
	}
	if r.text == "" || !bytes.Contains(chunk, []byte(r.text)) {
		return nil
	}
	r.text = ""
	return r.strike
}

func (r *relay) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	r.keep(client)
	l := &link{relay: r, client: client, answered: make(chan struct{})}
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			if l.server != nil {
				l.end()
			}
			return
		}
		l.chunk = buf[:n]
		if l.server == nil && !l.connect() {
			return
		}
		strike := r.armed(l.chunk)
		if strike == nil {
			l.forward()
			continue
		}
		if strike(l); l.cut {
			return
		}
	}
}

// A link is a client's connection and the one to the server that belongs to it.
type link struct {
	relay    *relay
	client   net.Conn
	server   *net.TCPConn
	chunk    []byte // what the client has just sent
	cut      bool
	mute     sync.Mutex // held: nothing comes back
	answered chan struct{}
	once     sync.Once
	muted    bool
}

// cancelRequest is the code of a cancel request, which has a connection of its own.
const cancelRequest = 80877102

// connect makes the connection to the server with the client's first message.
func (l *link) connect() bool {
	r := l.relay
	r.mu.Lock()
	gate, refuses := r.gate, r.refuses
	cancels := len(l.chunk) >= 8 && binary.BigEndian.Uint32(l.chunk[4:]) == cancelRequest
	if !cancels {
		r.opened++
	}
	lost := refuses || cancels && r.noCancels
	swallowed := !cancels && r.swallows > 0
	if swallowed {
		r.swallows--
	}
	r.mu.Unlock()
	switch {
	case lost:
		return false
	case swallowed:
		<-r.done
		return false
	case gate != nil:
		select {
		case <-gate:
		case <-r.done:
			return false
		}
	}
	r.mu.Lock()
	target := r.target
	if r.opening != nil && !cancels {
		r.opening()
	}
	r.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return false
	}
	r.keep(server)
	l.server = server.(*net.TCPConn)
	go l.back()
	return true
}

// back passes on what the server sends.
func (l *link) back() {
	defer l.client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buf)
		if err != nil {
			return
		}
		l.relay.mu.Lock()
		muted := l.muted
		l.relay.mu.Unlock()
		if muted {
			l.once.Do(func() { close(l.answered) })
		}
		l.mute.Lock()
		_, _ = l.client.Write(buf[:n])
		l.mute.Unlock()
	}
}

// forward passes the client's message on.
func (l *link) forward() { _, _ = l.server.Write(l.chunk) }

// silence holds the server's answers back from now on.
func (l *link) silence() {
	l.mute.Lock()
	l.relay.set(func(*relay) { l.muted = true })
}

// hangUp closes the client's side.
func (l *link) hangUp() {
	l.cut = true
	_ = l.client.Close()
}

// end lets the server end its session by itself, and returns when it has.
func (l *link) end() {
	_ = l.server.CloseWrite()
	_, _ = io.Copy(io.Discard, l.server)
	_ = l.server.Close()
	if l.cut {
		l.relay.once.Do(func() { close(l.relay.settled) })
	}
}

// The connection is cut before the server gets the message.
func cutBefore(l *link) {
	l.hangUp()
	l.end()
}

// The connection is cut when the server gets the message.
func cutAfter(l *link) {
	l.hangUp()
	l.forward()
	l.end()
}

// The server has answered, and the client does not hear of it.
func dropAnswer(l *link) {
	l.silence()
	l.forward()
	<-l.answered
	l.hangUp()
	l.mute.Unlock()
	l.end()
}
