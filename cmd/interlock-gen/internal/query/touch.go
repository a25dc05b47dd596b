package query

import (
	"slices"
	"strings"
)

// A Touch is a place in a statement that locks rows of a table: a lock clause, or a change.
type Touch struct {
	Table    string // as in Facts
	By       string // "SELECT" for a lock clause, else "INSERT", "UPDATE", "DELETE", "MERGE"
	Strength string // "FOR NO KEY UPDATE": of the clause, or of the locks that the change takes
	Wait     string // "", "NOWAIT", "SKIP LOCKED"
	Top      bool   // in the statement itself, not in one within it

	One      bool     // at most one row
	Ordered  bool     // in an order that each run has
	OrderBy  []string // "id", "created_at DESC"
	Limited  bool     // by LIMIT
	Where    bool     // by a WHERE
	Nullable bool     // on the optional side of an outer join
	Grouped  string   // what makes the result something else than rows: "DISTINCT"

	// Sequence is the order of the rows of a lock clause by columns of the table alone, as far
	// as it takes to tell all rows apart: "id", "line_no DESC". Nil: there is no such order.
	// Pinned are the columns of keys that are the same in all rows, which are not in it.
	Sequence, Pinned []string

	Key        []string // of the table, for proposals: its primary key
	ChangesKey bool     // it changes a column of a key, or deletes
}

// A Shape is how a statement goes about its rows.
type Shape struct {
	Touches []Touch
	Offset  bool // some SELECT in it skips rows by counting them
}

// Examine finds out how the one statement in sql goes about its rows.
func Examine(sql string, catalog *Catalog) (*Shape, error) {
	kind, stmt, err := parse(sql)
	if err != nil {
		return nil, err
	}
	x := &examiner{levels: newLevels(catalog), shape: &Shape{}}
	if isStatement(kind) {
		x.statement(kind, stmt, nil)
	}
	return x.shape, nil
}

func isStatement(kind string) bool {
	return slices.Contains([]string{"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}, kind)
}

type examiner struct {
	levels *levels
	shape  *Shape
}

// statement examines a statement and those within it.
func (x *examiner) statement(kind string, stmt node, outer *level) {
	l := x.levels.at(kind, stmt, outer)
	touches := l.touches()
	for i := range touches {
		touches[i].Top = outer == nil
	}
	x.shape.Touches = append(x.shape.Touches, touches...)
	if offset := child(stmt, "limitOffset"); offset != nil && !isZero(offset) {
		x.shape.Offset = true
	}
	x.within(stmt, l)
}

// isZero reports whether n is the number 0, which the parser writes without a value.
func isZero(n node) bool {
	ival := child(n, "A_Const", "ival")
	return ival != nil && len(ival) == 0
}

func (x *examiner) within(v any, l *level) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			x.within(item, l)
		}
	case node:
		for _, key := range sortedKeys(v) {
			n, _ := v[key].(node)
			switch {
			case isStatement(key):
				x.statement(key, n, l)
			case (key == "larg" || key == "rarg") && v["op"] != nil: // of UNION and its like
				x.statement("SelectStmt", n, l)
			default:
				x.within(v[key], l)
			}
		}
	}
}

// touches are those of the level itself.
func (l *level) touches() []Touch {
	switch l.kind {
	case "SelectStmt":
		var all []Touch
		for _, v := range list(l.stmt, "lockingClause") {
			all = append(all, l.clause(child(v.(node), "LockingClause"))...)
		}
		return all
	case "InsertStmt":
		if text(child(l.stmt, "onConflictClause"), "action") != "ONCONFLICT_UPDATE" {
			return nil
		}
		t := l.change("INSERT", list(child(l.stmt, "onConflictClause"), "targetList"))
		t.One, t.Where = l.single, true
		if source := child(l.stmt, "selectStmt", "SelectStmt"); source != nil {
			from := l.at("SelectStmt", source, l)
			t.OrderBy = from.orderBy()
			t.Ordered = t.One || len(from.order) > 0
		}
		return []Touch{t}
	case "UpdateStmt":
		t := l.change("UPDATE", list(l.stmt, "targetList"))
		t.Where = l.stmt["whereClause"] != nil
		return []Touch{t}
	case "DeleteStmt":
		t := l.change("DELETE", nil)
		t.Where = l.stmt["whereClause"] != nil
		return []Touch{t}
	case "MergeStmt":
		return l.merge()
	}
	return nil
}

// change is what the statement does to the rows of its target.
func (l *level) change(by string, sets []any) Touch {
	target := l.items[0]
	t := Touch{Table: target.table, By: by, Strength: "FOR NO KEY UPDATE", ChangesKey: by == "DELETE"}
	if target.known != nil {
		for _, v := range sets {
			t.ChangesKey = t.ChangesKey || target.known.inKey(text(child(v.(node), "ResTarget"), "name"))
		}
	}
	if t.ChangesKey {
		t.Strength = "FOR UPDATE"
	}
	t.Key = target.key()
	t.One = l.closure().items[target] || child(l.stmt, "whereClause", "CurrentOfExpr") != nil
	t.Ordered = t.One
	if locks := l.feeding(); !t.One && locks != nil {
		t.OrderBy, t.Ordered, t.One, t.Limited = locks.OrderBy, true, locks.One, locks.Limited
	}
	return t
}

