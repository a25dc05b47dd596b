package query

import (
	"reflect"
	"slices"
	"strings"
)

// A level is a SELECT, INSERT, UPDATE, DELETE or MERGE, without the statements within it. It
// knows which columns determine which, and from that, whether the statement meets one row
// of a table or many, and whether it meets them in an order. Where it does not know, there
// are many, in none.
type level struct {
	*levels
	kind  string
	stmt  node
	outer *level // around it

	with   map[string]*level // its WITH queries
	items  []*item           // what a name in it can mean; first what is changed
	inner  []*item           // of the derived tables that were opened
	edges  []edge
	out    map[string]value // result columns
	order  []sortKey
	plain  bool   // its result rows are rows of the tables: nothing is grouped or combined
	group  string // what makes it not so: "DISTINCT"
	single bool   // it has one result row by its form

	counted, isOne bool // what one has found
}

// An item is something in FROM, or what is changed.
type item struct {
	name     string
	table    string // "" if it is none
	known    *table
	sub      *level   // of a WITH query or a derived table
	with     bool     // sub is a WITH query: lock clauses do not reach into it
	opened   bool     // sub's items stand for it
	nullable bool     // on the optional side of an outer join
	holds    []string // conditions that hold for its rows, as condition writes them
}

type column struct {
	item *item
	name string
}

// An edge says that a column has one value where each of some others has one; where there
// are no others, at all.
type edge struct {
	from []column
	to   column
}

// A value is an expression in a level.
type value struct {
	level *level
	node  node
}

type sortKey struct {
	text   string // "id DESC"
	column *column
}

// levels makes the levels of one tree. Each is looked at from several places, and is made
// once.
type levels struct {
	catalog *Catalog
	made    map[uintptr]*level
}

func newLevels(catalog *Catalog) *levels { return &levels{catalog, map[uintptr]*level{}} }

// at is the level of a statement, within another or nil.
func (ls *levels) at(kind string, stmt node, outer *level) *level {
	id := reflect.ValueOf(stmt).Pointer()
	if l := ls.made[id]; l != nil {
		return l
	}
	l := &level{levels: ls, kind: kind, stmt: stmt, outer: outer, with: map[string]*level{}, out: map[string]value{}}
	ls.made[id] = l
	l.queries()
	switch kind {
	case "SelectStmt":
		l.from(list(stmt, "fromClause"), false)
		l.where(child(stmt, "whereClause"), nil)
		l.results(list(stmt, "targetList"))
		l.sort(list(stmt, "sortClause"))
		l.grouping()
	case "InsertStmt":
		l.target()
		l.results(list(stmt, "returningList"))
		l.inserted(child(stmt, "selectStmt", "SelectStmt"))
	case "UpdateStmt":
		l.target()
		l.from(list(stmt, "fromClause"), false)
		l.where(child(stmt, "whereClause"), nil)
		l.results(list(stmt, "returningList"))
	case "DeleteStmt":
		l.target()
		l.from(list(stmt, "usingClause"), false)
		l.where(child(stmt, "whereClause"), nil)
		l.results(list(stmt, "returningList"))
	case "MergeStmt":
		l.target()
		l.from([]any{stmt["sourceRelation"]}, false)
		l.where(child(stmt, "joinCondition"), nil)
	}
	return l
}

// queries adds the WITH queries. A recursive one does not see itself: what it reads of
// itself is of no table.
func (l *level) queries() {
	for _, v := range list(child(l.stmt, "withClause"), "ctes") {
		cte := child(v.(node), "CommonTableExpr")
		for kind, n := range child(cte, "ctequery") {
			fields, _ := n.(node)
			l.with[text(cte, "ctename")] = l.at(kind, fields, l)
		}
	}
}

// query is the WITH query that a name means here.
func (l *level) query(name string) *level {
	for ; l != nil; l = l.outer {
		if sub := l.with[name]; sub != nil {
			return sub
		}
	}
	return nil
}

