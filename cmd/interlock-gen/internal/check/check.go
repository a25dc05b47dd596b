package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/annotation"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// A Statement is a query with what is known of it.
type Statement struct {
	*annotation.Query
	SQL   string       // "" for a :copyfrom
	Guard *query.Guard // made by Run where one row is demanded
	shape *query.Shape
}

// A Finding is something that a check found.
type Finding struct {
	Check    string
	Level    Level
	Package  string // that the query is generated into: "db"
	Position string // of the query's name: "queries/account.sql:7"
	Query    string
	Table    string // that it is about, where a query can have several
	Reason   string // and the remedy
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s [%s]", f.Position, f.Query, f.Reason, f.Check)
}

// Refused is the finding that a statement was refused while it was classified.
func Refused(s *Statement, refused *query.RefusedError) Finding {
	return Finding{Check: refused.Check, Level: Error, Position: s.Position(), Query: s.Name, Reason: refused.Reason}
}

// A check is one of those that run on whole statements. Those of package query, which refuse
// a statement while they classify it, have no function here.
type check struct {
	name  string
	level Level // where nothing else is configured
	find  func(*run, *Statement)
}

// checks are all, in the order of the documentation.
var checks = []check{
	// Errors: the statement cannot be right.
	{"lock-outer-join", Error, lockOuterJoin},
	{"lock-grouped", Error, lockGrouped},
	{"session", Error, nil},
	{"session-lock", Error, nil},
	{"transaction-control", Error, nil},
	{"reads", Error, nil},
	{"optimistic", Error, optimistic},
	{"guard", Error, guard},
	{"allow", Error, nil},

	// Warnings: it can be, and there is a reason that somebody should write down.
	{"lock-order", Warn, lockOrder},
	{"lock-order-mixed", Warn, lockOrderMixed},
	{"lock-strength", Warn, lockStrength},
	{"lock-discarded", Warn, lockDiscarded},
	{"lock-scan", Warn, lockScan},
	{"skip-locked", Warn, skipLocked},
	{"no-where", Warn, noWhere},
	{"row-count", Warn, rowCount},
	{"offset", Warn, offset},
}

// Names are those of all checks.
func Names() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// find is the check of a name.
func find(name string) *check {
	for i := range checks {
		if checks[i].name == name {
			return &checks[i]
		}
	}
	return nil
}

// A run is a run of the checks over all queries that belong together.
type run struct {
	ctx     context.Context
	conn    *pgx.Conn
	catalog *query.Catalog
	all     []*Statement
	partial map[string]bool // see partialIndexes

	check    *check
	findings []Finding
	err      error
}

// report notes a finding. The table is the one it is about, or "".
func (r *run) report(s *Statement, table, format string, args ...any) {
	r.findings = append(r.findings, Finding{
		Check: r.check.name, Level: r.check.level, Position: s.Position(), Query: s.Name, Table: table,
		Reason: fmt.Sprintf(format, args...),
	})
}

// Early runs the checks for what the server would refuse with less to say, on statements as
// they are in the files. It passes over those that it cannot read: others complain of them.
func Early(statements []*Statement, catalog *query.Catalog) []Finding {
	r := &run{catalog: catalog}
	for _, s := range statements {
		var err error
		if s.shape, err = query.Examine(s.SQL, catalog); err != nil {
			continue
		}
		r.check = find("lock-grouped")
		lockGrouped(r, s)
	}
	return r.findings
}

// Run runs all checks on statements as they will be sent to the server, in the database of
// conn, which has the schema. What a query allows is left out; where it allows what no check
// found, that is a finding itself.
func Run(ctx context.Context, conn *pgx.Conn, catalog *query.Catalog, statements []*Statement, rules Rules) ([]Finding, error) {
	r := &run{ctx: ctx, conn: conn, catalog: catalog, all: statements}
	for _, s := range statements {
		s.shape = &query.Shape{}
		if s.SQL == "" {
			continue
		}
		var err error
		if s.shape, err = query.Examine(s.SQL, catalog); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Position(), s.Name, err)
		}
	}
	for _, s := range statements {
		start := len(r.findings)
		for i := range checks {
			if r.check = &checks[i]; r.check.find != nil {
				r.check.find(r, s)
			}
		}
		if r.err != nil {
			return nil, r.err
		}
		r.findings = append(r.findings[:start], r.allowed(s, slices.Clone(r.findings[start:]))...)
	}
	return rules.apply(r.findings), nil
}

// allowed leaves out the findings that the query allows, and adds one for each permission
// that is of no use.
func (r *run) allowed(s *Statement, found []Finding) []Finding {
	r.check = find("allow")
	start := len(r.findings)
	for _, a := range s.Allows {
		at := *s
		at.Query = &annotation.Query{Name: s.Name, File: s.File, Line: a.Line}
		c := find(a.Check)
		switch {
		case c == nil:
			r.report(&at, "", "there is no check %s%s", a.Check, meant(a.Check))
		case c.level == Error:
			r.report(&at, "", "%s cannot be allowed, since the statement cannot be right: remove the line", a.Check)
		case !slices.ContainsFunc(found, func(f Finding) bool { return f.Check == a.Check }):
			r.report(&at, "", "%s finds nothing here that would have to be allowed: remove the line", a.Check)
		}
		found = slices.DeleteFunc(found, func(f Finding) bool {
			return f.Check == a.Check && f.Level != Error
		})
	}
	return append(found, r.findings[start:]...)
}

// meant proposes a check for a name that is none.
func meant(name string) string {
	if close := annotation.Closest(name, Names()); close != "" {
		return ": " + close + " was meant"
	}
	return ": there are " + strings.Join(Names(), ", ")
}
