package faultproxy

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/interlock-go/interlock/txn/internal/sqltext"
)

// What a proxy has to know of PostgreSQL's protocol, version 3: where messages begin, which
// statement a message runs, and which message an answer belongs to.

// headLimit is how much of a message is looked at. The rest only passes.
const headLimit = 16 << 10

// A message is the beginning of one.
type message struct {
	typ  byte
	body []byte // its beginning, as much as was asked for
}

// A splitter finds the messages in a stream. It holds nothing back but an incomplete header
// or beginning of a body, so that messages may be of any size.
type splitter struct {
	want   func(typ byte) int // how much of the body is to be seen
	rest   int                // of the current message, yet to come
	opaque bool               // not the protocol: all of it passes as it is
}

// next returns the size of the first piece of b, and the message, if one begins there. When
// the piece ends the message, s.rest is zero. A size of zero asks for more of the stream.
func (s *splitter) next(b []byte) (n int, m message, begins bool) {
	if s.opaque {
		return len(b), message{}, false
	}
	if s.rest > 0 {
		n = min(s.rest, len(b))
		s.rest -= n
		return n, message{}, false
	}
	if len(b) < 5 {
		return 0, message{}, false
	}
	size := int64(int32(binary.BigEndian.Uint32(b[1:]))) + 1
	if size < 5 {
		s.opaque = true
		return len(b), message{}, false
	}
	m.typ = b[0]
	seen := min(int(size), 5+min(s.want(m.typ), headLimit))
	if len(b) < seen {
		return 0, message{}, false
	}
	m.body = b[5:seen]
	n = min(int(size), len(b))
	s.rest = int(size) - n
	return n, m, true
}

// wantOfClient: the texts and names that statements know. A Bind has them before the values.
func wantOfClient(typ byte) int {
	switch typ {
	case 'Q', 'P', 'B', 'D', 'E', 'C':
		return headLimit
	}
	return 0
}

// wantOfServer: BackendKeyData has the session's process id.
func wantOfServer(typ byte) int {
	if typ == 'K' {
		return 4
	}
	return 0
}

// statements know what a connection has prepared and bound.
type statements struct{ prepared, portals map[string]string }

func newStatements() statements {
	return statements{prepared: map[string]string{}, portals: map[string]string{}}
}

// sql returns the text of the statement that a client's message is about, and notes what the
// message prepares and binds.
func (s statements) sql(m message) string {
	first, rest := cstring(m.body)
	switch m.typ {
	case 'Q':
		return string(first)
	case 'P':
		sql, _ := cstring(rest)
		s.prepared[string(first)] = string(sql)
		return s.prepared[string(first)]
	case 'B':
		name, _ := cstring(rest)
		sql := s.prepared[string(name)]
		s.portals[string(first)] = sql
		return sql
	case 'E':
		return s.portals[string(first)]
	case 'D', 'C':
		if len(first) == 0 {
			return ""
		}
		names := s.portals
		if first[0] == 'S' {
			names = s.prepared
		}
		sql := names[string(first[1:])]
		if m.typ == 'C' {
			delete(names, string(first[1:]))
		}
		return sql
	}
	return ""
}

func cstring(b []byte) (s, rest []byte) {
	s, rest, _ = bytes.Cut(b, []byte{0})
	return s, rest
}

// An awaited is a message of the client's to which the answer has not come, or one that marks
// a place between such.
type awaited struct {
	typ      byte
	hidden   bool     // the proxy's own: the client does not get the answer
	hideTags int      // of a Query: as many CommandCompletes are the proxy's own
	begun    bool     // the answer has begun
	watch    []*Armed // faults that wait for the answer
}

// A tracker knows which message of the client's the server answers with which of its own. It
// relies on nothing but their order.
type tracker struct {
	ready   bool // the connection is established
	queue   []awaited
	spare   []awaited // the room that queue begins with, after it was empty
	asked   int       // questions, see asks, whose answer the client has not got
	copying bool      // COPY FROM STDIN: what the server then ignores is not awaited
}

// syncs are the types that ReadyForQuery answers.
const syncs = "SQF"

func isSync(typ byte) bool { return strings.IndexByte(syncs, typ) >= 0 }

// asks are the messages after which the server sends what it has, to a client that waits.
func asks(typ byte) bool { return isSync(typ) || typ == 'H' }

// sent notes a message of the client's. It reports whether an answer to it is awaited, and
// whether a round trip begins with it.
func (t *tracker) sent(a awaited) (comes, turn bool) {
	switch a.typ {
	case 'P', 'B', 'D', 'E', 'C', 'Q', 'F':
	case 'S':
		if t.copying {
			return false, false
		}
	case 'H':
		if t.copying || len(t.queue) == 0 {
			return false, false
		}
	case 'c', 'f':
		t.copying = false
		if len(t.queue) == 0 {
			return false, false
		}
	default:
		return false, false
	}
	if len(t.queue) == 0 {
		t.queue = t.spare[:0]
	}
	t.queue = append(t.queue, a)
	if !asks(a.typ) {
		return true, false
	}
	t.asked++
	return true, t.asked == 1
}

// A reply is what a message of the server's is, to the client's messages.
type reply struct {
	hidden  bool
	watch   []*Armed // their answer begins with it
	skipped []*Armed // their answer will not come
	answers int      // questions that it settles
}

