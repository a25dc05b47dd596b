package faultproxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a connection may begin with, instead of a protocol version.
const (
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
)

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		switch {
		case err == nil:
			p.running.Go(func() { p.serve(client) })
		case p.ctx.Err() != nil:
			return
		default: // out of file descriptors, which others will give back
			rest(5*time.Millisecond, p.ctx.Done())
		}
	}
}

// serve sees a client's connection through from its start to its end.
func (p *Proxy) serve(client net.Conn) {
	c := endpoint{client, client}
	if p.refuse.Load() {
		c.reset()
		return
	}
	if !p.keep(client) {
		return
	}
	defer p.drop(client)
	if !p.passHoles() {
		return
	}
	packet, err := readStartup(client)
	if err != nil {
		return
	}
	if binary.BigEndian.Uint32(packet[4:]) == cancelCode {
		p.cancel(c, packet)
		return
	}
	s, err := p.dial()
	if err != nil {
		c.reset()
		return
	}
	defer p.drop(s.raw)
	p.counts.connections.Add(1)
	newRelay(p, c, s).run(packet)
}

// passHoles waits while new connections fall into a black hole.
func (p *Proxy) passHoles() bool {
	for {
		p.mu.Lock()
		holes := p.holes
		p.mu.Unlock()
		if len(holes) == 0 {
			return true
		}
		select {
		case <-holes[0]:
		case <-p.ctx.Done():
			return false
		}
	}
}

// readStartup returns the packet that says what the connection is for. Encryption is
// declined, upon which a client goes on without or leaves.
func readStartup(client net.Conn) ([]byte, error) {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(client, head); err != nil {
			return nil, err
		}
		size := binary.BigEndian.Uint32(head)
		if size < 8 || size > 10000 { // PostgreSQL's own limit
			return nil, errors.New("faultproxy: not a PostgreSQL client")
		}
		packet := append(head, make([]byte, size-8)...)
		if _, err := io.ReadFull(client, packet[8:]); err != nil {
			return nil, err
		}
		switch binary.BigEndian.Uint32(packet[4:]) {
		case sslCode, gssCode:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		default:
			return packet, nil
		}
	}
}

// cancel passes a cancel request on. The server answers by closing the connection.
func (p *Proxy) cancel(client endpoint, packet []byte) {
	p.counts.cancels.Add(1)
	e := event{from: Canceler}
	if len(packet) >= 12 {
		e.pid = binary.BigEndian.Uint32(packet[8:])
	}
	// happen reports whether the request goes on.
	happen := func(a *Armed) bool {
		defer a.carriedOut(nil)
		if do, ok := a.fault.Do.(Cut); ok {
			client.cut(do.Reset)
			if do.All {
				p.severAll(do.Reset)
			}
			return do.After
		}
		p.swallow(a)
		return true
	}
	var after []*Armed
	for _, a := range p.struck(e) {
		if a.comesAfter() {
			after = append(after, a)
		} else if !happen(a) || !p.awaitRelease(a) {
			return
		}
	}
	var s sleeper
	defer s.close()
	s.until(p.due(), p.ctx.Done())
	server, err := p.dial()
	if err != nil {
		return
	}
	defer p.drop(server.raw)
	if _, err := server.Write(packet); err != nil {
		return
	}
	for _, a := range after {
		if !happen(a) || !p.awaitRelease(a) {
			return
		}
	}
	_, _ = io.Copy(io.Discard, server)
	s.until(p.due(), p.ctx.Done())
}

// awaitRelease waits for the release of a fault that holds back. The client may be gone by
// then. It is false if the proxy is closed meanwhile.
func (p *Proxy) awaitRelease(a *Armed) bool {
	if _, cut := a.fault.Do.(Cut); cut {
		return true
	}
	select {
	case <-a.release:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// dial connects to the server.
func (p *Proxy) dial() (endpoint, error) {
	cfg := p.cfg
	targets := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
	var failed error
	for _, target := range targets {
		e, err := p.dialOne(target)
		if err == nil {
			return e, nil
		}
		failed = errors.Join(failed, err)
	}
	return endpoint{}, failed
}

func (p *Proxy) dialOne(target *pgconn.FallbackConfig) (endpoint, error) {
	network, address := pgconn.NetworkAddress(target.Host, target.Port)
	raw, err := p.cfg.DialFunc(p.ctx, network, address)
	if err != nil {
		return endpoint{}, err
	}
	if !p.keep(raw) {
		return endpoint{}, net.ErrClosed
	}
	if target.TLSConfig == nil {
		return endpoint{raw, raw}, nil
	}
	encrypted, err := encrypt(p.ctx, raw, target.TLSConfig, p.cfg.SSLNegotiation == "direct")
	if err != nil {
		p.drop(raw)
		return endpoint{}, err
	}
	return endpoint{encrypted, raw}, nil
}

func encrypt(ctx context.Context, c net.Conn, cfg *tls.Config, direct bool) (net.Conn, error) {
	if !direct {
		if _, err := c.Write(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, sslCode)); err != nil {
			return nil, err
		}
		var answer [1]byte
		if _, err := io.ReadFull(c, answer[:]); err != nil {
			return nil, err
		}
		if answer[0] != 'S' {
			return nil, errors.New("faultproxy: the server has no TLS")
		}
	}
	encrypted := tls.Client(c, cfg)
	return encrypted, encrypted.HandshakeContext(ctx)
}

// keep makes a connection one that Close closes. If that has been called it is false, and
// the connection closed.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_ = c.Close()
}

// An endpoint is one side's connection; raw is what carries it, if it is encrypted.
type endpoint struct {
	net.Conn
	raw net.Conn
}

// cut ends the connection as seen from the other side. What it still sends is to be read,
// or the system would send a reset after all.
func (e endpoint) cut(reset bool) {
	if reset {
		e.reset()
	} else {
		e.closeWrite()
	}
}

// closeWrite says that nothing more will come.
func (e endpoint) closeWrite() {
	if half, ok := e.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (e endpoint) reset() {
	if tcp, ok := e.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = e.raw.Close()
}
