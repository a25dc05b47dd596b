package txntest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A LockOrderFinding is what a LockOrder found.
type LockOrderFinding struct {
	Problem LockOrderProblem
	Tables  []string // that it is about, in order of their names

	// Orders are those that together can end in a deadlock: of a cycle, each transaction waits
	// with its second lock for the first one of the next, and the last for the first. Otherwise
	// there is one, of a transaction that can run into another one of its kind.
	Orders []LockPair
}

// A LockOrderProblem is a kind of finding.
type LockOrderProblem string

const (
	LockCycle   LockOrderProblem = "cycle"
	LockUpgrade LockOrderProblem = "upgrade"
	RowsInTurn  LockOrderProblem = "rows in turn"
)

// A LockPair are two locks that one transaction took, one after the other.
type LockPair struct {
	Tests         string // the package whose tests took them, if several were merged
	Label         string // of the transaction, where it took the second one
	First, Second TakenLock
}

// A TakenLock is a lock, and where it was taken.
type TakenLock struct {
	Table    string
	Strength string   // "FOR NO KEY UPDATE", of rows; "SHARE ROW EXCLUSIVE", of the table
	Query    string   // the name
	Stack    []string // the functions that gave the statement, innermost first: "name (file:line)"
}

// String describes the finding, with the stacks, on several lines.
func (f LockOrderFinding) String() string {
	var b strings.Builder
	tables := strings.Join(f.Tables, ", ")
	switch f.Problem {
	case LockUpgrade:
		o := f.Orders[0]
		fmt.Fprintf(&b, "%s: %s is locked %s first and then %s: two transactions that both hold the first lock wait for each other with the second: take the stronger one at once",
			f.Problem, tables, o.First.Strength, o.Second.Strength)
	case RowsInTurn:
		fmt.Fprintf(&b, "%s: two statements of a transaction lock rows of %s: two transactions that meet them the other way round wait for each other: lock all of them with one statement, in an order, before",
			f.Problem, tables)
	default:
		fmt.Fprintf(&b, "%s: %s are locked in orders of which each transaction can wait for the next: agree on one order", f.Problem, tables)
		if len(f.Tables) == 1 {
			b.Reset()
			fmt.Fprintf(&b, "%s: %s is locked in strengths of which each transaction can wait for the next: take the strongest one first", f.Problem, tables)
		}
	}
	for _, o := range f.Orders {
		fmt.Fprintf(&b, "\n\ttransaction %q", o.Label)
		if o.Tests != "" {
			fmt.Fprintf(&b, " of the tests of %s", o.Tests)
		}
		b.WriteByte('\n')
		o.First.write(&b, "locks ")
		b.WriteByte('\n')
		o.Second.write(&b, "and then ")
	}
	return b.String()
}

func (l TakenLock) write(b *strings.Builder, what string) {
	fmt.Fprintf(b, "\t\t%s%s %s, by %s", what, l.Table, l.Strength, l.Query)
	for _, line := range l.Stack {
		b.WriteString("\n\t\t\t" + line)
	}
}

// find finds what the orders can lead to, if that counts: of each kind one for the same
// tables, of upgrades and rows in turn one for the same queries.
func find(orders []*order, counts func([]*order) bool) []LockOrderFinding {
	found := map[string]LockOrderFinding{}
	report := func(problem LockOrderProblem, of ...*order) {
		if !counts(of) {
			return
		}
		f := LockOrderFinding{Problem: problem}
		key := string(problem)
		for _, o := range of {
			f.Tables = append(f.Tables, o.first.table, o.second.table)
			f.Orders = append(f.Orders, o.pair())
			if problem != LockCycle {
				key += "\x00" + o.first.query + "\x00" + o.second.query
			}
		}
		slices.Sort(f.Tables)
		f.Tables = slices.Compact(f.Tables)
		key = strings.Join(append([]string{key}, f.Tables...), "\x00")
		if _, known := found[key]; !known {
			found[key] = f
		}
	}
	for _, o := range orders {
		switch {
		case o.again:
			report(RowsInTurn, o)
		case o.upgrades():
			report(LockUpgrade, o)
		}
	}
	waits := waiting(orders)
	for _, o := range orders {
		if cycle := shortest(o, waits); cycle != nil {
			report(LockCycle, cycle...)
		}
	}
	all := make([]LockOrderFinding, 0, len(found))
	for _, f := range found {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b LockOrderFinding) int {
		return cmp.Or(cmp.Compare(a.Problem, b.Problem), slices.Compare(a.Tables, b.Tables), cmp.Compare(a.String(), b.String()))
	})
	return all
}

// upgrades reports whether two transactions with this order can wait for each other on the
// same thing.
func (o *order) upgrades() bool {
	return o.first.same(o.second.claim) && conflict(o.second.strength, o.first.strength) && !conflict(o.first.strength, o.first.strength)
}

// waitsFor reports whether a transaction that has gone as far as o can wait for one that has
// gone as far as next. One that takes a stronger lock on what it holds already waits for
// those alone who can hold theirs beside that.
func (o *order) waitsFor(next *order) bool {
	return o.second.same(next.first.claim) && conflict(o.second.strength, next.first.strength) &&
		(!o.first.same(o.second.claim) || !conflict(o.first.strength, next.first.strength))
}

// waiting has for each order those that it can wait for, without the ones that are a finding
// by themselves.
func waiting(orders []*order) map[*order][]*order {
	firsts := map[string][]*order{}
	for _, o := range orders {
		if !o.again && !o.upgrades() {
			firsts[o.first.table] = append(firsts[o.first.table], o)
		}
	}
	waits := map[*order][]*order{}
	for _, of := range firsts {
		for _, o := range of {
			for _, next := range firsts[o.second.table] {
				if o.waitsFor(next) {
					waits[o] = append(waits[o], next)
				}
			}
		}
	}
	return waits
}

// shortest is the shortest cycle of at least two orders that begins with o, or nil.
func shortest(o *order, waits map[*order][]*order) []*order {
	came := map[*order]*order{o: nil}
	for queue := []*order{o}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != o && slices.Contains(waits[at], o) {
			var cycle []*order
			for ; at != nil; at = came[at] {
				cycle = append(cycle, at)
			}
			slices.Reverse(cycle)
			return cycle
		}
		for _, next := range waits[at] {
			if _, known := came[next]; !known {
				came[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func (o *order) pair() LockPair {
	return LockPair{Tests: o.tests, Label: o.second.label, First: o.first.taken(), Second: o.second.taken()}
}

func (t taken) taken() TakenLock {
	return TakenLock{Table: t.table, Strength: t.strength, Query: t.query, Stack: t.stack()}
}
