package txntest

import (
	"slices"
	"strings"

	"github.com/interlock-go/interlock/txn"
)

// conflicts has for each strength of a lock those which another transaction cannot hold
// beside it: first of locks on rows, then of those on tables.
var conflicts = map[string][]string{
	"FOR KEY SHARE":     {"FOR UPDATE"},
	"FOR SHARE":         {"FOR NO KEY UPDATE", "FOR UPDATE"},
	"FOR NO KEY UPDATE": {"FOR SHARE", "FOR NO KEY UPDATE", "FOR UPDATE"},
	"FOR UPDATE":        {"FOR KEY SHARE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR UPDATE"},

	"ACCESS SHARE":           {"ACCESS EXCLUSIVE"},
	"ROW SHARE":              {"EXCLUSIVE", "ACCESS EXCLUSIVE"},
	"ROW EXCLUSIVE":          {"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
	"SHARE UPDATE EXCLUSIVE": {"SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
	"SHARE":                  {"ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
	"SHARE ROW EXCLUSIVE": {"ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
		"ACCESS EXCLUSIVE"},
	"EXCLUSIVE": {"ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
		"ACCESS EXCLUSIVE"},
	"ACCESS EXCLUSIVE": {"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE",
		"SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"},
}

func conflict(a, b string) bool { return slices.Contains(conflicts[a], b) }

// covers reports whether who holds one lock has nobody to wait for who then wants the other
// one on the same thing.
func covers(held, wanted string) bool {
	return !slices.ContainsFunc(conflicts[wanted], func(other string) bool { return !conflict(held, other) })
}

// A claim is a lock that a query takes: on rows of a table, or on the table itself.
type claim struct {
	table    string
	strength string
	waits    bool // for others who hold it
	clause   bool // it was asked for by a lock clause, so that changes of the same rows can follow
}

func (c claim) ofRows() bool { return strings.HasPrefix(c.strength, "FOR ") }

// same reports whether two claims are about one table. Strengths of its rows and of itself do
// not conflict with each other.
func (c claim) same(other claim) bool { return c.table == other.table }

func (c claim) String() string { return c.table + " " + c.strength }

// claimsOf are the locks that a query takes, those on tables included that each statement
// takes by itself.
func claimsOf(q txn.QueryInfo) (all []claim) {
	add := func(c claim) {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	for _, table := range q.Reads {
		add(claim{table: table, strength: "ACCESS SHARE", waits: true})
	}
	for _, table := range q.Writes {
		add(claim{table: table, strength: "ROW EXCLUSIVE", waits: true})
	}
	for _, l := range q.Locks {
		c := claim{table: l.Table, strength: l.Strength, waits: l.Wait == "", clause: true}
		if c.ofRows() { // NOWAIT and SKIP LOCKED speak of rows alone
			add(claim{table: l.Table, strength: "ROW SHARE", waits: true})
		}
		add(c)
	}
	for _, l := range q.Implied {
		add(claim{table: l.Table, strength: "ROW SHARE", waits: true})
		add(claim{table: l.Table, strength: l.Strength, waits: l.Wait == ""})
	}
	return all
}
