//go:build unix

package faultproxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// socketPair is a connection by way of the loopback interface.
func socketPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	near, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = near.Close() })
	far, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = far.Close() })
	return near, far
}

// newRelayBetween is a relay that does nothing by itself, and what is at its ends.
func newRelayBetween(t *testing.T) (r *relay, client, server net.Conn) {
	t.Helper()
	toClient, client := socketPair(t)
	toServer, server := socketPair(t)
	p := &Proxy{ctx: t.Context(), relays: map[*relay]struct{}{}}
	r = newRelay(p, endpoint{toClient, toClient}, endpoint{toServer, toServer})
	r.tracker.ready = true
	return r, client, server
}

// What passes at once needs no goroutine but the reader, and what passes, with a delay or
// without, no new memory: benchmarks count their client's through the proxy. It is not
// parallel, because that memory is the process's.
func TestPassingAllocatesNothing(t *testing.T) {
	r, client, server := newRelayBetween(t)
	p := r.p
	question := encode(nil, &pgproto3.Bind{PreparedStatement: "a"}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{})
	answer := encode(nil, &pgproto3.BindComplete{}, &pgproto3.NoData{}, &pgproto3.CommandComplete{CommandTag: []byte("BEGIN")}, &pgproto3.ReadyForQuery{TxStatus: 'T'})
	got := make([]byte, len(question)+len(answer))
	turn := func() {
		r.up.take(question)
		_, err := io.ReadFull(server, got[:len(question)])
		require.NoError(t, err)
		r.down.take(answer)
		_, err = io.ReadFull(client, got[len(question):])
		require.NoError(t, err)
	}
	require.Zero(t, testing.AllocsPerRun(100, turn))
	require.Equal(t, string(question)+string(answer), string(got))
	require.EqualValues(t, 101, p.counts.roundTrips.Load())

	p.delay.Store(int64(100 * time.Microsecond))
	for _, f := range []*flow{&r.up, &r.down} {
		go f.deliver()
		defer close(f.queue)
	}
	require.Zero(t, testing.AllocsPerRun(100, turn))
	require.Equal(t, string(question)+string(answer), string(got))
}

// What could go at once waits for what could not, and was before it.
func TestNothingOvertakesWhatWaits(t *testing.T) {
	t.Parallel()
	r, _, server := newRelayBetween(t)
	long := encode(nil, &pgproto3.CopyData{Data: bytes.Repeat([]byte("x"), 12<<20)})
	short := encode(nil, &pgproto3.CopyDone{})
	for rest := long; len(rest) > 0; rest = rest[min(chunkSize, len(rest)):] {
		r.up.take(rest[:min(chunkSize, len(rest))])
	}
	waiting := len(r.up.queue)
	require.Positive(t, waiting, "a socket does not take this at once")
	got := make([]byte, len(long)+len(short))
	at := len(long) - waiting*chunkSize // of it, at least, is in the socket
	_, err := io.ReadFull(server, got[:at])
	require.NoError(t, err)
	r.up.take(short) // for which there is room now
	go r.up.deliver()
	_, err = io.ReadFull(server, got[at:])
	require.NoError(t, err)
	close(r.up.queue)
	require.True(t, bytes.Equal(append(long, short...), got))
}

// Behind a fault nothing goes at once that would not go later.
func TestNothingIsSentBehindTheFault(t *testing.T) {
	t.Parallel()
	r, client, _ := newRelayBetween(t)
	answer := encode(nil, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	r.down.take(answer)
	r.stop(&r.down)
	r.down.take(answer)
	close(r.down.queue)
	r.down.deliver()
	require.NoError(t, r.down.dst.Close())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, string(answer), string(got))
}