// received notes a message of the server's.
func (t *tracker) received(typ byte) (r reply) {
	if !t.ready {
		t.ready = typ == 'Z'
		return r
	}
	switch typ {
	case 'N', 'A', 'S': // notice, notification, parameter: at any time
		return r
	case 'Z':
		for i := range t.queue {
			if isSync(t.queue[i].typ) {
				t.skip(i, &r)
				t.begin(typ, &r)
				t.pop(&r)
				break
			}
		}
	case 'E':
		t.begin(typ, &r)
		t.copying = false
		if len(t.queue) == 0 || isSync(t.queue[0].typ) {
			break
		}
		t.pop(&r)
		i := 0
		for i < len(t.queue) && t.queue[i].typ != 'S' { // the server skips even a Query
			i++
		}
		t.skip(i, &r)
	case 'G', 'W':
		t.begin(typ, &r)
		t.copy(&r)
	default:
		t.begin(typ, &r)
		if len(t.queue) > 0 && ends(t.queue[0].typ, typ) {
			t.pop(&r)
		}
	}
	for len(t.queue) > 0 && strings.IndexByte("Hcf", t.queue[0].typ) >= 0 {
		t.pop(&r)
	}
	return r
}

// ends says whether a message of the server's is the last of its answer to one of the
// client's.
func ends(client, server byte) bool {
	switch client {
	case 'P':
		return server == '1'
	case 'B':
		return server == '2'
	case 'C':
		return server == '3'
	case 'D':
		return server == 'T' || server == 'n'
	case 'E':
		return server == 'C' || server == 'I' || server == 's'
	}
	return false // ReadyForQuery ends the others
}

// begin makes a message of the server's part of the first awaited answer.
func (t *tracker) begin(typ byte, r *reply) {
	if len(t.queue) == 0 {
		return
	}
	a := &t.queue[0]
	if !a.begun {
		a.begun = true
		r.watch, a.watch = a.watch, nil
	}
	switch {
	case a.hidden:
		r.hidden = typ != 'E' // an error is the answer to all that follows
	case typ == 'C' && a.hideTags > 0:
		a.hideTags--
		r.hidden = true
	}
}

func (t *tracker) pop(r *reply) {
	if asks(t.queue[0].typ) {
		r.answers++
	}
	r.skipped = append(r.skipped, t.queue[0].watch...)
	t.queue = t.queue[1:]
}

func (t *tracker) skip(n int, r *reply) {
	for range n {
		t.pop(r)
	}
}

// copy is for CopyInResponse: until the client ends its data, the server ignores Sync and
// Flush. A client that did not know what it was starting has sent one already.
func (t *tracker) copy(r *reply) {
	if len(t.queue) == 0 {
		return
	}
	kept := t.queue[:1]
	for i, a := range t.queue[1:] {
		switch a.typ {
		case 'c', 'f':
			t.queue = append(kept, t.queue[1+i:]...)
			return
		case 'S', 'H':
			r.answers++
		default:
			kept = append(kept, a)
		}
	}
	t.queue = kept
	t.copying = true
}

// failing returns the messages that make the server fail in the place of one of the client's,
// and what is then awaited. The last of them is the one that fails.
func (f Fail) failing(typ byte, sql string) (data []byte, sent []awaited) {
	raise := "do $faultproxy$ begin raise exception using message = 'injected by faultproxy', errcode = " + literal(f.SQLState)
	if f.Constraint != "" {
		raise += ", constraint = " + literal(f.Constraint)
	}
	raise += "; end $faultproxy$"
	ends := endsTransaction(sql) && strings.IndexByte(runs, typ) >= 0
	if typ == 'Q' || typ == 'F' {
		question := awaited{typ: 'Q'}
		if ends {
			raise = "rollback; " + raise
			question.hideTags = 1
		}
		return encode(data, &pgproto3.Query{String: raise}), []awaited{question}
	}
	run := func(sql string) {
		data = encode(data, &pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{})
		sent = append(sent, awaited{typ: 'P', hidden: true}, awaited{typ: 'B', hidden: true}, awaited{typ: 'E', hidden: true})
	}
	if ends {
		run("rollback")
	}
	run(raise)
	sent[len(sent)-1].hidden = false
	return data, sent
}

// fatal is the message by which a server takes leave.
func (f Fail) fatal() []byte {
	return encode(nil, &pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL",
		Code: f.SQLState, Message: "injected by faultproxy", ConstraintName: f.Constraint,
	})
}

// encode cannot fail: none of the messages is near the protocol's limits.
func encode(b []byte, messages ...pgproto3.Message) []byte {
	for _, m := range messages {
		b, _ = m.Encode(b)
	}
	return b
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// endsTransaction says whether a statement's text ends the transaction that it is run in.
func endsTransaction(sql string) bool {
	first, rest := sqltext.FirstWord(sql)
	second, rest := sqltext.FirstWord(rest)
	if second == "work" || second == "transaction" && first != "prepare" {
		second, _ = sqltext.FirstWord(rest)
	}
	switch first {
	case "commit", "end":
		return second != "prepared"
	case "rollback", "abort":
		return second != "prepared" && second != "to"
	case "prepare":
		return second == "transaction"
	}
	return false
}
