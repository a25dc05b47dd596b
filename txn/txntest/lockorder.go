package txntest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/interlock-go/interlock/txn"
)

// A LockOrder is an observer that notes in which order transactions take their locks, over a
// whole test run, and finds the orders that can end in a deadlock, though none happened: the
// transactions need not have met, only have been run.
//
// What a statement locks is known by its query's name, from the list in generated code: the
// locks of lock clauses and LOCK TABLE, of rows that are updated or deleted, of rows that new
// ones refer to, and those on tables that go with all of them. Which rows it locks is not
// known. Three things are found:
//
//   - A cycle: one transaction locks accounts and then users, another one users and then
//     accounts, with strengths that conflict. More than two can form one.
//   - An upgrade: a transaction takes a lock that others can hold too, such as FOR SHARE, and
//     then one on the same table that has to wait for theirs.
//   - Rows in turn: two statements of a transaction lock rows of one table, one after another,
//     and nothing says that another transaction does not meet them the other way round. One
//     statement that locks all of them in an order does, and changes may follow it: rows that
//     are updated or deleted, or referred to, after a lock clause on their table are taken for
//     those that it locked.
//
// Locks with NOWAIT or SKIP LOCKED are held as others are, but wait for nobody. Those taken in
// a Savepoint that was undone are gone. A failed statement has wanted its locks, and each
// attempt at a transaction is one of its own.
//
// Not seen are orders within a statement (interlock-gen checks that), and so all that a
// transaction of one statement does; statements that are not in the list, and of a batch all
// but the first; advisory locks; locks by triggers, rules and foreign keys that change rows; an
// INSERT that waits for another one's unique key. A finding that cannot happen, because some
// other lock keeps its transactions apart, can be allowed.
//
// Make one with NewLockOrder, give it to txn.Config.Observers, and let Run run the tests, or ask
// Err or Check when all have run. Do not observe transactions of Tx: what joins them is one
// transaction there, and is not elsewhere. All methods but Run may be called from several
// goroutines at once.
//
// It sees the transactions of one process. What those of several packages' tests come to
// together, MergeLockOrders finds from the files that Run writes.
type LockOrder struct {
	claims map[string][]claim // by the query's name

	mu      sync.Mutex
	open    map[uint64]*locking // by the transaction's id: its attempts end one after another
	orders  []*order            // each that was seen, in the order of the first time
	seen    map[orderKey]bool
	allowed map[[2]string]bool

	folder func() string // to write to, if Run runs the tests
}

// locking is what an attempt at a transaction holds, and what it has queued.
type locking struct {
	held   []taken
	queued []place
}

// A place is where a statement was given.
type place struct {
	query string
	label string
	depth int
	calls []uintptr
	lines []string // instead of calls, if they are another process's
}

// A taken lock is one that a statement takes.
type taken struct {
	claim
	place
}

// An order is that of two locks of one transaction.
type order struct {
	first, second taken
	again         bool   // the second one is on rows of the same table that may be others
	tests         string // the package of the tests, if there are several
	process       int    // one of theirs
}

// An orderKey tells orders apart that matter.
type orderKey struct {
	first, second           claim
	firstQuery, secondQuery string
	again                   bool
}

// NewLockOrder returns an observer that knows the queries: the QueryInfo of generated code, of
// several packages one behind another. A name that occurs twice stands for both queries. For
// statements that are no queries of sqlc's, the name is their text as it is in a
// txn.StatementEvent.
func NewLockOrder(queries []txn.QueryInfo) *LockOrder {
	l := &LockOrder{
		claims:  map[string][]claim{},
		open:    map[uint64]*locking{},
		seen:    map[orderKey]bool{},
		allowed: map[[2]string]bool{},
	}
	for _, q := range queries {
		l.claims[q.Name] = append(l.claims[q.Name], claimsOf(q)...)
	}
	return l
}

// Allow takes the order of two queries, first and then second, out of what is found. The
// reason is for the reader: why it cannot end in a deadlock, or why that is all right.
func (l *LockOrder) Allow(first, second, reason string) {
	if strings.TrimSpace(reason) == "" {
		panic("txntest: LockOrder.Allow without a reason")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed[[2]string{first, second}] = true
}

// Observe is called by package txn.
func (l *LockOrder) Observe(_ context.Context, e txn.Event) {
	if l.folder != nil {
		l.folder()
	}
	i := e.Transaction()
	switch e := e.(type) {
	case txn.QueuedEvent:
		if len(l.claims[e.Query]) > 0 {
			l.queue(i.ID, place{query: e.Query, label: i.Label, depth: e.Depth, calls: callers()})
		}
	case txn.StatementEvent:
		if len(l.claims[e.Query]) == 0 {
			return
		}
		p := place{query: e.Query, label: i.Label, depth: e.Depth}
		if !e.Queued {
			p.calls = callers()
		}
		l.statement(i.ID, p, e.Queued)
	case txn.SavepointEvent:
		l.leaveSavepoint(i.ID, e.Depth, e.Err != nil)
	case txn.CommitEvent, txn.RollbackEvent:
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, i.ID)
	}
}

