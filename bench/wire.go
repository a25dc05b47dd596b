package bench

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A wire is a TCP proxy before a server. It counts round trips, and may delay what passes.
//
// A round trip is counted when the client sends something after it has received something:
// it had to wait for that answer. This asks nothing of the protocol. It is exact for what is
// measured here, because the server is silent until a request is complete; a request so large
// that its answer begins before its end would be counted twice.
type wire struct {
	URL     string // of the database, through the wire
	Trips   atomic.Int64
	latency time.Duration // one way
	target  string

	listener net.Listener
	pumps    sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn // all that there were
	closed   bool
}

// newWire is a wire to the server of dsn, closed at the end of tb.
func newWire(tb testing.TB, dsn string, latency time.Duration) *wire {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &wire{latency: latency, target: u.Host, listener: listener}
	u.Host = listener.Addr().String()
	w.URL = u.String()
	w.pumps.Go(w.accept)
	tb.Cleanup(w.close)
	return w
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !w.keep(client, server) {
			return
		}
		w.carry(client, server)
	}
}

// keep notes connections for close. If that was called before, it closes them.
func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	w.conns = append(w.conns, conns...)
	return true
}

// close ends all connections, and returns when nothing of them is left.
func (w *wire) close() {
	_ = w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.pumps.Wait()
}

// carry passes on what the two say, and counts.
func (w *wire) carry(client, server net.Conn) {
	var answered atomic.Bool
	answered.Store(true)
	w.pumps.Go(func() {
		w.pump(server, client, func() {
			if answered.Swap(false) {
				w.Trips.Add(1)
			}
		})
	})
	// The note is made before the client has the answer, and so before it can send again.
	w.pumps.Go(func() { w.pump(client, server, func() { answered.Store(true) }) })
}

// pump copies until one side closes, and closes both then.
func (w *wire) pump(to, from net.Conn, passing func()) {
	defer to.Close()
	defer from.Close()
	if w.latency > 0 {
		w.delayed(to, from, passing)
		return
	}
	buf := make([]byte, parcelSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			passing()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

const (
	parcelSize = 16 << 10
	inTransit  = 64 // parcels; a sender with more of them waits
)

// A parcel is a piece of a stream, on its way.
type parcel struct {
	buf []byte
	due time.Time
}

// delayed copies like pump, each piece later by the wire's latency. Pieces neither
// overtake one another nor wait for one another: it is distance, not bandwidth.
func (w *wire) delayed(to, from net.Conn, passing func()) {
	free := make(chan []byte, inTransit) // reused, so that the wire does not show in allocs/op
	for range inTransit {
		free <- make([]byte, parcelSize)
	}
	transit := make(chan parcel, inTransit)
	var delivery sync.WaitGroup
	delivery.Go(func() {
		for p := range transit {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.buf); err != nil {
				_ = from.Close() // ends the reader; what is left is for nobody
			}
			free <- p.buf[:parcelSize]
		}
	})
	for {
		buf := <-free
		n, err := from.Read(buf)
		if n > 0 {
			passing()
			transit <- parcel{buf[:n], time.Now().Add(w.latency)}
		}
		if err != nil {
			break
		}
	}
	close(transit)
	delivery.Wait()
}
