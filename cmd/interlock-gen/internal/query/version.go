package query

// A Versioning is what an UPDATE or DELETE does with a version column.
type Versioning struct {
	Table   string
	Columns []string // of the table, if it has no such column

	Tested      bool // a WHERE that must hold compares it to an argument
	Incremented bool // SET version = version + 1
	Deletes     bool // nothing is to be incremented
	Keyed       bool // the rest of the WHERE finds one row by a key
}

// Version finds out what the statement in sql does with a version column. It returns nil for
// a statement that is neither an UPDATE nor a DELETE.
func Version(sql, name string, catalog *Catalog) (*Versioning, error) {
	kind, stmt, err := parse(sql)
	if err != nil || kind != "UpdateStmt" && kind != "DeleteStmt" {
		return nil, err
	}
	l := newLevels(catalog).at(kind, stmt, nil)
	target := l.items[0]
	v := &Versioning{Table: target.table, Deletes: kind == "DeleteStmt"}
	if target.known != nil && !target.has(name) {
		v.Columns = sortedKeys(target.known.columns)
	}
	version := column{target, name}
	var argument float64
	for _, c := range conjuncts(child(stmt, "whereClause")) {
		e := child(c, "A_Expr")
		if operator(e) != "=" || text(e, "kind") != "AEXPR_OP" {
			continue
		}
		for _, side := range [][2]string{{"lexpr", "rexpr"}, {"rexpr", "lexpr"}} {
			to := l.resolve(child(e, side[0]))
			if to == nil || *to != version {
				continue
			}
			if number, ok := parameter(child(e, side[1])); ok {
				v.Tested, argument = true, number
			}
		}
	}
	for _, s := range list(stmt, "targetList") {
		set := child(s.(node), "ResTarget")
		if text(set, "name") == name {
			v.Incremented = l.increments(child(set, "val"), version, argument)
		}
	}
	// Without what is known by the version alone.
	var edges []edge
	for _, e := range l.edges {
		if e.to != version {
			edges = append(edges, e)
		}
	}
	l.edges = edges
	v.Keyed = l.closure().items[target]
	return v, nil
}

// increments reports whether an expression is the version and 1, where an argument that the
// version is tested against will do for it.
func (l *level) increments(n node, version column, argument float64) bool {
	e := child(n, "A_Expr")
	if operator(e) != "+" {
		return false
	}
	left, right := child(e, "lexpr"), child(e, "rexpr")
	if number(left) == 1 {
		left, right = right, left
	}
	if number(right) != 1 {
		return false
	}
	if c := l.resolve(left); c != nil {
		return *c == version
	}
	given, ok := parameter(left)
	return ok && argument != 0 && given == argument
}

// parameter is the number of the parameter that an expression is, maybe with a cast.
func parameter(n node) (float64, bool) {
	if cast := child(n, "TypeCast", "arg"); cast != nil {
		n = cast
	}
	p := child(n, "ParamRef")
	number, _ := p["number"].(float64)
	return number, p != nil
}
