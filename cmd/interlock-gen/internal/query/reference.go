package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A reference is a foreign key, by its columns.
type reference struct {
	to      string // table
	columns []string
}

// loadReferences reads the foreign keys.
func (c *Catalog) loadReferences(ctx context.Context, conn *pgx.Conn) error {
	var fromSchema, from, toSchema, to string
	var columns []string
	rows, _ := conn.Query(ctx, `
		SELECT fn.nspname, f.relname, tn.nspname, t.relname,
			array(SELECT a.attname::text FROM pg_catalog.pg_attribute a
				WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) ORDER BY a.attnum)
		FROM pg_catalog.pg_constraint k
		JOIN pg_catalog.pg_class f ON f.oid = k.conrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
		JOIN pg_catalog.pg_class t ON t.oid = k.confrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
		WHERE k.contype = 'f' AND k.conparentid = 0
		ORDER BY k.oid`)
	_, err := pgx.ForEachRow(rows, []any{&fromSchema, &from, &toSchema, &to, &columns}, func() error {
		if t := c.tables[qualified(fromSchema, from)]; t != nil {
			t.references = append(t.references, reference{qualified(toSchema, to), slices.Clone(columns)})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read foreign keys: %w", err)
	}
	return nil
}

// Refers reports whether a foreign key refers to a table.
func (c *Catalog) Refers(table string) bool {
	for _, t := range c.tables {
		if slices.ContainsFunc(t.references, func(r reference) bool { return r.to == table }) {
			return true
		}
	}
	return false
}

// Locks are all places in a query of sqlc's where something is locked: rows by lock clauses
// and changes, the rows that new ones refer to, tables and keys of advisory locks. The
// arguments are those of Of.
func Locks(cmd, sql, table string, catalog *Catalog) ([]Touch, error) {
	if cmd == ":copyfrom" {
		return catalog.referred(table, nil, false), nil
	}
	kind, stmt, err := parse(sql)
	if err != nil {
		return nil, err
	}
	var all []Touch
	if kind == "LockStmt" {
		c := &classifier{facts: &Facts{}}
		c.lockTable(stmt)
		for _, l := range c.facts.Locks {
			all = append(all, Touch{Table: l.Table, By: "LOCK TABLE", Strength: l.Strength, Wait: l.Wait, Top: true})
		}
		return all, nil
	}
	shape, err := Examine(sql, catalog)
	if err != nil {
		return nil, err
	}
	all = shape.Touches
	visit(node{kind: stmt}, func(kind string, n node) {
		switch kind {
		case "InsertStmt":
			one := newLevels(catalog).at(kind, n, nil).single
			all = append(all, catalog.referred(relation(child(n, "relation")), nil, one)...)
		case "UpdateStmt":
			one := newLevels(catalog).at(kind, n, nil).one()
			sets := []string{}
			for _, v := range list(n, "targetList") {
				sets = append(sets, text(child(v.(node), "ResTarget"), "name"))
			}
			all = append(all, catalog.referred(relation(child(n, "relation")), sets, one)...)
		case "MergeStmt":
			for _, v := range list(n, "mergeWhenClauses") {
				if text(child(v.(node), "MergeWhenClause"), "commandType") == "CMD_INSERT" {
					all = append(all, catalog.referred(relation(child(n, "relation")), nil, false)...)
				}
			}
		case "FuncCall":
			all = append(all, advisory(n)...)
		}
	})
	return all, nil
}

// referred are the locks on what a row of the table refers to; where sets are given, by one
// of these columns.
func (c *Catalog) referred(table string, sets []string, one bool) (all []Touch) {
	known := c.tables[table]
	if known == nil {
		return nil
	}
	for _, r := range known.references {
		if sets != nil && !slices.ContainsFunc(r.columns, func(name string) bool { return slices.Contains(sets, name) }) {
			continue
		}
		all = append(all, Touch{Table: r.to, By: "REFERENCE", Strength: "FOR KEY SHARE", One: one})
	}
	return all
}

// Implied are the row locks among the touches that no clause asks for: those of changes, and
// of the rows that new ones refer to. Each is there once, in the order of the tables' names.
func Implied(touches []Touch) (all []TableLock) {
	for _, t := range touches {
		l := TableLock{Table: t.Table, Strength: t.Strength}
		switch {
		case t.By == "SELECT", t.By == "LOCK TABLE", t.By == "CALL", slices.Contains(all, l):
			continue
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b TableLock) int {
		return cmp.Or(strings.Compare(a.Table, b.Table), strings.Compare(a.Strength, b.Strength))
	})
	return all
}

func advisory(call node) []Touch {
	name := words(list(call, "funcname"))
	if len(name) == 0 || !strings.Contains(name[len(name)-1], "advisory_xact_lock") {
		return nil
	}
	t := Touch{By: "CALL", Strength: "exclusively"}
	if strings.HasSuffix(name[len(name)-1], "_shared") {
		t.Strength = "shared"
	}
	if strings.HasPrefix(name[len(name)-1], "pg_try_") {
		t.Wait = "TRY"
	}
	return []Touch{t}
}
