package query

import (
	"slices"
	"strings"
)

var strengths = map[string]string{
	"LCS_FORKEYSHARE":    "FOR KEY SHARE",
	"LCS_FORSHARE":       "FOR SHARE",
	"LCS_FORNOKEYUPDATE": "FOR NO KEY UPDATE",
	"LCS_FORUPDATE":      "FOR UPDATE",
}

var waits = map[string]string{
	"LockWaitError": "NOWAIT",
	"LockWaitSkip":  "SKIP LOCKED",
}

// String is the lock in a sentence: "accounts FOR SHARE NOWAIT, ordered by id".
func (l TableLock) String() string {
	s := l.Table + " " + l.Strength
	if !strings.HasPrefix(l.Strength, "FOR ") {
		s = l.Table + " in " + l.Strength + " mode"
	}
	if l.Wait != "" {
		s += " " + l.Wait
	}
	if l.Order != "" {
		s += ", ordered by " + l.Order
	}
	return s
}

// lockClause notes a FOR UPDATE or its like. The locks of one inside an INSERT, UPDATE,
// DELETE or MERGE serve that statement, and end with it.
func (c *classifier) lockClause(sel, clause node, in scope) {
	if c.writing == 0 {
		c.need(Lock)
	}
	items := fromItems(list(sel, "fromClause"), in)
	var only []string
	for _, v := range list(clause, "lockedRels") {
		only = append(only, text(child(v.(node), "RangeVar"), "relname"))
	}
	strength, wait, order := strengths[text(clause, "strength")], waits[text(clause, "waitPolicy")], stated(list(sel, "sortClause"), list(sel, "targetList"))
	for _, item := range items {
		if only != nil && !slices.Contains(only, item.name) {
			continue
		}
		for _, table := range item.tables {
			lock := TableLock{table, strength, wait, order}
			if !slices.Contains(c.facts.Locks, lock) {
				c.facts.Locks = append(c.facts.Locks, lock)
			}
		}
	}
}

// stated is an ORDER BY of nothing but columns. What bears the name of a column in the answer,
// and is something else, comes before the column.
func stated(sort, targets []any) string {
	var keys []string
	for _, v := range sort {
		by := child(v.(node), "SortBy")
		column := words(list(child(by, "node", "ColumnRef"), "fields"))
		if len(column) == 0 || slices.Contains(column, "") || len(list(by, "useOp")) > 0 {
			return ""
		}
		key := strings.Join(column, ".")
		if slices.ContainsFunc(targets, func(v any) bool { return hides(child(v.(node), "ResTarget"), key) }) {
			return ""
		}
		if text(by, "sortby_dir") == "SORTBY_DESC" {
			key += " DESC"
		}
		keys = append(keys, key)
	}
	return strings.Join(keys, ", ")
}

// hides reports whether an ORDER BY key that looks like a column is an expression of the answer.
func hides(target node, key string) bool {
	value := words(list(child(target, "val", "ColumnRef"), "fields"))
	return text(target, "name") == key && (len(value) == 0 || value[len(value)-1] != key)
}

// A fromItem is what a lock clause can name, and the tables that it then locks.
type fromItem struct {
	name   string
	tables []string
}

func fromItems(from []any, in scope) (items []fromItem) {
	for _, v := range from {
		n, _ := v.(node)
		if rv := child(n, "RangeVar"); rv != nil {
			name := text(rv, "relname")
			if in[name] && text(rv, "schemaname") == "" {
				continue // a lock clause does not reach into a WITH query
			}
			if alias := text(child(rv, "alias"), "aliasname"); alias != "" {
				name = alias
			}
			items = append(items, fromItem{name, []string{relation(rv)}})
		}
		if join := child(n, "JoinExpr"); join != nil {
			items = append(items, fromItems([]any{join["larg"], join["rarg"]}, in)...)
		}
		if sub := child(n, "RangeSubselect"); sub != nil {
			item := fromItem{name: text(child(sub, "alias"), "aliasname")}
			for _, inner := range fromItems(list(child(sub, "subquery", "SelectStmt"), "fromClause"), in) {
				item.tables = append(item.tables, inner.tables...)
			}
			items = append(items, item)
		}
	}
	return items
}

// The modes of LOCK TABLE, as the server numbers them.
var tableModes = [...]string{"", "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
	"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"}

func (c *classifier) lockTable(stmt node) {
	number, _ := stmt["mode"].(float64)
	lock := TableLock{Strength: tableModes[int(number)]}
	if stmt["nowait"] == true {
		lock.Wait = "NOWAIT"
	}
	for _, v := range list(stmt, "relations") {
		lock.Table = relation(child(v.(node), "RangeVar"))
		c.facts.Locks = append(c.facts.Locks, lock)
	}
}
