package faultproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// A chunked is a connection that a stream arrives at in pieces of given sizes.
type chunked struct {
	net.Conn
	stream []byte
	sizes  []byte
	next   int
}

func (c *chunked) Read(b []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	size := len(b)
	if len(c.sizes) > 0 {
		size = 1 + int(c.sizes[c.next%len(c.sizes)])
		c.next++
	}
	n := copy(b[:min(size, len(b))], c.stream)
	c.stream = c.stream[n:]
	return n, nil
}

// passed is a stream that went through a flow whose judge hides some messages and puts something
// else in the place of others.
func passed(stream, sizes []byte) (out []byte, seen []message) {
	p := &Proxy{ctx: context.Background()}
	c := endpoint{Conn: &chunked{stream: stream, sizes: sizes}}
	r := newRelayIn(p, c)
	r.up.judge = func(m message) (v verdict) {
		seen = append(seen, message{m.typ, bytes.Clone(m.body)})
		switch m.typ {
		case 'h':
			v.hide = true
		case 'i':
			v.hide, v.instead = true, []byte("<instead>")
		}
		return v
	}
	go r.up.read()
	for it := range r.up.queue {
		out = append(out, it.data...)
	}
	return out, seen
}

func newRelayIn(p *Proxy, c endpoint) *relay {
	p.relays = map[*relay]struct{}{}
	return newRelay(p, c, c)
}

// split is what passed should do, on the whole stream at once.
func split(stream []byte) (out []byte, seen []message) {
	for len(stream) >= 5 {
		size := int(int32(binary.BigEndian.Uint32(stream[1:]))) + 1
		if size < 5 {
			return append(out, stream...), seen
		}
		m := message{typ: stream[0]}
		want := min(size, 5+wantOfClient(m.typ))
		if len(stream) < want {
			break
		}
		m.body = bytes.Clone(stream[5:want])
		seen = append(seen, m)
		whole := stream[:min(size, len(stream))]
		switch m.typ {
		case 'h':
		case 'i':
			out = append(out, "<instead>"...)
		default:
			out = append(out, whole...)
		}
		stream = stream[len(whole):]
	}
	return append(out, stream...), seen
}

// streams are examples of what clients send, whole and broken.
func streams() [][]byte {
	long := strings.Repeat("x", headLimit+100)
	all := encode(nil,
		&pgproto3.Parse{Name: "a", Query: "select $1"}, &pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{[]byte(long)}},
		&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Sync{},
		&pgproto3.Query{String: long}, &pgproto3.CopyData{Data: []byte(long + long)}, &pgproto3.CopyDone{}, &pgproto3.Flush{}, &pgproto3.Terminate{})
	return [][]byte{
		nil, {'Q'}, {'Q', 0, 0, 0}, {'Q', 0, 0, 0, 4}, {'Q', 0, 0, 0, 3, 'x'}, {'Q', 255, 255, 255, 255, 'x'}, {'d', 127, 255, 255, 255, 'x'},
		[]byte("h\x00\x00\x00\x06abi\x00\x00\x00\x06cdj\x00\x00\x00\x06ef"), []byte("i\x00\x00\x00\x09ab"), []byte("h\x00\x00\x00\x04h\x00\x00\x00\x05"),
		all, all[:len(all)/2], all[:100],
	}
}

func FuzzSplitter(f *testing.F) {
	for _, stream := range streams() {
		for _, sizes := range [][]byte{nil, {0}, {1, 7, 255}} {
			f.Add(stream, sizes)
		}
	}
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		out, seen := passed(stream, sizes)
		wantOut, wantSeen := split(stream)
		require.Equal(t, len(wantSeen), len(seen))
		for i := range seen {
			require.Equal(t, wantSeen[i].typ, seen[i].typ)
			require.True(t, bytes.Equal(wantSeen[i].body, seen[i].body))
		}
		require.True(t, bytes.Equal(wantOut, out))
	})
}