// of is what the transaction holds. mu is held.
func (l *LockOrder) of(id uint64) *locking {
	t := l.open[id]
	if t == nil {
		t = &locking{}
		l.open[id] = t
	}
	return t
}

func (l *LockOrder) queue(id uint64, p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.of(id)
	t.queued = append(t.queued, p)
}

// statement notes what a statement locks that was executed. Behind one that failed there is
// none that meets what it is thought to hold: it ends the transaction, or a savepoint.
func (l *LockOrder) statement(id uint64, p place, queued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.of(id)
	if queued {
		// Those in front of it were executed before, or never will be.
		if i := slices.IndexFunc(t.queued, func(q place) bool { return q.query == p.query }); i >= 0 {
			p = t.queued[i]
			t.queued = t.queued[i+1:]
		}
	}
	before := t.held
	for _, c := range l.claims[p.query] {
		wanted := taken{c, p}
		if c.waits {
			l.note(before, wanted)
		}
		if !slices.ContainsFunc(t.held, func(h taken) bool { return h.claim == c && h.query == p.query }) {
			t.held = append(t.held, wanted)
		}
	}
}

// note notes the orders of a lock with those that are held. mu is held.
func (l *LockOrder) note(held []taken, wanted taken) {
	have := slices.ContainsFunc(held, func(h taken) bool { return h.same(wanted.claim) && covers(h.strength, wanted.strength) })
	// Changes are of rows that a lock clause has locked, if there was one.
	locked := slices.ContainsFunc(held, func(h taken) bool { return h.clause && inTurn(h.claim, wanted.claim) })
	for _, h := range held {
		if !have {
			l.add(order{first: h, second: wanted})
		}
		if inTurn(h.claim, wanted.claim) && (!locked || h.clause && wanted.clause) {
			l.add(order{first: h, second: wanted, again: true})
		}
	}
}

// inTurn reports whether two claims are to rows of one table so that, if the rows are not the
// same, another transaction with the same two can wait the other way round.
func inTurn(held, wanted claim) bool {
	return held.same(wanted) && held.ofRows() && conflict(held.strength, held.strength) && conflict(wanted.strength, held.strength)
}

func (l *LockOrder) add(o order) {
	key := orderKey{o.first.claim, o.second.claim, o.first.query, o.second.query, o.again}
	if !l.seen[key] {
		l.seen[key] = true
		l.orders = append(l.orders, &o)
	}
}

// leaveSavepoint frees the locks of a savepoint that was undone; those of one that was
// released are the transaction's around it.
func (l *LockOrder) leaveSavepoint(id uint64, depth int, undone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.open[id]
	if t == nil {
		return
	}
	if undone {
		t.held = slices.DeleteFunc(t.held, func(h taken) bool { return h.depth >= depth })
		t.queued = slices.DeleteFunc(t.queued, func(p place) bool { return p.depth >= depth })
		return
	}
	for i := range t.held {
		t.held[i].depth = min(t.held[i].depth, depth-1)
	}
}

// Findings returns what was found so far, in a certain order.
func (l *LockOrder) Findings() []LockOrderFinding {
	return find(l.notAllowed(), func([]*order) bool { return true })
}

func (l *LockOrder) notAllowed() (orders []*order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.orders {
		if !l.allowed[[2]string{o.first.query, o.second.query}] {
			orders = append(orders, o)
		}
	}
	return orders
}

// Err returns nil if nothing was found so far, else an error that describes all of it.
func (l *LockOrder) Err() error { return asError(l.Findings()) }

func asError(found []LockOrderFinding) error {
	var errs []error
	for _, f := range found {
		errs = append(errs, errors.New("txntest: lock order: "+f.String()))
	}
	return errors.Join(errs...)
}

// Check fails the test if anything was found so far.
func (l *LockOrder) Check(t testing.TB) {
	t.Helper()
	for _, f := range l.Findings() {
		t.Errorf("txntest: lock order: %s", f)
	}
}

// callers are the functions that gave a statement.
func callers() []uintptr {
	var calls [64]uintptr
	return slices.Clone(calls[:runtime.Callers(3, calls[:])])
}

// library has the beginnings of the names of functions that are between the caller's code and
// Observe, or around both.
var library = []string{
	reflect.TypeFor[txn.Tx]().PkgPath() + ".",
	reflect.TypeFor[txn.Tx]().PkgPath() + "/sqlcbind.",
	reflect.TypeFor[LockOrder]().PkgPath() + ".(*LockOrder)",
	"github.com/jackc/pgx/v5",
	"runtime.",
	"testing.",
	"main.main", // of the test's binary
}

func isLibrary(function string) bool {
	return function == "" || strings.HasSuffix(function, ".TestMain") ||
		slices.ContainsFunc(library, func(prefix string) bool { return strings.HasPrefix(function, prefix) })
}

// stack are the calls of the caller's own code, innermost first.
func (p place) stack() (lines []string) {
	if p.calls == nil {
		return p.lines
	}
	frames := runtime.CallersFrames(p.calls)
	for {
		f, more := frames.Next()
		if !isLibrary(f.Function) {
			lines = append(lines, fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line))
		}
		if !more {
			return lines
		}
	}
}
