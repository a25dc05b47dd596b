package faultproxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// proxied is a test's database, a proxy in front of it, and a connection through that.
type proxied struct {
	*txntest.Database
	proxy *faultproxy.Proxy
	conn  *pgx.Conn
}

var ledger = txntest.SQL(
	"create table accounts (id int primary key, balance int not null check (balance >= 0))",
	"insert into accounts values (1, 100), (2, 100)",
	"create table entries (id int primary key, note text)",
)

func newProxied(t *testing.T, configure ...func(*pgx.ConnConfig)) *proxied {
	t.Helper()
	t.Parallel()
	database := txntest.NewDatabase(t, ledger)
	database.Invariant("money is conserved", "select sum(balance) from accounts having sum(balance) <> 200")
	p := &proxied{Database: database, proxy: txntest.NewProxy(t, database.AppURL())}
	p.conn = p.connect(t, configure...)
	return p
}

// connect opens a connection through the proxy, which is closed at the test's end.
func (p *proxied) connect(t *testing.T, configure ...func(*pgx.ConnConfig)) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(p.proxy.URL())
	require.NoError(t, err)
	for _, f := range configure {
		f(cfg)
	}
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.Close(ctx)
		<-c.PgConn().CleanupDone()
	})
	return c
}

// balance is what an account has, as another session sees it.
func (p *proxied) balance(t *testing.T, id int) (n int) {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), p.AdminURL())
	require.NoError(t, err)
	defer admin.Close(t.Context())
	require.NoError(t, admin.QueryRow(t.Context(), "select balance from accounts where id = $1", id).Scan(&n))
	return n
}

// simple runs statements by the simple protocol.
func simple(t *testing.T, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := c.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, sql)
	}
}

