package txn_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// A cutter stands between a pool and its server and, when armed, cuts the connection that
// carries the next message with some text in it: before the server gets the message, or
// after the server answered it.
type cutter struct {
	ln     net.Listener
	target string

	mu    sync.Mutex
	text  string // armed if not empty
	after bool
	once  sync.Once
	done  chan struct{} // closed when the server's side of a cut connection has ended
}

func newCutter(t *testing.T, cfg *pgxpool.Config) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &cutter{ln: ln, done: make(chan struct{})}
	p.target = net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port)))
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// config is cfg by way of the cutter.
func (p *cutter) config(cfg *pgxpool.Config) *pgxpool.Config {
	cfg = cfg.Copy()
	addr := p.ln.Addr().(*net.TCPAddr)
	cfg.ConnConfig.Host, cfg.ConnConfig.Port = addr.IP.String(), uint16(addr.Port)
	cfg.ConnConfig.Fallbacks = nil
	cfg.MinConns, cfg.MinIdleConns = 0, 0
	return cfg
}

// commit is COMMIT as the simple protocol carries it.
const commit = "commit\x00"

func (p *cutter) arm(text string, after bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.after = text, after
}

// settled waits until the server has ended the session that was cut.
func (p *cutter) settled(t *testing.T) {
	select {
	case <-p.done:
	case <-t.Context().Done():
	}
}

func (p *cutter) strike(chunk []byte) (cut, after bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text == "" || !bytes.Contains(chunk, []byte(p.text)) {
		return false, false
	}
	p.text = ""
	return true, p.after
}

func (p *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if cut, after := p.strike(buf[:n]); cut {
			p.cut(client, server.(*net.TCPConn), buf[:n], after)
			return
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut closes the client's side, and lets the server end its session by itself.
func (p *cutter) cut(client net.Conn, server *net.TCPConn, chunk []byte, after bool) {
	defer p.once.Do(func() { close(p.done) })
	_ = client.Close()
	if after {
		_, _ = server.Write(chunk)
	}
	_ = server.CloseWrite()
	_, _ = io.Copy(io.Discard, server)
}
