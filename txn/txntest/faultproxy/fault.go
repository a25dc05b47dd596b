package faultproxy

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Fault says at which message something goes wrong, and what. The message is the Nth, from
// [Proxy.Arm] on and over all connections, that all other fields allow. What the Stats do
// not count, the establishing of connections and Terminate, is not counted here either.
//
//	Fault{Nth: 3, Do: Cut{}}                            // before the client's third message
//	Fault{From: Server, Nth: 3, Do: Cut{After: true}}   // after the server's third
//	Fault{SQL: "^commit", Do: Cut{}}                    // the server does not get COMMIT
//	Fault{SQL: "^commit", Do: Cut{After: true}}         // the server gets it, at the last moment
//	Fault{SQL: "^commit", Answer: true, Do: Cut{}}      // the server has done it, the client does not hear of it
//	Fault{SQL: "^update", Do: Fail{SQLState: "40001"}}  // the server fails
//	Fault{From: Canceler, Every: true, Do: Hold{}}      // cancel requests come late
type Fault struct {
	// From is who sends the message. Zero is Client.
	From Source

	// Nth chooses among the messages: 1 is the first, as is zero.
	Nth int

	// Every makes the fault happen again at each message from the Nth on, until Disarm or
	// Release. Else it happens once.
	Every bool

	// Type is the message's type byte in the protocol, such as 'Q' for Query or 'Z' for
	// ReadyForQuery. Zero allows all types; with SQL or Fail, those that run a statement:
	// Query, Execute and FunctionCall.
	Type byte

	// SQL is a regular expression, case being ignored, that matches the statement's text: of a
	// Query itself; of an Execute that of the prepared statement behind it. Only the first 16 kB
	// of a text are looked at. Of the client's messages alone.
	SQL string

	// PID is the process id of the server's session. Zero allows all sessions.
	PID uint32

	// Answer puts the fault where the answer to the client's message begins, on its way back.
	// What the server sent before has then been passed on. A statement that writes has been
	// executed when its answer begins; of several in one Query, the first. Messages without an
	// answer of their own, such as CopyData, do not count. To a message that the server skips,
	// because another before it failed, no answer comes, and the fault waits for the next.
	Answer bool

	// Do is what happens: Cut, Hold, BlackHole or Fail.
	Do Action
}

// A Source is who sends a message.
type Source int

const (
	Client   Source = iota // clients, on connections to the database
	Server                 // the server
	Canceler               // clients, on the connections of their own that cancel requests have
)

// An Action is what a Fault does.
type Action interface{ action() }

// Cut ends the message's connection, towards client and server. What came before the message
// in its direction has been passed on; the message itself and what follows it is not. The
// other direction ends with it.
type Cut struct {
	// After passes the message on before the cut. Nothing that the other side sends in
	// return gets through.
	After bool

	// Reset makes it a reset of the TCP connection (RST), as after a power failure or behind
	// some firewalls. Else it is closed (FIN), as when a process dies.
	Reset bool

	// All cuts the other open connections as well.
	All bool
}

// Hold holds the message and what follows it in its direction back until Release. The other
// direction goes on. If the side that sent it closes the connection meanwhile, that too is held
// back. At most 16 MB are held; then the sender has to wait, as for a peer that does not read.
type Hold struct{}

// BlackHole is Hold in both directions: a network that loses everything, so that neither side
// is told of anything, not even of the other's end. Release is the network's return; as by
// TCP, what was sent meanwhile then arrives.
type BlackHole struct {
	// After passes the message on before.
	After bool

	// All swallows the other connections as well, and new ones, cancel requests included: they
	// are accepted but get no answer. To have them fail instead, use Proxy.Refuse.
	All bool
}

// Fail makes the server fail with an error at the message, instead of doing what it says. It
// is an error of the server itself, of a statement that is sent in the message's place, so
// that both sides agree about everything that follows from it: about the transaction, which
// has failed; about the rest of a pipeline, which is skipped; about locks. Where the message
// would end the transaction (COMMIT, ROLLBACK, PREPARE TRANSACTION), it is rolled back and
// has ended, as when a deferred constraint or the serialization check fails at COMMIT.
//
// In a transaction that has failed already, or in a pipeline that is being skipped, the
// server says what it would say anyway. The unnamed prepared statement is gone afterwards.
// The server must have PL/pgSQL, which PostgreSQL has unless it was dropped.
type Fail struct {
	// SQLState is the error's code, of five digits or capital letters.
	SQLState string

	// Constraint is the name of the constraint that the error names. Empty names none.
	Constraint string

	// Fatal ends the session, as an administrator's command does: the client gets the error
	// with the severity FATAL when the server has ended the session, and with it the
	// transaction.
	Fatal bool
}