func (l *level) target() {
	rv := child(l.stmt, "relation")
	it := &item{name: text(rv, "relname"), table: relation(rv)}
	it.known = l.catalog.tables[it.table]
	if alias := text(child(rv, "alias"), "aliasname"); alias != "" {
		it.name = alias
	}
	l.items = append(l.items, it)
}

func (l *level) from(from []any, nullable bool) {
	for _, v := range from {
		n, _ := v.(node)
		for kind, fields := range n {
			n, _ := fields.(node)
			switch kind {
			case "RangeVar":
				l.rangeVar(n, nullable)
			case "JoinExpr":
				l.join(n, nullable)
			case "RangeSubselect":
				l.derived(n, nullable)
			case "RangeTableSample":
				l.from([]any{n["relation"]}, nullable)
			default: // a function, JSON or XML: any number of rows
				l.items = append(l.items, &item{name: text(child(n, "alias"), "aliasname"), nullable: nullable})
			}
		}
	}
}

func (l *level) rangeVar(rv node, nullable bool) {
	it := &item{name: text(rv, "relname"), nullable: nullable}
	if sub := l.query(it.name); sub != nil && text(rv, "schemaname") == "" {
		it.sub, it.with = sub, true
	} else {
		it.table = relation(rv)
		it.known = l.catalog.tables[it.table]
	}
	if alias := text(child(rv, "alias"), "aliasname"); alias != "" {
		it.name = alias
	}
	l.items = append(l.items, it)
}

// derived adds a subquery in FROM. If that only chooses and joins rows, what is known in it
// is known outside.
func (l *level) derived(n node, nullable bool) {
	it := &item{name: text(child(n, "alias"), "aliasname"), nullable: nullable}
	if sub := child(n, "subquery", "SelectStmt"); sub != nil {
		it.sub = l.at("SelectStmt", sub, l)
		it.opened = it.sub.plain
	}
	l.items = append(l.items, it)
	if !it.opened {
		return
	}
	l.inner = append(append(l.inner, it.sub.items...), it.sub.inner...)
	l.edges = append(l.edges, it.sub.edges...)
	for name, v := range it.sub.out {
		if from, ok := it.sub.columns(v.node); ok {
			l.edges = append(l.edges, edge{from, column{it, name}})
		}
	}
}

// join adds both sides of a join and what its condition says, which for an outer join is
// about the optional side alone.
func (l *level) join(join node, nullable bool) {
	kind := text(join, "jointype")
	start := len(l.items)
	l.from([]any{join["larg"]}, nullable || kind == "JOIN_RIGHT" || kind == "JOIN_FULL")
	middle := len(l.items)
	l.from([]any{join["rarg"]}, nullable || kind == "JOIN_LEFT" || kind == "JOIN_FULL")
	left, right := l.items[start:middle:middle], l.items[middle:]
	var into []*item // nil: all
	switch kind {
	case "JOIN_LEFT":
		into = right
	case "JOIN_RIGHT":
		into = left
	case "JOIN_FULL":
		return
	}
	l.where(child(join, "quals"), into)
	for _, name := range words(list(join, "usingClause")) {
		a, b := having(left, name), having(right, name)
		if a != nil && b != nil {
			l.edge([]column{{a, name}}, column{b, name}, into)
			l.edge([]column{{b, name}}, column{a, name}, into)
		}
	}
}

// having is the item with a column of that name.
func having(items []*item, name string) *item {
	for _, it := range items {
		if it.has(name) {
			return it
		}
	}
	return nil
}

func (it *item) has(name string) bool {
	if it.known != nil {
		_, ok := it.known.columns[name]
		return ok
	}
	if it.sub != nil {
		_, ok := it.sub.out[name]
		return ok
	}
	return false
}

func (l *level) edge(from []column, to column, into []*item) {
	if into == nil || slices.Contains(into, to.item) {
		l.edges = append(l.edges, edge{from, to})
	}
}

// where adds what a condition says of every row, for the columns of the items in into.
func (l *level) where(condition node, into []*item) {
	for _, c := range conjuncts(condition) {
		l.holding(c, into)
		if e := child(c, "A_Expr"); e != nil {
			l.compared(e, into)
		}
		if to, sub := l.among(c); sub != nil && sub.one() {
			if from, ok := l.columns(node{"SelectStmt": sub.stmt}); ok {
				l.edge(from, *to, into)
			}
		}
	}
}