func (l *level) merge() []Touch {
	var sets []any
	acts, deletes := false, false
	for _, v := range list(l.stmt, "mergeWhenClauses") {
		when := child(v.(node), "MergeWhenClause")
		switch text(when, "commandType") {
		case "CMD_UPDATE":
			acts = true
			sets = append(sets, list(when, "targetList")...)
		case "CMD_DELETE":
			acts, deletes = true, true
		}
	}
	if !acts {
		return nil
	}
	t := l.change("MERGE", sets)
	t.Where = true
	if deletes {
		t.ChangesKey, t.Strength = true, "FOR UPDATE"
	}
	return []Touch{t}
}

// feeding is the lock clause that has locked the rows of the target before the statement
// changes them, in an order or without waiting: in a derived table or WITH query that the
// target is joined to by its key, or in column IN (SELECT …).
func (l *level) feeding() *Touch {
	target := l.items[0]
	for _, it := range l.items[1:] {
		if it.sub == nil {
			continue
		}
		var given []column
		for name := range it.sub.out {
			given = append(given, column{it, name})
			if c := it.sub.resolve(it.sub.out[name].node); c != nil && it.opened {
				given = append(given, *c)
			}
		}
		if t := it.sub.locking(target.table); t != nil && l.closure(given...).items[target] {
			return t
		}
		for _, name := range sortedKeys(it.sub.out) {
			if t := it.sub.passing(name, target.table); t != nil && l.closure(column{it, name}).items[target] {
				return t
			}
		}
	}
	for _, c := range conjuncts(child(l.stmt, "whereClause")) {
		to, sub := l.among(c)
		if sub == nil || to.item != target {
			continue
		}
		if t := sub.locking(target.table); t != nil && l.closure(*to).items[target] {
			return t
		}
	}
	return nil
}

// passing is the lock clause, as of locking, in the WITH query or derived table that a result
// column comes from.
func (l *level) passing(name, table string) *Touch {
	c := l.resolve(l.out[name].node)
	if c == nil || c.item.sub == nil {
		return nil
	}
	if t := c.item.sub.locking(table); t != nil {
		return t
	}
	return c.item.sub.passing(c.name, table)
}

// locking is the clause by which the level locks rows of the table, in an order or without
// waiting.
func (l *level) locking(table string) *Touch {
	if l.kind != "SelectStmt" {
		return nil
	}
	for _, t := range l.touches() {
		strong := t.Strength == "FOR UPDATE" || t.Strength == "FOR NO KEY UPDATE"
		if t.Table == table && strong && (t.Ordered || t.Wait != "") {
			return &t
		}
	}
	return nil
}

// clause is what a lock clause does, for each table that it reaches.
func (l *level) clause(clause node) (touches []Touch) {
	var only []string
	for _, v := range list(clause, "lockedRels") {
		only = append(only, text(child(v.(node), "RangeVar"), "relname"))
	}
	t := Touch{
		By:       "SELECT",
		Strength: strengths[text(clause, "strength")],
		Wait:     strings.TrimSpace(waits[text(clause, "waitPolicy")]),
		OrderBy:  l.orderBy(),
		Limited:  l.stmt["limitCount"] != nil,
		Where:    l.stmt["whereClause"] != nil,
		Grouped:  l.group,
	}
	one := l.closure()
	var given []column
	for _, key := range l.order {
		if c := key.column; c != nil && (c.item.known == nil || c.item.known.columns[c.name]) {
			given = append(given, *c)
		}
	}
	ordered := l.closure(given...)
	if l.group != "" && len(l.items) == 0 { // UNION and its like, VALUES
		return []Touch{t}
	}
	for _, it := range l.items {
		if only != nil && !slices.Contains(only, it.name) {
			continue
		}
		for _, r := range it.reached(l.group, it.nullable) {
			t := t
			t.Table, t.Key, t.Grouped, t.Nullable = r.item.table, r.item.key(), r.group, r.nullable
			t.One = one.items[r.item] || l.single && l.plain
			t.Ordered = t.One || ordered.items[r.item]
			t.Sequence, t.Pinned = l.sequence(r.item, one)
			touches = append(touches, t)
		}
	}
	return touches
}

// sequence is the order of an item's rows by its own columns, and the columns of its keys
// that have one value.
func (l *level) sequence(it *item, one *closure) (keys, pinned []string) {
	if it.known == nil || one.items[it] {
		return nil, nil
	}
	for _, name := range sortedKeys(it.known.columns) {
		if it.known.inKey(name) && one.has(column{it, name}) {
			pinned = append(pinned, name)
		}
	}
	var given []column
	for _, key := range l.order {
		switch {
		case key.column == nil:
			return nil, pinned
		case one.has(*key.column):
			continue
		case key.column.item != it:
			return nil, pinned
		}
		name := key.column.name
		if strings.HasSuffix(key.text, " DESC") {
			name += " DESC"
		}
		keys, given = append(keys, name), append(given, *key.column)
		if l.closure(given...).items[it] {
			return keys, pinned
		}
	}
	return nil, pinned
}

// A reached is a table that a lock clause reaches.
type reached struct {
	item     *item
	group    string
	nullable bool
}

// reached are the tables that a lock clause locks by naming the item: itself, or those of a
// derived table.
func (it *item) reached(group string, nullable bool) (all []reached) {
	switch {
	case it.table != "":
		return []reached{{it, group, nullable}}
	case it.sub == nil || it.with:
		return nil
	}
	if group == "" {
		group = it.sub.group
	}
	for _, inner := range it.sub.items {
		all = append(all, inner.reached(group, nullable || inner.nullable)...)
	}
	return all
}

func (it *item) key() []string {
	if it.known == nil || len(it.known.keys) == 0 {
		return nil
	}
	return it.known.keys[0]
}

func (l *level) orderBy() (keys []string) {
	for _, k := range l.order {
		keys = append(keys, k.text)
	}
	return keys
}