func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func batchOf(statements ...string) *pgx.Batch {
	b := &pgx.Batch{}
	for _, sql := range statements {
		b.Queue(sql)
	}
	return b
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	copyRows := func(n int) func(*testing.T, *pgx.Conn) {
		return func(t *testing.T, c *pgx.Conn) {
			_, err := c.CopyFrom(t.Context(), pgx.Identifier{"entries"}, []string{"id", "note"},
				pgx.CopyFromSlice(n, func(i int) ([]any, error) { return []any{i, strings.Repeat("x", 1000)}, nil }))
			require.NoError(t, err)
		}
	}
	query := func(n int, mode ...any) func(*testing.T, *pgx.Conn) {
		return func(t *testing.T, c *pgx.Conn) {
			for range n {
				var balance int
				require.NoError(t, c.QueryRow(t.Context(), "select balance from accounts where id = $1", append(mode, 1)...).Scan(&balance))
			}
		}
	}
	for name, c := range map[string]struct {
		mode  pgx.QueryExecMode
		warm  func(*testing.T, *pgx.Conn)
		run   func(*testing.T, *pgx.Conn)
		trips int
		syncs int
	}{
		"nothing": {run: func(*testing.T, *pgx.Conn) {}},
		"begin, select, commit": {trips: 3, syncs: 3, run: func(t *testing.T, c *pgx.Conn) {
			simple(t, c, "begin", "select from accounts", "commit")
		}},
		"several statements in one text": {trips: 1, syncs: 1, run: func(t *testing.T, c *pgx.Conn) {
			_, err := c.PgConn().Exec(t.Context(), "begin; select from accounts; select 1; commit").ReadAll()
			require.NoError(t, err)
		}},
		"ping":                        {trips: 1, syncs: 1, run: func(t *testing.T, c *pgx.Conn) { require.NoError(t, c.Ping(t.Context())) }},
		"prepared for the first time": {trips: 2, syncs: 2, run: query(1)},
		"prepared before":             {trips: 3, syncs: 3, warm: query(1), run: query(3)},
		"described each time":         {trips: 4, syncs: 4, run: query(2, pgx.QueryExecModeDescribeExec)},
		"without preparing":           {trips: 2, syncs: 2, run: query(2, pgx.QueryExecModeExec)},
		"prepare, then execute twice": {trips: 3, syncs: 3, run: func(t *testing.T, c *pgx.Conn) {
			_, err := c.Prepare(t.Context(), "one", "select 1")
			require.NoError(t, err)
			for range 2 {
				_, err = c.Exec(t.Context(), "one")
				require.NoError(t, err)
			}
		}},
		"batch of five": {
			trips: 1, syncs: 1,
			warm: func(t *testing.T, c *pgx.Conn) {
				require.NoError(t, c.SendBatch(t.Context(), batchOf("select 1", "select 2", "select 3", "select 4", "select 5")).Close())
			},
			run: func(t *testing.T, c *pgx.Conn) {
				require.NoError(t, c.SendBatch(t.Context(), batchOf("select 1", "select 2", "select 3", "select 4", "select 5")).Close())
			},
		},
		"batch of five to be prepared": {trips: 2, syncs: 2, run: func(t *testing.T, c *pgx.Conn) {
			require.NoError(t, c.SendBatch(t.Context(), batchOf("select 1", "select 2", "select 3", "select 4", "select 5")).Close())
		}},
		"batch that fails": {mode: pgx.QueryExecModeExec, trips: 1, syncs: 1, run: func(t *testing.T, c *pgx.Conn) {
			b := &pgx.Batch{}
			b.Queue("select 1 / $1::int", 0)
			b.Queue("select 2")
			err := c.SendBatch(t.Context(), b).Close()
			require.Equal(t, "22012", sqlState(err), "%v", err)
		}},
		// More than the sockets' buffers take: the server answers while the client still sends.
		"large batch": {mode: pgx.QueryExecModeExec, trips: 1, syncs: 1, run: func(t *testing.T, c *pgx.Conn) {
			b := &pgx.Batch{}
			for range 200 {
				b.Queue("select $1::text", strings.Repeat("x", 50_000))
			}
			require.NoError(t, c.SendBatch(t.Context(), b).Close())
		}},
		"copy in":                 {trips: 2, syncs: 2, run: copyRows(3)}, // the first describes the columns
		"copy in, large":          {trips: 2, syncs: 2, run: copyRows(20_000)},
		"copy in that fails":      {trips: 1, syncs: 1, run: copyText("copy entries from stdin", "1\ta\n1\tb\n", "23505")},
		"copy in that is refused": {trips: 1, syncs: 1, run: copyText("copy nothing from stdin", strings.Repeat("1\n", 100_000), "42P01")},
		"copy out": {trips: 1, syncs: 1, run: func(t *testing.T, c *pgx.Conn) {
			_, err := c.PgConn().CopyTo(t.Context(), io.Discard, "copy accounts to stdout")
			require.NoError(t, err)
		}},
		"pipeline with two syncs": {trips: 1, syncs: 2, run: func(t *testing.T, c *pgx.Conn) {
			p := c.PgConn().StartPipeline(t.Context())
			for range 2 {
				p.SendQueryParams("select 1", nil, nil, nil, nil)
				p.SendPipelineSync()
			}
			require.NoError(t, p.Flush())
			require.NoError(t, p.Close())
		}},
		"pipeline that waits after each flush": {trips: 4, syncs: 1, run: func(t *testing.T, c *pgx.Conn) {
			p := c.PgConn().StartPipeline(t.Context())
			for range 3 {
				p.SendQueryParams("select 1", nil, nil, nil, nil)
				p.SendFlushRequest()
				require.NoError(t, p.Flush())
				results, err := p.GetResults()
				require.NoError(t, err)
				require.NoError(t, results.(*pgconn.ResultReader).Read().Err)
			}
			require.NoError(t, p.Sync())
			require.NoError(t, p.Close())
		}},
		"flush after nothing": {trips: 1, syncs: 1, run: func(t *testing.T, c *pgx.Conn) {
			p := c.PgConn().StartPipeline(t.Context())
			p.SendFlushRequest()
			require.NoError(t, p.Flush())
			require.NoError(t, p.Sync())
			require.NoError(t, p.Close())
		}},
		"notices and notifications": {trips: 3, syncs: 3, run: func(t *testing.T, c *pgx.Conn) {
			simple(t, c, "listen x", "notify x", "do $$ begin raise notice 'x'; end $$")
		}},
		"parameter that is reported": {trips: 2, syncs: 2, run: func(t *testing.T, c *pgx.Conn) {
			simple(t, c, "set application_name = 'x'", "set application_name = 'y'")
		}},
		"error": {trips: 2, syncs: 2, run: func(t *testing.T, c *pgx.Conn) {
			_, err := c.Exec(t.Context(), "select 1 / 0", pgx.QueryExecModeSimpleProtocol)
			require.Equal(t, "22012", sqlState(err))
			simple(t, c, "select 1")
		}},
		"end of the connection": {run: func(t *testing.T, c *pgx.Conn) { require.NoError(t, c.Close(t.Context())) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxied(t, func(cfg *pgx.ConnConfig) {
				if c.mode != 0 {
					cfg.DefaultQueryExecMode = c.mode
				}
			})
			if c.warm != nil {
				c.warm(t, p.conn)
			}
			require.Equal(t, 1, p.proxy.Stats().Connections)
			p.proxy.Reset()
			require.Equal(t, faultproxy.Stats{}, p.proxy.Stats())
			c.run(t, p.conn)
			stats := p.proxy.Stats()
			require.Equal(t, c.trips, stats.RoundTrips, "round trips: %+v", stats)
			require.Equal(t, c.syncs, stats.Syncs, "syncs: %+v", stats)
			require.Equal(t, p.proxy.RoundTrips(), stats.RoundTrips)

			// Nothing of it is left to be taken for part of the next.
			if !p.conn.IsClosed() {
				p.proxy.Reset()
				simple(t, p.conn, "select 1", "select 2")
				require.Equal(t, 2, p.proxy.RoundTrips())
			}
		})
	}
}

