package txn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// acquire takes a connection of the pool, one that is not seen to be broken: what is sent on
// a broken one may be lost with its answer, and nobody would know whether it arrived.
func (d *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	for {
		conn, err := d.take(ctx)
		if err != nil {
			return nil, err
		}
		s := sessionOf(conn.Conn())
		if !s.probe.seesEnd() {
			s.stopWithin(d.patience())
			return conn, nil
		}
		closeConn(conn.Conn(), d.cfg.ResolveTimeout)
		conn.Release() // each is gone then, so this comes to an end
	}
}

func (d *DB) take(ctx context.Context) (*pgxpool.Conn, error) {
	limited := ctx
	deadline, ok := ctx.Deadline()
	if most := d.cfg.AcquireTimeout; most >= 0 && (!ok || time.Until(deadline) > most) {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	conn, err := d.pool.Acquire(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return nil, fmt.Errorf("%w (%s)", ErrAcquireTimeout, d.cfg.AcquireTimeout)
	}
	if err != nil && ctx.Err() == nil && unreachable(err) {
		return nil, &lostError{err}
	}
	return conn, err
}

// unreachable: the server was not reached, or refused for reasons that pass. A wrong
// password or database name does not pass.
func unreachable(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return false
	}
	return SQLState(err) == "" || classify(err) == outage
}

func closeConn(c *pgx.Conn, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = c.Close(ctx)
	hangUp(c)
}

// hangUp closes what is below a closed connection. By itself pgx goes on reading for up to 15
// seconds, for the sake of a server that is still there, and meanwhile the pool cannot replace
// the connection.
func hangUp(c *pgx.Conn) { _ = c.PgConn().Conn().Close() }

// serverMajor is the server's major version, 0 if it does not say.
func serverMajor(c *pgx.Conn) int {
	v := c.PgConn().ParameterStatus("server_version")
	end := 0
	for end < len(v) && v[end] >= '0' && v[end] <= '9' {
		end++
	}
	major, _ := strconv.Atoi(v[:end])
	return major
}
