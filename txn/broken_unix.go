//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package txn

import (
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// A probe looks at an idle connection's socket without sending anything and without waiting.
// pgx's own check waits a millisecond.
type probe struct {
	raw    syscall.RawConn
	peek   func(fd uintptr)
	broken bool
}

func newProbe(c *pgx.Conn) *probe {
	conn := c.PgConn().Conn()
	if inner, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = inner.NetConn()
	}
	p := &probe{}
	s, ok := conn.(syscall.Conn)
	if !ok {
		return p
	}
	p.raw, _ = s.SyscallConn()
	const fatal, alert = 'E', 21 // ErrorResponse; TLS, which says no more than that it ends
	var b [1]byte
	p.peek = func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err != nil:
			p.broken = err != syscall.EAGAIN && err != syscall.EINTR
		case n > 0: // or else a notification, which breaks nothing
			p.broken = b[0] == fatal || b[0] == alert
		default:
			p.broken = true
		}
	}
	return p
}

// seesEnd reports whether the server has closed the connection, or has said why it is about
// to: it will not get what is sent now. A connection can be broken
// without any sign of it here.
func (p *probe) seesEnd() bool {
	if p.raw == nil {
		return false
	}
	err := p.raw.Control(p.peek)
	return p.broken || err != nil
}