// Whatever is said, in whatever order: no panic, and the questions add up.
func FuzzTracker(f *testing.F) {
	f.Add([]byte("PBDESPBDES"), []byte("12TDCZ"), true)
	f.Add([]byte("QcSHQ"), []byte("GECZ"), true)
	f.Add([]byte("EScS"), []byte("GCZ"), false)
	f.Add([]byte("PHBHEHS"), []byte("1E2CZ"), false)
	f.Fuzz(func(t *testing.T, client, server []byte, together bool) {
		tracker := tracker{ready: true}
		statements := newStatements()
		settled := 0
		check := func() {
			open := 0
			for _, a := range tracker.queue {
				if asks(a.typ) {
					open++
				}
			}
			require.Equal(t, open, tracker.asked-settled)
		}
		for len(client)+len(server) > 0 {
			if len(client) > 0 && (together || len(client) >= len(server)) {
				statements.sql(message{client[0], client})
				tracker.sent(awaited{typ: client[0], hidden: len(client)%3 == 0, hideTags: len(client) % 2})
				client = client[1:]
			} else {
				settled += tracker.received(server[0]).answers
				server = server[1:]
			}
			check()
		}
	})
}

func TestTracker(t *testing.T) {
	t.Parallel()
	first := &Armed{}
	for name, c := range map[string]struct {
		sent    []awaited
		server  string // what the server sends
		hidden  string // - or h for each
		answers string // the questions that each settles
		watch   int    // which of them the answer to first begins with; 0 is none
		skipped int    // which of them says that the answer to first will not come
	}{
		"query":               {[]awaited{{typ: 'Q', watch: []*Armed{first}}}, "TDDCZ", "-----", "00001", 1, 0},
		"notice first":        {[]awaited{{typ: 'Q', watch: []*Armed{first}}}, "NSACZ", "-----", "00001", 4, 0},
		"error":               {[]awaited{{typ: 'Q', watch: []*Armed{first}}}, "EZ", "--", "01", 1, 0},
		"extended":            {[]awaited{{typ: 'P'}, {typ: 'B'}, {typ: 'D'}, {typ: 'E', watch: []*Armed{first}}, {typ: 'S'}}, "12TDDCZ", "-------", "0000001", 4, 0},
		"described statement": {[]awaited{{typ: 'P'}, {typ: 'D'}, {typ: 'S', watch: []*Armed{first}}}, "1tTZ", "----", "0001", 4, 0},
		"suspended":           {[]awaited{{typ: 'E'}, {typ: 'E', watch: []*Armed{first}}, {typ: 'S'}}, "DsDCZ", "-----", "00001", 3, 0},
		"skipped":             {[]awaited{{typ: 'P'}, {typ: 'B'}, {typ: 'E', watch: []*Armed{first}}, {typ: 'H'}, {typ: 'Q'}, {typ: 'S'}}, "1EZ", "---", "021", 0, 2},
		"skipped, then not":   {[]awaited{{typ: 'P'}, {typ: 'S'}, {typ: 'C', watch: []*Armed{first}}, {typ: 'S'}}, "EZ3Z", "----", "0101", 3, 0},
		"error of the sync":   {[]awaited{{typ: 'C'}, {typ: 'S', watch: []*Armed{first}}}, "3EZ", "---", "001", 2, 0},
		"flush":               {[]awaited{{typ: 'P'}, {typ: 'H'}, {typ: 'B'}, {typ: 'H'}, {typ: 'S'}}, "12Z", "---", "111", 0, 0},
		"hidden":              {[]awaited{{typ: 'P', hidden: true}, {typ: 'B', hidden: true}, {typ: 'E', hidden: true}, {typ: 'E', watch: []*Armed{first}}, {typ: 'S'}}, "12CEZ", "hhh--", "00001", 4, 0},
		"hidden, but failed":  {[]awaited{{typ: 'P', hidden: true}, {typ: 'E', watch: []*Armed{first}}, {typ: 'S'}}, "EZ", "--", "01", 0, 1},
		"hidden tag":          {[]awaited{{typ: 'Q', hideTags: 1}}, "CCEZ", "h---", "0001", 0, 0},
		"copy in":             {[]awaited{{typ: 'Q', watch: []*Armed{first}}, {typ: 'c'}}, "GCZ", "---", "001", 1, 0},
		"extended copy in":    {[]awaited{{typ: 'E'}, {typ: 'S'}, {typ: 'H'}}, "G", "-", "2", 0, 0},
		"extended copy in, ended already": {
			[]awaited{{typ: 'E'}, {typ: 'S'}, {typ: 'c'}, {typ: 'H'}, {typ: 'S'}}, "GCZ", "---", "111", 0, 0,
		},
		"function":        {[]awaited{{typ: 'F', watch: []*Armed{first}}}, "VZ", "--", "01", 1, 0},
		"copy out":        {[]awaited{{typ: 'Q'}}, "HddcCZ", "------", "000001", 0, 0},
		"nothing awaited": {nil, "ECZ1", "----", "0000", 0, 0},
		"not asked for":   {[]awaited{{typ: 'd'}, {typ: 'X'}, {typ: 'H'}, {typ: 'c'}}, "", "", "", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker := tracker{ready: true}
			for _, a := range c.sent {
				tracker.sent(a)
			}
			var hidden, answers string
			watch, skipped := 0, 0
			for i, typ := range []byte(c.server) {
				r := tracker.received(typ)
				hidden += map[bool]string{false: "-", true: "h"}[r.hidden]
				answers += string(rune('0' + r.answers))
				if len(r.watch) > 0 {
					require.Same(t, first, r.watch[0])
					watch = i + 1
				}
				if len(r.skipped) > 0 {
					require.Same(t, first, r.skipped[0])
					skipped = i + 1
				}
			}
			require.Equal(t, c.hidden, hidden)
			require.Equal(t, c.answers, answers)
			require.Equal(t, c.watch, watch)
			require.Equal(t, c.skipped, skipped)
			if strings.HasSuffix(c.server, "Z") || c.server == "" {
				require.Empty(t, tracker.queue)
			}
		})
	}
}