func copyText(sql, data, state string) func(*testing.T, *pgx.Conn) {
	return func(t *testing.T, c *pgx.Conn) {
		_, err := c.PgConn().CopyFrom(t.Context(), strings.NewReader(data), sql)
		require.Equal(t, state, sqlState(err), "%v", err)
	}
}

func TestMessagesAreCounted(t *testing.T) {
	p := newProxied(t)
	p.proxy.Reset()
	simple(t, p.conn, "begin", "select balance from accounts", "commit")
	require.Equal(t, faultproxy.Stats{
		RoundTrips: 3, Syncs: 3,
		ClientMessages: 3,         // Query each
		ServerMessages: 2 + 5 + 2, // CommandComplete and ReadyForQuery; for the query also its description and two rows
	}, p.proxy.Stats())
	p.proxy.Reset()
	_, err := p.conn.Exec(t.Context(), "select $1::int", pgx.QueryExecModeExec, 1)
	require.NoError(t, err)
	require.Equal(t, faultproxy.Stats{
		RoundTrips: 1, Syncs: 1,
		ClientMessages: 5, // Parse, Bind, Describe, Execute, Sync
		ServerMessages: 6, // ParseComplete, BindComplete, RowDescription, DataRow, CommandComplete, ReadyForQuery
	}, p.proxy.Stats())
}

