// Package locks shows which query locks which tables.
package locks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// A Package has the queries of one generated package.
type Package struct {
	Name    string // "db"
	Queries []Query
}

// A Query is a query with what it locks.
type Query struct {
	Name    string
	Touches []query.Touch
}

// Markdown is a document with a table and a graph for each package.
func Markdown(packages []Package) string {
	var b strings.Builder
	b.WriteString(`# Locks

What each query locks, how, and in which order of the rows. A row of the table is a place in a
query; the ones marked *foreign key* are the locks by which PostgreSQL keeps the rows that a
new one refers to.
`)
	for _, p := range packages {
		if len(packages) > 1 {
			fmt.Fprintf(&b, "\n## Package %s\n", p.Name)
		}
		b.WriteString("\n| query | by | locks | how | if it is held | rows |\n| --- | --- | --- | --- | --- | --- |\n")
		for _, q := range p.Queries {
			for _, t := range q.Touches {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", q.Name, by(t), cell(t.Table), t.Strength, held(t), rows(t))
			}
		}
		fmt.Fprintf(&b, "\n```mermaid\n%s```\n", graph(p))
	}
	return b.String()
}

// Mermaid is the graph alone.
func Mermaid(packages []Package) string {
	var all Package
	for _, p := range packages {
		for _, q := range p.Queries {
			if len(packages) > 1 {
				q.Name = p.Name + "." + q.Name
			}
			all.Queries = append(all.Queries, q)
		}
	}
	return graph(all)
}

func by(t query.Touch) string {
	switch t.By {
	case "SELECT":
		return "lock clause"
	case "REFERENCE":
		return "*foreign key*"
	case "CALL":
		return "advisory lock"
	}
	return t.By
}

func cell(name string) string {
	if name == "" {
		return "a key of the application's"
	}
	return name
}

func held(t query.Touch) string {
	switch t.Wait {
	case "NOWAIT":
		return "fails"
	case "SKIP LOCKED":
		return "passes over"
	case "TRY":
		return "says so"
	}
	return "waits"
}

func rows(t query.Touch) string {
	switch {
	case t.By == "LOCK TABLE":
		return "the table"
	case t.By == "CALL":
		return ""
	case t.One:
		return "one"
	case !t.Ordered && t.By == "REFERENCE":
		return "as they are referred to"
	case !t.Ordered:
		return "many, in no certain order"
	case len(t.OrderBy) == 0:
		return "many, in order"
	}
	return "many, ordered by " + strings.Join(t.OrderBy, ", ")
}

// graph has an edge from each query to each table that it locks, with all the ways in which
// it does.
func graph(p Package) string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	var tables []string
	for _, q := range p.Queries {
		var names []string
		labels := map[string][]string{}
		for _, t := range q.Touches {
			label := t.Strength
			if t.Wait != "" && t.Wait != "TRY" {
				label += " " + t.Wait
			}
			if !slices.Contains(names, t.Table) {
				names = append(names, t.Table)
			}
			if !slices.Contains(labels[t.Table], label) {
				labels[t.Table] = append(labels[t.Table], label)
			}
			if !slices.Contains(tables, t.Table) {
				tables = append(tables, t.Table)
			}
		}
		for _, name := range names {
			fmt.Fprintf(&b, "    %s -->|%s| %s\n", identifier("q", q.Name), strings.Join(labels[name], ", "), identifier("t", name))
		}
		if len(names) > 0 {
			fmt.Fprintf(&b, "    %s[%q]\n", identifier("q", q.Name), q.Name)
		}
	}
	slices.Sort(tables)
	for _, name := range tables {
		fmt.Fprintf(&b, "    %s[(%q)]\n", identifier("t", name), cell(name))
	}
	return b.String()
}

// identifier is a name that Mermaid takes for a node, whatever words it keeps for itself.
func identifier(kind, name string) string {
	var b strings.Builder
	b.WriteString(kind + "_")
	for _, r := range name {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "_%x_", r)
	}
	return b.String()
}