// The establishing of a connection ends with the first ReadyForQuery.
func TestTrackerBeforeItIsReady(t *testing.T) {
	t.Parallel()
	var tracker tracker
	for _, typ := range []byte("RRSSKZ") {
		require.False(t, tracker.ready)
		require.Zero(t, tracker.received(typ))
	}
	require.True(t, tracker.ready)
}

func TestStatements(t *testing.T) {
	t.Parallel()
	s := newStatements()
	sql := func(m pgproto3.Message) string {
		b := encode(nil, m)
		return s.sql(message{b[0], b[5:]})
	}
	require.Equal(t, "select 0", sql(&pgproto3.Query{String: "select 0"}))
	require.Equal(t, "select 1", sql(&pgproto3.Parse{Name: "one", Query: "select 1"}))
	require.Equal(t, "select 2", sql(&pgproto3.Parse{Query: "select 2"}))
	require.Equal(t, "select 1", sql(&pgproto3.Bind{PreparedStatement: "one"}))
	require.Equal(t, "select 2", sql(&pgproto3.Bind{DestinationPortal: "p"}))
	require.Equal(t, "select 1", sql(&pgproto3.Execute{}))
	require.Equal(t, "select 2", sql(&pgproto3.Execute{Portal: "p"}))
	require.Equal(t, "select 1", sql(&pgproto3.Describe{ObjectType: 'S', Name: "one"}))
	require.Equal(t, "select 2", sql(&pgproto3.Describe{ObjectType: 'P', Name: "p"}))
	require.Equal(t, "select 1", sql(&pgproto3.Close{ObjectType: 'S', Name: "one"}))
	require.Equal(t, "", sql(&pgproto3.Bind{PreparedStatement: "one"}))
	require.Equal(t, "", sql(&pgproto3.Sync{}))
	require.Equal(t, "", s.sql(message{'D', nil}))
}

func TestEndsTransaction(t *testing.T) {
	t.Parallel()
	for sql, ends := range map[string]bool{
		"commit": true, " COMMIT;": true, "commit work": true, "commit transaction and chain": true, "commit and no chain": true,
		"end": true, "END TRANSACTION": true, "rollback": true, "abort": true, "rollback work": true, "prepare transaction 'x'": true,
		"-- why\n/* /* nested */ */ commit": true, "commit/* now */work": true,
		"": false, "commit prepared 'x'": false, "rollback prepared 'x'": false, "rollback to x": false, "rollback work to savepoint x": false,
		"rollback transaction to x": false, "prepare x as select 1": false, "begin": false, "select 'commit'": false, "commits": false,
		"commit_it()": false, "/* commit": false, "-- commit": false, "/": false, "release x": false,
	} {
		require.Equal(t, ends, endsTransaction(sql), "%q", sql)
	}
}

// A played connection reads what it is given and hands over what is written.
type played struct {
	net.Conn
	reads  chan []byte // closed at the end
	taken  atomic.Int64
	writes func([]byte)
}