// holding notes a condition that speaks of one item.
func (l *level) holding(c node, into []*item) {
	var of *item
	written, ok := condition(c, func(ref node) string {
		col := l.resolve(node{"ColumnRef": ref})
		if col == nil || of != nil && of != col.item {
			return ""
		}
		of = col.item
		return col.name
	})
	if ok && of != nil && (into == nil || slices.Contains(into, of)) {
		of.holds = append(of.holds, written)
	}
}

// conjuncts are the conditions that AND joins.
func conjuncts(n node) (all []node) {
	if and := child(n, "BoolExpr"); text(and, "boolop") == "AND_EXPR" {
		for _, v := range list(and, "args") {
			arg, _ := v.(node)
			all = append(all, conjuncts(arg)...)
		}
		return all
	}
	if n == nil {
		return nil
	}
	return []node{n}
}

func (l *level) compared(e node, into []*item) {
	if operator(e) != "=" {
		return
	}
	left, right := child(e, "lexpr"), child(e, "rexpr")
	switch text(e, "kind") {
	case "AEXPR_OP":
		a, b := list(child(left, "RowExpr"), "args"), list(child(right, "RowExpr"), "args")
		if len(a) == 0 || len(a) != len(b) {
			a, b = []any{left}, []any{right}
		}
		for i := range a {
			x, _ := a[i].(node)
			y, _ := b[i].(node)
			l.equal(x, y, into)
			l.equal(y, x, into)
		}
	case "AEXPR_IN":
		if values := list(child(right, "List"), "items"); len(values) == 1 {
			only, _ := values[0].(node)
			l.equal(left, only, into)
		}
	}
}

// operator is the unqualified name of an A_Expr's operator.
func operator(e node) string {
	name := words(list(e, "name"))
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1]
}

// equal notes that a column has the value of an expression.
func (l *level) equal(a, b node, into []*item) {
	if to := l.resolve(a); to != nil {
		if from, ok := l.columns(b); ok {
			l.edge(from, *to, into)
		}
	}
}

// among is the column and the query of column IN (SELECT …), and nil for other conditions.
func (l *level) among(condition node) (*column, *level) {
	link := child(condition, "SubLink")
	if text(link, "subLinkType") != "ANY_SUBLINK" || len(list(link, "operName")) > 0 {
		return nil, nil
	}
	to := l.resolve(child(link, "testexpr"))
	sub := child(link, "subselect", "SelectStmt")
	if to == nil || sub == nil {
		return nil, nil
	}
	return to, l.at("SelectStmt", sub, l)
}

// resolve is the column that an expression is, if it is one of this level's.
func (l *level) resolve(n node) *column {
	if row := list(child(n, "RowExpr"), "args"); len(row) == 1 {
		n, _ = row[0].(node)
	}
	name := words(list(child(n, "ColumnRef"), "fields"))
	if len(name) == 0 || name[len(name)-1] == "" {
		return nil
	}
	last := name[len(name)-1]
	for _, it := range l.items {
		if len(name) > 1 && name[len(name)-2] != it.name || len(name) == 1 && !it.has(last) {
			continue
		}
		if it.opened {
			if c := it.sub.resolve(it.sub.out[last].node); c != nil {
				return c
			}
		}
		return &column{it, last}
	}
	if len(name) > 1 {
		return nil
	}
	// Something whose columns are not known may have it.
	for _, it := range l.items {
		if it.known == nil && it.sub == nil {
			return &column{it, last}
		}
	}
	return nil
}

// columns are those of this level in an expression. It is false where the expression may
// change from row to row by itself.
func (l *level) columns(v any) (found []column, ok bool) {
	ok = true
	visit(v, func(kind string, n node) {
		if kind != "FuncCall" {
			return
		}
		name := words(list(n, "funcname"))
		if len(name) == 0 {
			return
		}
		for _, f := range l.catalog.functions[name[len(name)-1]] {
			ok = ok && !f.volatile && !f.set
		}
	})
	return l.free(v, nil), ok
}

