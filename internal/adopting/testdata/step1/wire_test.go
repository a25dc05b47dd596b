package ledger_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A wire is what a pool's connections go through.
type wire struct {
	roundTrips atomic.Int64 // what is sent after something was received is the next one
	waiting    atomic.Bool

	loseCommit atomic.Bool // the next COMMIT's answer, and the connection
}

func wired(cfg *pgxpool.Config) *wire {
	w := &wire{}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return wiredConn{conn, w}, err
	}
	return w
}

type wiredConn struct {
	net.Conn
	*wire
}

func (c wiredConn) Write(b []byte) (int, error) {
	if !c.waiting.Swap(true) {
		c.roundTrips.Add(1)
	}
	return c.Conn.Write(b)
}

func (c wiredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.waiting.Store(false)
	}
	if bytes.Contains(b[:n], []byte("COMMIT\x00")) && c.loseCommit.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}
