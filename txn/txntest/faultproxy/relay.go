package faultproxy

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A relay is a client's connection and the one to the server that belongs to it, with a flow
// in each direction.
//
// Each flow has a goroutine that reads, recognizes messages and decides what happens to them,
// and one that delivers when the time has come. What is decided is queued in its place
// between what was received, so that a fault happens when everything before it has been
// delivered, whatever the delay. What need not wait for anything the reader sends itself: a
// queue would cost a change of goroutine for each message.
type relay struct {
	p        *Proxy
	up, down flow // to the server, to the client

	statements statements    // of up's reader alone
	pid        atomic.Uint32 // of the server's session

	dead  chan struct{} // closed when the connection has been cut
	ended chan struct{} // closed when the server has ended the session
	over  chan struct{} // closed when nothing of the relay runs any more

	mu      sync.Mutex
	tracker tracker
	cut     bool
	fatal   *Armed // the fault whose error the client gets when the server has ended the session
}

// A flow is one direction of a relay.
type flow struct {
	r        *relay
	other    *flow // the opposite direction
	src, dst endpoint
	judge    func(message) verdict
	queue    chan item
	pending  atomic.Int64 // items queued and not yet dealt with

	// Of the reader alone.
	sender   *sender
	split    splitter
	hiding   bool   // the current message is not passed on
	after    []step // what happens at its end
	last     bool   // nothing that follows it is passed on
	deserted bool   // nothing more is passed on
	settled  int    // questions answered by what is passed on next

	// Under r.mu.
	holds    []<-chan struct{} // delivery waits until these are closed
	stopped  bool              // nothing more is delivered
	broken   bool              // dst takes nothing more
	finished bool              // dst has got everything, the end included
}

// queueSize and chunkSize bound what a flow holds to 16 MB, which takes a delay of 10 ms at
// more than 1 GB/s.
const (
	queueSize = 512
	chunkSize = 32 << 10
)

// A chunk is room for what is queued, used again and again: where allocations are counted, the
// proxy's are none.
type chunk [chunkSize]byte

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// An item is delivered in its turn: bytes, a step of a fault, or the end.
type item struct {
	due     time.Time
	data    []byte
	chunk   *chunk // where the data is
	settled int    // questions that the data answers
	step    step
	end     bool
}

// A step is a fault at its place in the flow. Early is the first of two, ahead of the message
// that the fault comes after: it closes the way back before the message is passed on, so that
// no answer to it overtakes the fault.
type step struct {
	armed *Armed
	early bool
}

// A verdict is what happens to a message.
type verdict struct {
	before  []step
	instead []byte // goes out in the message's place
	hide    bool   // the message is not passed on
	after   []step
	last    bool // nothing that follows is passed on
	settled int
}