// free are the columns of this level in an expression, which the levels within have not.
func (l *level) free(v any, within []*level) (found []column) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = append(found, l.free(item, within)...)
		}
	case node:
		for _, key := range sortedKeys(v) {
			n, _ := v[key].(node)
			switch {
			case key == "ColumnRef":
				if slices.ContainsFunc(within, func(inner *level) bool { return inner.sure(v) }) {
					continue
				}
				if c := l.resolve(v); c != nil {
					found = append(found, *c)
				}
			case isStatement(key):
				outer := l
				if len(within) > 0 {
					outer = within[len(within)-1]
				}
				inner := l.at(key, n, outer)
				found = append(found, l.free(v[key], append(slices.Clone(within), inner))...)
			default:
				found = append(found, l.free(v[key], within)...)
			}
		}
	}
	return found
}

// sure reports whether an expression is certainly a column of this level, not perhaps.
func (l *level) sure(n node) bool {
	c := l.resolve(n)
	name := words(list(child(n, "ColumnRef"), "fields"))
	return c != nil && (len(name) > 1 || c.item.known != nil || c.item.sub != nil)
}

// visit calls fn for each node of a known kind below v.
func visit(v any, fn func(kind string, n node)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			visit(item, fn)
		}
	case node:
		for _, key := range sortedKeys(v) {
			if n, ok := v[key].(node); ok && isKind(key) {
				fn(key, n)
			}
			visit(v[key], fn)
		}
	}
}

// results names the result columns.
func (l *level) results(targets []any) {
	for _, v := range targets {
		target := child(v.(node), "ResTarget")
		val := child(target, "val")
		name := text(target, "name")
		if ref := words(list(child(val, "ColumnRef"), "fields")); name == "" && len(ref) > 0 {
			name = ref[len(ref)-1]
		}
		if name != "" {
			l.out[name] = value{l, val}
			continue
		}
		if fields := list(child(val, "ColumnRef"), "fields"); len(fields) > 0 {
			l.star(words(fields[:len(fields)-1]))
		}
	}
}

// star adds the columns of * or a.*.
func (l *level) star(of []string) {
	for _, it := range l.items {
		if len(of) > 0 && of[len(of)-1] != it.name {
			continue
		}
		add := func(name string) {
			fields := []any{node{"String": node{"sval": it.name}}, node{"String": node{"sval": name}}}
			l.out[name] = value{l, node{"ColumnRef": node{"fields": fields}}}
		}
		if it.known != nil {
			for name := range it.known.columns {
				add(name)
			}
		} else if it.sub != nil {
			for name := range it.sub.out {
				add(name)
			}
		}
	}
}

// sort reads ORDER BY. A name alone is a result column first, and a number the place of one.
func (l *level) sort(keys []any) {
	targets := list(l.stmt, "targetList")
	for _, v := range keys {
		by := child(v.(node), "SortBy")
		n := child(by, "node")
		key := sortKey{text: "an expression"}
		if place := number(n); place > 0 && place <= len(targets) {
			n = child(targets[place-1].(node), "ResTarget", "val")
		}
		if name := words(list(child(n, "ColumnRef"), "fields")); len(name) > 0 {
			key.text = strings.Join(name, ".")
			if v, ok := l.out[name[0]]; ok && len(name) == 1 {
				n = v.node
			}
			key.column = l.resolve(n)
		}
		if text(by, "sortby_dir") == "SORTBY_DESC" {
			key.text += " DESC"
		}
		l.order = append(l.order, key)
	}
}

// number is the value of an integer constant, or 0.
func number(n node) int {
	f, _ := child(n, "A_Const", "ival")["ival"].(float64)
	return int(f)
}