func (Cut) action()       {}
func (Hold) action()      {}
func (BlackHole) action() {}
func (Fail) action()      {}

// runs are the types of messages that run a statement.
const runs = "QEF"

// answerable are the types that have an answer of their own. At these the server can be made
// to fail.
const answerable = "QFPBDECS"

var sqlState = regexp.MustCompile(`^[0-9A-Z]{5}$`)

// contradiction says what is wrong with a fault's description.
func (f *Fault) contradiction() string {
	fail, fails := f.Do.(Fail)
	switch {
	case f.Do == nil:
		return "Do is nil"
	case f.From < Client || f.From > Canceler:
		return "From is none of Client, Server, Canceler"
	case f.Nth < 0:
		return "Nth is negative"
	case f.From != Client && (f.SQL != "" || f.Answer || fails):
		return "SQL, Answer and Fail are for the Client's messages"
	case f.From == Canceler && f.Type != 0:
		return "cancel requests have no Type"
	case (f.Answer || fails) && f.Type != 0 && !strings.ContainsRune(answerable, rune(f.Type)):
		return fmt.Sprintf("messages of type %q have no answer of their own", f.Type)
	case !fails:
		return ""
	case f.Answer:
		return "Fail has no Answer to wait for"
	case !sqlState.MatchString(fail.SQLState) || fail.SQLState == "00000":
		return "Fail has no SQLState of an error"
	}
	return ""
}

// Arm makes the fault happen at its message. It panics if the Fault contradicts itself.
// Several faults may be armed at once; each counts for itself, and those that meet at one
// message happen in the order in which they were armed, as far as the first leaves room for
// the next.
func (p *Proxy) Arm(f Fault) *Armed {
	if wrong := f.contradiction(); wrong != "" {
		panic("faultproxy: " + wrong)
	}
	a := &Armed{p: p, fault: f, first: make(chan struct{}), release: make(chan struct{})}
	if f.SQL != "" {
		a.sql = regexp.MustCompile("(?i:" + f.SQL + ")")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setArmed(append(p.armed, a))
	return a
}

// setArmed is called with p.mu held.
func (p *Proxy) setArmed(armed []*Armed) {
	p.armed = armed
	p.arms.Store(int64(len(armed)))
}

// Armed is a fault that happens, or has happened. Its methods are safe for concurrent use.
type Armed struct {
	p     *Proxy
	fault Fault
	sql   *regexp.Regexp // nil allows all

	first   chan struct{} // closed when it has been carried out for the first time
	release chan struct{} // closed when what it holds goes on

	// Under p.mu.
	seen     int // messages that match
	fired    int
	off      bool   // disarmed
	done     bool   // first is closed
	released bool   // release is closed
	session  *relay // where it was carried out first; nil for a cancel request
}

// Fired returns how often the fault has happened. It counts before the message is passed on:
// when a call on the connection has returned, a fault at one of its messages has been counted.
func (a *Armed) Fired() int {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	return a.fired
}

// PID returns the process id of the server's session on whose connection the fault happened
// first. It is 0 before that, and for a cancel request, which has no session.
func (a *Armed) PID() uint32 {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	if a.session == nil {
		return 0
	}
	return a.session.pid.Load()
}

// patience is how long Wait and WaitSession wait.
const patience = 10 * time.Second

// Wait returns nil when the fault has happened: when what came before it has been passed on
// and the connection is cut, held, or, after Fail, the server has got the failing statement
// or, with Fatal, the client the error. It returns an error, which wraps the context's, when
// ctx ends first, or ten seconds have passed.
func (a *Armed) Wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-a.first:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("faultproxy: %s did not happen: %w", a, ctx.Err())
	}
}