func newRelay(p *Proxy, client, server endpoint) *relay {
	r := &relay{
		p:          p,
		statements: newStatements(),
		dead:       make(chan struct{}),
		ended:      make(chan struct{}),
		over:       make(chan struct{}),
	}
	r.tracker.spare = make([]awaited, 0, 64)
	r.up = flow{r: r, other: &r.down, src: client, dst: server, judge: r.judgeClient, split: splitter{want: wantOfClient}}
	r.down = flow{r: r, other: &r.up, src: server, dst: client, judge: r.judgeServer, split: splitter{want: wantOfServer}}
	for _, f := range []*flow{&r.up, &r.down} {
		f.queue = make(chan item, queueSize)
		f.sender = newSender(f.dst)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relays[r] = struct{}{}
	for _, hole := range p.holes {
		r.hold(hole, &r.up, &r.down)
	}
	return r
}

// run passes on until both sides have ended, or the proxy is closed.
func (r *relay) run(startup []byte) {
	r.up.pass(startup)
	var running sync.WaitGroup
	for _, f := range []*flow{&r.up, &r.down} {
		running.Go(f.read)
		running.Go(f.deliver)
	}
	running.Wait()
	close(r.over)
	r.p.mu.Lock()
	delete(r.p.relays, r)
	r.p.mu.Unlock()
	for _, a := range r.tracker.queue {
		r.p.rearm(a.watch)
	}
}

// judgeClient decides about a message of the client's.
func (r *relay) judgeClient(m message) (v verdict) {
	if m.typ == 'p' { // authentication
		return v
	}
	e := event{from: Client, typ: m.typ, sql: r.statements.sql(m), pid: r.pid.Load()}
	if m.typ != 'X' {
		r.p.counts.clientMessages.Add(1)
	}
	if isSync(m.typ) {
		r.p.counts.syncs.Add(1)
	}
	sent := []awaited{{typ: m.typ}}
	var watch []*Armed
	for _, a := range r.p.struck(e) {
		switch fail, fails := a.fault.Do.(Fail); {
		case a.fault.Answer:
			watch = append(watch, a)
		case !fails:
			v.add(a)
		case v.hide: // another made it fail
			v.after = append(v.after, step{armed: a})
		case fail.Fatal:
			r.mu.Lock()
			r.fatal = a
			r.mu.Unlock()
			// Flush: the client is to get the answers to what came before.
			v.instead, v.hide, v.last = []byte("H\x00\x00\x00\x04X\x00\x00\x00\x04"), true, true
			sent = nil
		default:
			v.instead, sent = fail.failing(m.typ, e.sql)
			v.hide = true
			v.after = append(v.after, step{armed: a})
		}
	}
	if v.hide && m.typ == 'S' && !v.last {
		v.instead = append(v.instead, "S\x00\x00\x00\x04"...)
		sent = append(sent, awaited{typ: 'S'})
	}
	r.await(sent, watch)
	return v
}

// await notes what the server is sent, and the faults that wait for the answer to the last.
func (r *relay) await(sent []awaited, watch []*Armed) {
	if len(sent) > 0 {
		sent[len(sent)-1].watch = watch
	}
	comes := false
	r.mu.Lock()
	for _, a := range sent {
		var turn bool
		if comes, turn = r.tracker.sent(a); turn {
			r.p.counts.roundTrips.Add(1)
		}
	}
	r.mu.Unlock()
	if !comes {
		r.p.rearm(watch)
	}
}

// judgeServer decides about a message of the server's.
func (r *relay) judgeServer(m message) (v verdict) {
	r.mu.Lock()
	ready := r.tracker.ready
	reply := r.tracker.received(m.typ)
	r.mu.Unlock()
	if !ready {
		if m.typ == 'K' && len(m.body) == 4 {
			r.pid.Store(uint32(m.body[0])<<24 | uint32(m.body[1])<<16 | uint32(m.body[2])<<8 | uint32(m.body[3]))
		}
		return v
	}
	v.settled = reply.answers
	r.p.rearm(reply.skipped)
	for _, a := range r.p.answered(reply.watch) {
		v.add(a)
	}
	if reply.hidden {
		v.hide = true
		return v
	}
	r.p.counts.serverMessages.Add(1)
	for _, a := range r.p.struck(event{from: Server, typ: m.typ, pid: r.pid.Load()}) {
		v.add(a)
	}
	return v
}

// add puts a fault before or after the message.
func (v *verdict) add(a *Armed) {
	if _, cuts := a.fault.Do.(Cut); cuts {
		v.last = true
	}
	if a.comesAfter() {
		v.after = append(v.after, step{armed: a})
	}
	v.before = append(v.before, step{armed: a, early: a.comesAfter()})
}

// read takes what comes from src until it ends.
func (f *flow) read() {
	defer close(f.queue)
	buf := make([]byte, chunkSize)
	kept := 0 // of the last time: less than a header and a head, which leaves room
	for {
		n, err := f.src.Read(buf[kept:])
		kept += n
		taken := f.take(buf[:kept])
		kept = copy(buf, buf[taken:kept])
		if err == nil {
			continue
		}
		if !f.deserted {
			f.pass(buf[:kept])
		}
		f.sourceEnded(err)
		f.put(item{end: true, due: f.r.p.due()})
		return
	}
}

func (f *flow) sourceEnded(err error) {
	r := f.r
	if f != &r.down || errors.Is(err, net.ErrClosed) {
		return
	}
	close(r.ended)
	r.mu.Lock()
	a := r.fatal
	r.mu.Unlock()
	if a != nil && !f.deserted {
		f.pass(a.fault.Do.(Fail).fatal())
		f.put(item{step: step{armed: a}, due: f.r.p.due()})
	}
}

// take queues what is complete of b and returns how much that is.
func (f *flow) take(b []byte) int {
	if f.deserted || f.r.isDead() {
		return len(b)
	}
	pos, passed := 0, 0
	for pos < len(b) {
		n, m, begins := f.split.next(b[pos:])
		if n == 0 {
			break
		}
		if begins {
			v := f.judge(m)
			if v.hide || len(v.before) > 0 {
				f.pass(b[passed:pos])
				passed = pos
				f.steps(v.before)
				f.pass(v.instead)
			}
			f.settled += v.settled
			f.hiding, f.after, f.last = v.hide, v.after, v.last
			if v.last && len(v.after) == 0 {
				f.deserted = true
				return len(b)
			}
		}
		pos += n
		if f.hiding {
			passed = pos
		}
		if f.split.rest > 0 {
			continue
		}
		f.hiding = false
		if len(f.after) > 0 {
			f.pass(b[passed:pos])
			passed = pos
			f.steps(f.after)
			f.after = nil
			if f.last {
				f.deserted = true
				return len(b)
			}
		}
	}
	f.pass(b[passed:pos])
	return pos
}

func (f *flow) steps(steps []step) {
	for _, s := range steps {
		f.put(item{step: s, due: f.r.p.due()})
	}
}

// pass sends b, as far as nothing is before it and dst takes it at once. It queues a copy of
// the rest.
func (f *flow) pass(b []byte) {
	due := f.r.p.due()
	if due.IsZero() && f.pending.Load() == 0 && f.settleOpen() {
		b = b[f.sender.send(b):]
	}
	for len(b) > 0 {
		c := chunks.Get().(*chunk)
		n := copy(c[:], b)
		f.put(item{data: c[:n], chunk: c, settled: f.settled, due: due})
		f.settled = 0
		b = b[n:]
	}
}

// settleOpen is false if what comes next has to wait, or is not delivered at all.
func (f *flow) settleOpen() bool {
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.stopped || f.broken || len(f.holds) > 0 {
		return false
	}
	r.tracker.asked -= f.settled
	f.settled = 0
	return true
}

func (f *flow) put(it item) {
	f.pending.Add(1)
	f.queue <- it
}

// deliver hands over to dst what read has queued.
func (f *flow) deliver() {
	var s sleeper
	defer s.close()
	for it := range f.queue {
		s.until(it.due, f.r.p.ctx.Done())
		switch {
		case it.end:
			f.finish()
		case it.step.armed != nil:
			f.carryOut(it.step)
		default:
			f.write(it)
			chunks.Put(it.chunk)
		}
		f.pending.Add(-1)
	}
}

func (f *flow) write(it item) {
	if !f.pastHolds() {
		return
	}
	r := f.r
	r.mu.Lock()
	r.tracker.asked -= it.settled
	r.mu.Unlock()
	if _, err := f.dst.Write(it.data); err != nil {
		r.mu.Lock()
		f.broken = true
		gone := f.other.finished
		r.mu.Unlock()
		if gone {
			_ = f.src.raw.Close()
		}
	}
}

// finish passes the end on. A side that has ended and takes nothing more either is gone:
// the other must not go on sending into the void.
func (f *flow) finish() {
	open := f.pastHolds()
	r := f.r
	r.mu.Lock()
	f.finished = true
	gone := f.other.broken
	r.mu.Unlock()
	switch {
	case gone:
		_ = f.dst.raw.Close()
	case open:
		f.dst.closeWrite()
	}
}

// pastHolds waits while the flow is held, and reports whether it is open still.
func (f *flow) pastHolds() bool {
	r := f.r
	for {
		r.mu.Lock()
		open := !f.stopped && !f.broken
		var hold <-chan struct{}
		if open && len(f.holds) > 0 {
			hold = f.holds[0]
		}
		r.mu.Unlock()
		if hold == nil {
			return open
		}
		select {
		case <-hold:
			r.mu.Lock()
			f.holds = without(f.holds, hold)
			r.mu.Unlock()
		case <-r.dead:
			return false
		case <-r.p.ctx.Done():
			return false
		}
	}
}

// carryOut makes a fault happen, now that what came before it has been delivered.
func (f *flow) carryOut(s step) {
	f.pastHolds()
	r, a := f.r, s.armed
	switch do := a.fault.Do.(type) {
	case Cut:
		if s.early {
			r.stop(f.other)
			return
		}
		r.sever(do.Reset)
		if do.All {
			r.p.severAll(do.Reset)
		}
	case Hold:
		r.hold(a.release, f)
	case BlackHole:
		r.hold(a.release, f.other)
		if s.early {
			return
		}
		r.hold(a.release, f)
		r.p.swallow(a)
	}
	a.carriedOut(r)
}

func (r *relay) stop(f *flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.stopped = true
}

// hold makes flows wait until the channel is closed.
func (r *relay) hold(until <-chan struct{}, flows ...*flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range flows {
		if !slices.Contains(f.holds, until) {
			f.holds = append(f.holds, until)
		}
	}
}

// sever cuts the connection. After a reset nothing can be read any more; else both sides
// are read to their end.
func (r *relay) sever(reset bool) {
	r.mu.Lock()
	again := r.cut
	r.cut, r.up.stopped, r.down.stopped = true, true, true
	r.mu.Unlock()
	if again {
		return
	}
	close(r.dead)
	r.up.src.cut(reset)
	r.up.dst.cut(reset)
}

func (r *relay) isDead() bool {
	select {
	case <-r.dead:
		return true
	default:
		return false
	}
}

func (p *Proxy) severAll(reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.relays {
		r.sever(reset)
	}
}