// grouping finds out whether result rows are rows of the tables, and whether there can be
// only one.
func (l *level) grouping() {
	aggregate, window, set := l.calls()
	switch {
	case text(l.stmt, "op") != "SETOP_NONE" && text(l.stmt, "op") != "":
		l.group = strings.TrimPrefix(text(l.stmt, "op"), "SETOP_")
	case len(list(l.stmt, "valuesLists")) > 0:
		l.group = "VALUES"
		l.single = len(list(l.stmt, "valuesLists")) == 1
	case len(list(l.stmt, "distinctClause")) > 0:
		l.group = "DISTINCT"
	case len(list(l.stmt, "groupClause")) > 0:
		l.group = "GROUP BY"
	case aggregate != "":
		l.group = aggregate + "()"
		l.single = set == ""
	case l.stmt["havingClause"] != nil:
		l.group = "HAVING"
		l.single = set == ""
	case window != "":
		l.group = window + "() OVER"
	case set != "":
		l.group = set + "()"
	}
	l.plain = l.group == ""
	if number(child(l.stmt, "limitCount")) == 1 {
		l.single = true
	}
}

// calls are the functions of the level itself that make other rows out of its rows.
func (l *level) calls() (aggregate, window, set string) {
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				look(item)
			}
		case node:
			for key, value := range v {
				n, _ := value.(node)
				switch key {
				case "SubLink":
					continue
				case "FuncCall":
					name := words(list(n, "funcname"))
					if len(name) == 0 {
						break
					}
					last := name[len(name)-1]
					switch kind := l.catalog.kind(last); {
					case n["over"] != nil:
						window = last
					case kind == "aggregate":
						aggregate = last
					case kind == "set":
						set = last
					}
				}
				look(value)
			}
		}
	}
	look(l.stmt["targetList"])
	look(l.stmt["havingClause"])
	look(l.stmt["sortClause"])
	return aggregate, window, set
}

// inserted finds out how many rows an INSERT has.
func (l *level) inserted(source node) {
	switch {
	case source == nil: // DEFAULT VALUES
		l.single = true
	default:
		l.single = l.at("SelectStmt", source, l).one()
	}
}

// A closure is what is determined in a level: columns with one value, and items with one
// row.
type closure struct {
	columns map[column]bool
	items   map[*item]bool
}

func (c *closure) has(col column) bool { return c.columns[col] || c.items[col.item] }

// closure is what has one value each time the columns in given have one.
func (l *level) closure(given ...column) *closure {
	c := &closure{columns: map[column]bool{}, items: map[*item]bool{}}
	for _, col := range given {
		c.columns[col] = true
	}
	items := append(slices.Clone(l.items), l.inner...)
	for _, it := range items {
		if it.sub != nil && it.sub.one() {
			c.items[it] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for _, e := range l.edges {
			if !c.has(e.to) && !slices.ContainsFunc(e.from, func(f column) bool { return !c.has(f) }) {
				c.columns[e.to], changed = true, true
			}
		}
		for _, it := range items {
			if it.known == nil || c.items[it] {
				continue
			}
			for _, key := range it.known.keys {
				if !slices.ContainsFunc(key, func(name string) bool { return !c.has(column{it, name}) }) {
					c.items[it], changed = true, true
				}
			}
			for _, key := range it.known.partial {
				if !slices.ContainsFunc(key.columns, func(name string) bool { return !c.has(column{it, name}) }) &&
					!slices.ContainsFunc(key.conditions, func(one string) bool { return !slices.Contains(it.holds, one) }) {
					c.items[it], changed = true, true
				}
			}
		}
	}
	return c
}

// one reports whether the level has one result row, or none.
func (l *level) one() bool {
	if !l.counted {
		l.counted = true
		l.isOne = l.single || l.findsOne()
	}
	return l.isOne
}

func (l *level) findsOne() bool {
	switch l.kind {
	case "InsertStmt":
		return false
	case "UpdateStmt", "DeleteStmt", "MergeStmt":
		return l.closure().items[l.items[0]]
	}
	if !l.plain {
		return false
	}
	c := l.closure()
	for _, it := range append(slices.Clone(l.items), l.inner...) {
		if !it.opened && !c.items[it] {
			return false
		}
	}
	return true
}