// WaitSession returns nil when, after the fault has happened, the server has ended the
// session on whose connection it happened: the server has then done all that it was sent,
// and nothing more. A session that waits for a lock does not look at its connection. It
// returns an error when ctx ends first, when ten seconds have passed, and when the proxy
// cannot see the session's end: after a Cut with Reset, or of a cancel request.
func (a *Armed) WaitSession(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := a.Wait(ctx); err != nil {
		return err
	}
	a.p.mu.Lock()
	r := a.session
	a.p.mu.Unlock()
	if r == nil {
		return fmt.Errorf("faultproxy: %s: a cancel request has no session", a)
	}
	select {
	case <-r.ended:
		return nil
	case <-r.over:
	case <-ctx.Done():
	}
	select {
	case <-r.ended: // both at once
		return nil
	default:
	}
	if ctx.Err() != nil {
		return fmt.Errorf("faultproxy: %s: the session has not ended: %w", a, ctx.Err())
	}
	return fmt.Errorf("faultproxy: %s: the proxy left the session first", a)
}

// Release passes on what a Hold or BlackHole holds back, in order, and disarms the fault.
func (a *Armed) Release() {
	p := a.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disarm(a)
	if !a.released {
		a.released = true
		close(a.release)
		p.holes = without(p.holes, (<-chan struct{})(a.release))
	}
}

// Disarm makes the fault not happen, or not again. What it holds back stays.
func (a *Armed) Disarm() {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	a.p.disarm(a)
}

// disarm is called with p.mu held.
func (p *Proxy) disarm(a *Armed) {
	a.off = true
	p.setArmed(without(p.armed, a))
}

// String describes the fault, for messages.
func (a *Armed) String() string { return fmt.Sprintf("fault %+v", a.fault) }

// carriedOut notes that the fault has happened, on r's connection.
func (a *Armed) carriedOut(r *relay) {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	if a.done {
		return
	}
	a.done = true
	a.session = r
	close(a.first)
}

// comesAfter says whether the message is passed on before the fault happens.
func (a *Armed) comesAfter() bool {
	switch do := a.fault.Do.(type) {
	case Cut:
		return do.After
	case BlackHole:
		return do.After
	}
	return false
}

// An event is a message, as far as faults are concerned with it.
type event struct {
	from Source
	typ  byte
	sql  string
	pid  uint32
}

func (a *Armed) matches(e event) bool {
	f := &a.fault
	_, fails := f.Do.(Fail)
	switch {
	case f.From != e.from, f.PID != 0 && f.PID != e.pid:
		return false
	case f.Type != 0:
		if f.Type != e.typ {
			return false
		}
	case e.typ == 'X',
		f.Answer && !strings.ContainsRune(answerable, rune(e.typ)),
		(fails || a.sql != nil) && !strings.ContainsRune(runs, rune(e.typ)):
		return false
	}
	return a.sql == nil || a.sql.MatchString(e.sql)
}

// struck returns the faults whose message this is. Those with Answer are not counted as
// fired before the answer comes (answered), and armed again if it does not come (rearm).
func (p *Proxy) struck(e event) []*Armed {
	if p.arms.Load() == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var struck []*Armed
	for _, a := range p.armed {
		if !a.matches(e) {
			continue
		}
		if a.seen++; a.seen < a.fault.Nth {
			continue
		}
		struck = append(struck, a)
		if !a.fault.Answer {
			a.fired++
		}
	}
	for _, a := range struck {
		if !a.fault.Every {
			p.setArmed(without(p.armed, a))
		}
	}
	return struck
}

// answered returns those of the faults that happen at the answer that came.
func (p *Proxy) answered(waiting []*Armed) []*Armed {
	if len(waiting) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(waiting, func(a *Armed) bool {
		if !a.off {
			a.fired++
		}
		return a.off
	})
}

// rearm is for faults whose answer does not come.
func (p *Proxy) rearm(waiting []*Armed) {
	if len(waiting) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range waiting {
		if !a.off && !a.fault.Every {
			p.setArmed(append(p.armed, a))
		}
	}
}

// swallow makes a black hole of the whole proxy, if the fault is one.
func (p *Proxy) swallow(a *Armed) {
	if do, ok := a.fault.Do.(BlackHole); !ok || !do.All {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.released {
		return
	}
	p.holes = append(p.holes, a.release)
	for r := range p.relays {
		r.hold(a.release, &r.up, &r.down)
	}
}

func without[T comparable](all []T, one T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(x T) bool { return x == one })
}