// COPY FROM STDIN by the extended protocol: what a client as libpq sends before it knows that
// it is a COPY, the server ignores.
func TestRoundTripsOfExtendedCopy(t *testing.T) {
	p := newProxied(t)
	for range 2 {
		p.proxy.Reset()
		c := rawConn(t, p.proxy.URL())
		c.send(t, &pgproto3.Parse{Query: "copy entries (note, id) from stdin"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		c.until(t, &pgproto3.CopyInResponse{})
		c.send(t, &pgproto3.CopyData{Data: []byte("x\t0\n")}, &pgproto3.Flush{}, &pgproto3.CopyFail{Message: "no"}, &pgproto3.Sync{})
		c.until(t, &pgproto3.ReadyForQuery{})
		require.Equal(t, 2, p.proxy.RoundTrips())
		c.send(t, &pgproto3.Query{String: "select 1"})
		c.until(t, &pgproto3.ReadyForQuery{})
		require.Equal(t, 3, p.proxy.RoundTrips())
	}

	// The server ends it by an error.
	p.proxy.Reset()
	c := rawConn(t, p.proxy.URL())
	c.send(t, &pgproto3.Parse{Query: "copy entries from stdin"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	c.until(t, &pgproto3.CopyInResponse{})
	c.send(t, &pgproto3.CopyData{Data: []byte("no number\tx\n")})
	c.until(t, &pgproto3.ErrorResponse{})
	c.send(t, &pgproto3.Sync{})
	c.until(t, &pgproto3.ReadyForQuery{})
	c.send(t, &pgproto3.Query{String: "select 1"})
	c.until(t, &pgproto3.ReadyForQuery{})
	require.Equal(t, 3, p.proxy.RoundTrips())
}

// A session is a connection to the database at the level of the protocol.
type session struct {
	net.Conn
	*pgproto3.Frontend
	pid uint32
}

// rawConn makes a connection as pgconn does and takes it over.
func rawConn(t *testing.T, url string) session {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), url)
	require.NoError(t, err)
	h, err := c.Hijack()
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Conn.Close() })
	require.NoError(t, h.Conn.SetDeadline(time.Now().Add(30*time.Second)))
	return session{h.Conn, h.Frontend, h.PID}
}

func (s session) send(t *testing.T, messages ...pgproto3.FrontendMessage) {
	t.Helper()
	for _, m := range messages {
		s.Send(m)
	}
	require.NoError(t, s.Flush())
}

// until receives up to a message of the type of last.
func (s session) until(t *testing.T, last pgproto3.BackendMessage) {
	t.Helper()
	for {
		m, err := s.Receive()
		require.NoError(t, err)
		if fmt.Sprintf("%T", m) == fmt.Sprintf("%T", last) {
			return
		}
	}
}