func (c *played) Read(b []byte) (int, error) {
	c.taken.Add(1)
	next, ok := <-c.reads
	if !ok {
		return 0, io.EOF
	}
	return copy(b, next), nil
}

func (c *played) Write(b []byte) (int, error) { c.writes(b); return len(b), nil }

// The answer to a message is there before the proxy comes to cut the connection behind it.
func TestNoAnswerOvertakesTheFault(t *testing.T) {
	t.Parallel()
	for _, do := range []Action{Cut{After: true}, BlackHole{After: true}} {
		p := &Proxy{ctx: t.Context(), relays: map[*relay]struct{}{}}
		client := &played{reads: make(chan []byte, 1), writes: func(b []byte) { t.Errorf("the client gets %q", b) }}
		server := &played{reads: make(chan []byte, 2)}
		r := newRelay(p, endpoint{client, client}, endpoint{server, server})
		r.tracker.ready = true
		query := encode(nil, &pgproto3.Query{String: "select 1"})
		server.writes = func(b []byte) {
			if !bytes.Equal(b, query) {
				return
			}
			before := server.taken.Load()
			server.reads <- encode(nil, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
			server.reads <- encode(nil, &pgproto3.ReadyForQuery{TxStatus: 'I'})
			// When the second has been taken from the queue, if it is, the first has been dealt with.
			for server.taken.Load() < before+2 || !r.down.isHeld() && len(r.down.queue) > 0 {
				runtime.Gosched()
			}
		}
		fault := p.Arm(Fault{Do: do})
		client.reads <- query
		go r.run(nil)
		require.NoError(t, fault.Wait(t.Context()))
		close(client.reads)
		close(server.reads)
		r.sever(false) // lets a black hole's go
		<-r.over
	}
}

func (f *flow) isHeld() bool {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return len(f.holds) > 0
}

// inFront is a proxy in front of a server that the test only connects to.
func inFront(t *testing.T) *Proxy {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	p, err := Start(t.Context(), server.AppURL("postgres"))
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// A black hole opens while the proxy is about to connect a client.
func TestBlackHoleWhileConnecting(t *testing.T) {
	t.Parallel()
	p := inFront(t)
	first, err := pgx.Connect(t.Context(), p.URL())
	require.NoError(t, err)
	dialing, dial := make(chan struct{}), make(chan struct{})
	through := p.cfg.DialFunc
	p.cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		close(dialing)
		<-dial
		return through(ctx, network, address)
	}
	done := make(chan error, 2)
	go func() {
		second, err := pgx.Connect(t.Context(), p.URL())
		if err == nil {
			err = second.Close(t.Context())
		}
		done <- err
	}()
	<-dialing
	hole := p.Arm(Fault{Do: BlackHole{All: true}})
	go func() { done <- first.Ping(t.Context()) }()
	require.NoError(t, hole.Wait(t.Context()))
	close(dial)
	relays, held := 0, 0
	for relays < 2 {
		p.mu.Lock()
		relays, held = len(p.relays), 0
		for r := range p.relays {
			if r.up.isHeld() && r.down.isHeld() {
				held++
			}
		}
		p.mu.Unlock()
		runtime.Gosched()
	}
	require.Equal(t, 2, held)
	require.Empty(t, done)
	hole.Release()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.Empty(t, p.holes)
	require.NoError(t, first.Close(t.Context()))
}

func TestBlackHoleReleasedBeforeItOpens(t *testing.T) {
	t.Parallel()
	p := inFront(t)
	hole := p.Arm(Fault{Do: BlackHole{All: true}})
	hole.Release()
	p.swallow(hole)
	require.Empty(t, p.holes)
}

func TestCloseWaits(t *testing.T) {
	t.Parallel()
	p := inFront(t)
	p.SetDelay(time.Millisecond)
	for range 10 {
		c, err := pgx.Connect(t.Context(), p.URL())
		require.NoError(t, err)
		defer func() { _ = c.Close(context.Background()); <-c.PgConn().CleanupDone() }()
	}
	p.Close()
	require.Empty(t, p.relays)
}

func TestEndpointsOfOtherKinds(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe() // has neither half a close nor a reset
	e := endpoint{a, a}
	e.cut(false)
	e.cut(true)
	_, err := b.Read(make([]byte, 1))
	require.True(t, errors.Is(err, io.EOF))
}