// A client that has said all it has to say still gets its answers.
func TestHalfClose(t *testing.T) {
	p := newProxied(t)
	p.proxy.SetDelay(time.Millisecond)
	c := rawConn(t, p.proxy.URL())
	c.send(t, &pgproto3.Query{String: "select generate_series(1, 100000)"})
	require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
	c.until(t, &pgproto3.ReadyForQuery{})
	_, err := c.Receive()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// The server does not go on sending to a client that is gone.
func TestClientThatIsGone(t *testing.T) {
	p := newProxied(t)
	stream := &pgproto3.Query{String: "select repeat('x', 10000), generate_series(1, 100000000)"}
	c := rawConn(t, p.proxy.URL())
	c.send(t, stream)
	c.until(t, &pgproto3.DataRow{})
	p.proxy.SetDelay(50 * time.Millisecond) // the proxy cannot deliver before it has the client's end to pass on
	require.NoError(t, c.Close())
	waitGone(t, p.Admin(t), c.pid)
	p.proxy.SetDelay(0)

	// The other way round: it ends, but still reads, and then goes.
	c = rawConn(t, p.proxy.URL())
	c.send(t, stream)
	require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
	for range 10_000 {
		c.until(t, &pgproto3.DataRow{})
	}
	require.NoError(t, c.Close())
	waitGone(t, p.Admin(t), c.pid)
}

// Nor does a client that keeps its connection go on asking a server that is gone.
func TestServerThatIsGone(t *testing.T) {
	p := newProxied(t)
	c := rawConn(t, p.proxy.URL())
	var ended bool
	require.NoError(t, p.Admin(t).QueryRow(t.Context(), "select pg_terminate_backend($1, 10000)", c.pid).Scan(&ended))
	require.True(t, ended)
	c.until(t, &pgproto3.ErrorResponse{})
	_, err := c.Receive()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	for err = nil; err == nil; {
		c.Send(&pgproto3.Query{String: "select 1"})
		err = c.Flush()
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestMessagesOfAnySize(t *testing.T) {
	p := newProxied(t)
	const size = 100 << 20
	var got string
	require.NoError(t, p.conn.QueryRow(t.Context(), "select repeat('x', $1)", size).Scan(&got))
	require.Len(t, got, size)
	var n int
	require.NoError(t, p.conn.QueryRow(t.Context(), "select length($1::text)", got).Scan(&n))
	require.Equal(t, size, n)
	require.NoError(t, p.conn.QueryRow(t.Context(), "select length('"+got[:1<<20]+"')", pgx.QueryExecModeSimpleProtocol).Scan(&n))
	require.Equal(t, 1<<20, n)
}

func TestManyConnections(t *testing.T) {
	p := newProxied(t)
	p.proxy.SetDelay(200 * time.Microsecond)
	cfg, err := pgxpool.ParseConfig(p.proxy.URL())
	require.NoError(t, err)
	cfg.MaxConns = 40
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	p.proxy.Reset()
	const workers, calls = 40, 25
	start := txntest.NewBarrier(workers)
	var running sync.WaitGroup
	failed := make(chan error, workers)
	for range workers {
		running.Go(func() {
			failed <- pool.AcquireFunc(t.Context(), func(c *pgxpool.Conn) error {
				err := start.Wait(t.Context()) // each has a connection of its own
				for range calls {
					_, failed := c.Exec(t.Context(), "update accounts set balance = balance where id = 1", pgx.QueryExecModeSimpleProtocol)
					err = errors.Join(err, failed)
				}
				return err
			})
		})
	}
	running.Wait()
	for range workers {
		require.NoError(t, <-failed)
	}
	require.Equal(t, workers*calls, p.proxy.RoundTrips())
	require.Equal(t, workers, p.proxy.Stats().Connections)
}

func TestDelay(t *testing.T) {
	p := newProxied(t)
	fastest := func(delay time.Duration) time.Duration {
		p.proxy.SetDelay(delay)
		best := time.Hour
		for range 30 {
			start := time.Now()
			simple(t, p.conn, "select 1")
			best = min(best, time.Since(start))
		}
		return best
	}
	for _, delay := range []time.Duration{100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond} {
		took := fastest(delay)
		require.GreaterOrEqual(t, took, 2*delay, "there and back")
		require.Less(t, took, 2*delay+5*time.Millisecond)
	}
	require.Less(t, fastest(0), 10*time.Millisecond, "taken back")
}

// A delay does not limit how much is under way. A proxy that sent no piece before the one
// ahead of it had arrived would need fifty seconds for this.
func TestDelayIsNoBrake(t *testing.T) {
	p := newProxied(t)
	p.proxy.SetDelay(100 * time.Millisecond)
	start := time.Now()
	var n int
	text := strings.Repeat("x", 8<<20)
	require.NoError(t, p.conn.QueryRow(t.Context(), "select length($1::text || $2)", pgx.QueryExecModeExec, text, text).Scan(&n))
	require.Equal(t, 16<<20, n)
	require.Less(t, time.Since(start), 20*time.Second)
}

func TestRefuse(t *testing.T) {
	p := newProxied(t)
	p.proxy.Refuse(true)
	_, err := pgx.Connect(t.Context(), p.proxy.URL())
	require.Error(t, err)
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	require.True(t, ok, "%v", err)
	simple(t, p.conn, "select 1")
	_ = p.conn.PgConn().CancelRequest(t.Context()) // pgx may not notice
	require.Equal(t, 1, p.proxy.Stats().Connections)
	require.Zero(t, p.proxy.Stats().Cancels)
	p.proxy.Refuse(false)
	simple(t, p.connect(t), "select 1")
}

func TestCancelRequest(t *testing.T) {
	p := newProxied(t)
	p.proxy.SetDelay(time.Millisecond)
	p.proxy.Reset()
	sleeping := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(t.Context(), "select pg_sleep(60)", pgx.QueryExecModeSimpleProtocol)
		sleeping <- err
	}()
	waitActivity(t, p.Admin(t), p.conn.PgConn().PID(), asleep)
	require.NoError(t, p.conn.PgConn().CancelRequest(t.Context()))
	require.Equal(t, "57014", sqlState(<-sleeping))
	require.Equal(t, 1, p.proxy.Stats().Cancels)
	require.Equal(t, 1, p.proxy.Stats().RoundTrips)
	require.Zero(t, p.proxy.Stats().Connections)
}

// waitActivity returns when what pg_stat_activity says of a session meets the condition.
func waitActivity(t *testing.T, admin *pgxpool.Pool, pid uint32, condition string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var holds bool
		require.NoError(t, admin.QueryRow(t.Context(),
			"select exists (select from pg_stat_activity where pid = $1 and "+condition+") from pg_sleep(0.005)",
			pid).Scan(&holds))
		if holds {
			return
		}
	}
	require.Fail(t, "the session did not come to "+condition, txntest.Sessions(t.Context(), admin))
}

// asleep is a session in pg_sleep.
const asleep = "wait_event = 'PgSleep'"

func TestEncryptionIsDeclined(t *testing.T) {
	p := newProxied(t)
	u, err := url.Parse(p.proxy.URL())
	require.NoError(t, err)
	c, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	defer c.Close()
	for _, code := range []uint32{80877104, 80877103} { // GSSENCRequest, SSLRequest
		_, err = c.Write(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, code))
		require.NoError(t, err)
		answer := make([]byte, 1)
		_, err = io.ReadFull(c, answer)
		require.NoError(t, err)
		require.Equal(t, "N", string(answer))
	}
	front := pgproto3.NewFrontend(c, c)
	front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": u.User.Username()}})
	require.NoError(t, front.Flush())
	m, err := front.Receive()
	require.NoError(t, err)
	require.Implements(t, (*pgproto3.AuthenticationResponseMessage)(nil), m)

	// sslmode=prefer, pgx's own choice, does the same.
	preferred, err := pgx.Connect(t.Context(), strings.Replace(p.proxy.URL(), "sslmode=disable", "sslmode=prefer", 1))
	require.NoError(t, err)
	require.NoError(t, preferred.Close(t.Context()))
}

// Whoever does not speak the protocol is shown out.
func TestNotAClient(t *testing.T) {
	p := newProxied(t)
	u, err := url.Parse(p.proxy.URL())
	require.NoError(t, err)
	for _, says := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), {22, 3, 1, 2, 0, 1, 0, 1}, {0, 0, 0, 7, 0, 0, 0, 0}} {
		c, err := net.Dial("tcp", u.Host)
		require.NoError(t, err)
		_, err = c.Write(says)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, c.Close())
	}
	// From a length that cannot be, what is sent passes as it is, to be judged by the server.
	c := rawConn(t, p.proxy.URL())
	_, err = c.Conn.Write([]byte{'Q', 0, 0, 0, 1, 0})
	require.NoError(t, err)
	_, err = c.Receive()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	simple(t, p.conn, "select 1")
}

func TestServerThatIsAway(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	p := txntest.NewProxy(t, "postgres://u@"+ln.Addr().String()+"/d?sslmode=disable")
	_, err = pgx.Connect(t.Context(), p.URL())
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	require.True(t, ok, "%v", err)
}

func TestConnectionStrings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ dsn, want string }{
		"url": {
			"postgres://me:pass@db.example.com:5433/app?sslmode=verify-full&application_name=a%20b&pool_max_conns=3&connect_timeout=7",
			"postgres://me:pass@HOST/app?application_name=a%20b&connect_timeout=7&pool_max_conns=3&sslmode=disable",
		},
		"keywords":       {"host=db.example.com user=me password='p @/?#%' dbname='a/b c' sslmode=disable", "postgres://me:p%20%40%2F%3F%23%25@HOST/a/b%20c?sslmode=disable"},
		"several hosts":  {"postgres://me:pass@one:1,two:2/app?target_session_attrs=read-write", "postgres://me:pass@HOST/app?sslmode=disable"},
		"socket":         {"host=/var/run/postgresql user=me password=x dbname=app", "postgres://me:x@HOST/app?sslmode=disable"},
		"authentication": {"postgres://me:x@h/app?require_auth=scram-sha-256&channel_binding=disable&max_protocol_version=3.2", "postgres://me:x@HOST/app?max_protocol_version=3.2&require_auth=scram-sha-256&sslmode=disable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := txntest.NewProxy(t, c.dsn)
			cfg, err := pgconn.ParseConfig(p.URL())
			require.NoError(t, err)
			require.Equal(t, strings.Replace(c.want, "HOST", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), 1), p.URL())
			was, err := pgconn.ParseConfig(c.dsn)
			require.NoError(t, err)
			require.Equal(t, was.User, cfg.User)
			require.Equal(t, was.Password, cfg.Password)
			require.Equal(t, was.Database, cfg.Database)
			require.Equal(t, was.RuntimeParams, cfg.RuntimeParams)
			require.Nil(t, cfg.TLSConfig)
			require.Equal(t, "127.0.0.1", cfg.Host)
		})
	}
	_, err := faultproxy.Start(t.Context(), "postgres://me:secret@host:no-port/")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

// The database's server has no TLS; what stands in front of it here has.
func TestServerWithTLS(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, ledger)
	u, err := url.Parse(database.AppURL())
	require.NoError(t, err)
	for _, mode := range []string{"require", "prefer", "require&sslnegotiation=direct"} {
		front := *u
		front.Host = encryptedFront(t, u.Host, strings.Contains(mode, "direct"))
		front.RawQuery = "sslmode=" + mode
		proxy := txntest.NewProxy(t, front.String())
		c, err := pgx.Connect(t.Context(), proxy.URL())
		require.NoError(t, err)
		text := strings.Repeat("x", 1<<20)
		var n int
		require.NoError(t, c.QueryRow(t.Context(), "select length($1::text)", text).Scan(&n))
		require.Equal(t, 1<<20, n)
		cut := proxy.Arm(faultproxy.Fault{SQL: "^select", Do: faultproxy.Cut{}})
		_, err = c.Exec(t.Context(), "select 1")
		require.Error(t, err)
		require.NoError(t, cut.WaitSession(t.Context()))
		require.NoError(t, c.Close(t.Context()))
		<-c.PgConn().CleanupDone()
	}

	// Where TLS is only preferred, a server without it will do; else not.
	front := *u
	front.RawQuery = "sslmode=prefer"
	c, err := pgx.Connect(t.Context(), txntest.NewProxy(t, front.String()).URL())
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
	front.RawQuery = "sslmode=require"
	_, err = pgx.Connect(t.Context(), txntest.NewProxy(t, front.String()).URL())
	require.Error(t, err)
}

// encryptedFront listens in front of a server as one that has TLS.
func encryptedFront(t *testing.T, server string, direct bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"postgresql"}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer raw.Close()
				if !direct {
					request := make([]byte, 8)
					_, _ = io.ReadFull(raw, request)
					_, _ = raw.Write([]byte{'S'})
				}
				c := tls.Server(raw, cfg)
				behind, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer behind.Close()
				running.Go(func() { _, _ = io.Copy(behind, c); _ = behind.(*net.TCPConn).CloseWrite() })
				_, _ = io.Copy(c, behind)
			})
		}
	})
	return ln.Addr().String()
}

// A server's socket instead of a port.
func TestServerOnASocket(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, ledger)
	u, err := url.Parse(database.AppURL())
	require.NoError(t, err)
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", u.Host)
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(behind, c); _ = behind.(*net.TCPConn).CloseWrite() }()
			go func() { _, _ = io.Copy(c, behind); _ = c.Close() }()
		}
	}()
	password, _ := u.User.Password()
	proxy := txntest.NewProxy(t, fmt.Sprintf("host=%s user=%s password=%s dbname=%s", dir, u.User.Username(), password, strings.TrimPrefix(u.Path, "/")))
	c, err := pgx.Connect(t.Context(), proxy.URL())
	require.NoError(t, err)
	cut := proxy.Arm(faultproxy.Fault{Do: faultproxy.Cut{Reset: true}})
	require.Error(t, c.Ping(t.Context()))
	require.NoError(t, cut.Wait(t.Context()))
	require.NoError(t, c.Close(t.Context()))
	<-c.PgConn().CleanupDone()
}

// Whatever state its connections are in, nothing of a closed proxy runs. Goroutines inherit
// the label by which they are found.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	database := txntest.NewDatabase(t, ledger)
	const label = "behind the proxy that is closed"
	running := func() int {
		var profile bytes.Buffer
		require.NoError(t, pprof.Lookup("goroutine").WriteTo(&profile, 1))
		return strings.Count(profile.String(), label)
	}
	var proxy *faultproxy.Proxy
	pprof.Do(t.Context(), pprof.Labels("test", label), func(context.Context) {
		var err error
		proxy, err = faultproxy.Start(t.Context(), database.AppURL())
		require.NoError(t, err)
	})
	proxy.SetDelay(time.Millisecond)
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(t.Context(), proxy.URL())
		require.NoError(t, err)
		return c
	}
	failed := make(chan error, 10)
	ping := func(c *pgx.Conn) { failed <- c.Ping(context.WithoutCancel(t.Context())) }
	var conns []*pgx.Conn
	strike := func(f faultproxy.Fault) {
		c := connect()
		conns = append(conns, c)
		f.PID = c.PgConn().PID()
		armed := proxy.Arm(f)
		go ping(c)
		require.NoError(t, armed.Wait(t.Context()))
	}
	cancels := proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Do: faultproxy.Hold{}})
	idle := connect()
	conns = append(conns, idle)
	go func() { failed <- idle.PgConn().CancelRequest(context.WithoutCancel(t.Context())) }()
	require.NoError(t, cancels.Wait(t.Context()))
	streaming := rawConn(t, proxy.URL()) // whose client does not read
	streaming.send(t, &pgproto3.Query{String: "select repeat('x', 10000), generate_series(1, 100000)"})
	streaming.until(t, &pgproto3.DataRow{})
	for _, f := range []faultproxy.Fault{
		{Do: faultproxy.Hold{}},
		{Answer: true, Do: faultproxy.Hold{}},
		{Do: faultproxy.Cut{After: true}},
		{From: faultproxy.Server, Do: faultproxy.Cut{Reset: true}},
		{Do: faultproxy.BlackHole{}},
		{Do: faultproxy.BlackHole{All: true}},
	} {
		strike(f)
	}
	u, err := url.Parse(proxy.URL())
	require.NoError(t, err)
	silent, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	defer silent.Close()
	require.NotZero(t, running())

	proxy.Close()
	// A goroutine that has said that it is done may still be on its way out.
	require.Eventually(t, func() bool { return running() == 0 }, 5*time.Second, time.Millisecond)
	proxy.Close()
	for range len(conns) {
		<-failed
	}
	_, err = pgx.Connect(t.Context(), proxy.URL())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	for _, c := range conns {
		require.NoError(t, c.Close(t.Context()))
		<-c.PgConn().CleanupDone()
	}
}
