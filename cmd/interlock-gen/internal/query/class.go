package query

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Class says on which handles a query may run.
type Class int

// The classes, each needing more than the one before.
const (
	// Read queries only read: a read-only transaction will do.
	Read Class = iota
	// Write queries write, and are complete in one statement.
	Write
	// Lock queries need a read-write transaction that goes on after them, for what they
	// hold, or because what they do is not known.
	Lock
)

func (c Class) String() string { return [...]string{"Read", "Write", "Lock"}[c] }

// Facts are what a statement does.
type Facts struct {
	Class   Class
	Reads   []string // tables and views, in order of the names
	Writes  []string
	Locks   []TableLock
	Calls   []string // functions that write or are not built in
	Because []string // why the class is Lock, where no lock clause says so
	Guard   *Guard   // if exactly one row is to be changed

	// Implied are the row locks that no clause asks for: see Implied.
	Implied []TableLock
}

// A TableLock is a lock clause or a LOCK TABLE, on one table.
type TableLock struct {
	Table    string
	Strength string // "FOR NO KEY UPDATE", or for LOCK TABLE "SHARE"
	Wait     string // "NOWAIT", "SKIP LOCKED" or ""
	Order    string // in which the rows are locked: "id DESC, name"; "" if none is stated
}

// A RefusedError is returned when a statement belongs on no handle.
type RefusedError struct {
	Check  string // the name by which the documentation explains it
	Reason string
}

func (e *RefusedError) Error() string { return e.Reason }

// Of finds out what a query of sqlc's needs: cmd is its command, such as ":one", sql its
// statement. A ":copyfrom" has a table instead. Reads is the promise that the application's
// functions in the statement only read.
func Of(cmd, sql, table string, reads bool, catalog *Catalog) (*Facts, error) {
	if cmd == ":copyfrom" {
		return &Facts{Class: Write, Writes: []string{table}}, nil
	}
	if reads {
		return reading(sql, catalog)
	}
	facts, err := Classify(sql, catalog)
	if err == nil && strings.HasPrefix(cmd, ":batch") && facts.Class == Write {
		// Without a transaction around them, a failing statement takes back those before it,
		// which sqlc's code has reported as done by then.
		facts.Class = Lock
		facts.Because = append(facts.Because, "the statements of a batch are committed together, or none is")
	}
	return facts, err
}

// reading finds out whether the promise that the functions only read is of use, and whether
// it is all that is needed.
func reading(sql string, catalog *Catalog) (*Facts, error) {
	facts, err := Classify(sql, catalog)
	if err != nil {
		return nil, err
	}
	if facts.Class == Read {
		return nil, &RefusedError{"reads", "@reads changes nothing, since all that the statement calls is known to read only: remove it"}
	}
	if facts, err = classify(sql, catalog, true); err != nil {
		return nil, err
	}
	if facts.Class != Read {
		return nil, &RefusedError{"reads", "@reads speaks for functions of the application, and the statement does more than call them: remove it. " + facts.String()}
	}
	return facts, nil
}

// Classify finds out what the one statement in sql needs.
func Classify(sql string, catalog *Catalog) (*Facts, error) { return classify(sql, catalog, false) }

func classify(sql string, catalog *Catalog, trusting bool) (*Facts, error) {
	kind, stmt, err := parse(sql)
	if err != nil {
		return nil, err
	}
	c := &classifier{catalog: catalog, facts: &Facts{}, trusting: trusting}
	c.top(kind, stmt)
	if c.refused != nil {
		return nil, c.refused
	}
	f := c.facts
	f.Reads = slices.DeleteFunc(sorted(f.Reads), func(table string) bool {
		return slices.ContainsFunc(f.Locks, func(l TableLock) bool { return l.Table == table })
	})
	f.Writes = sorted(f.Writes)
	f.Calls = sorted(f.Calls)
	f.Because = sorted(f.Because)
	return f, nil
}

func sorted(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

// A classifier walks one statement.
type classifier struct {
	catalog  *Catalog
	facts    *Facts
	refused  error
	writing  int  // depth of INSERT, UPDATE, DELETE and MERGE around the node
	trusting bool // the application's functions only read
}

func (c *classifier) need(class Class) { c.facts.Class = max(c.facts.Class, class) }

func (c *classifier) needTransaction(format string, args ...any) {
	c.need(Lock)
	c.facts.Because = append(c.facts.Because, fmt.Sprintf(format, args...))
}

func (c *classifier) refuse(check, format string, args ...any) {
	if c.refused == nil {
		c.refused = &RefusedError{check, fmt.Sprintf(format, args...)}
	}
}

// top looks at the statement itself.
func (c *classifier) top(kind string, stmt node) {
	switch kind {
	case "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt":
		c.statement(kind, stmt, nil)
	case "LockStmt":
		c.need(Lock)
		c.lockTable(stmt)
	case "TransactionStmt":
		c.refuse("transaction-control", "transaction control does not belong in a query: txn.WithTx begins and commits, Tx.Savepoint sets savepoints")
	case "VariableSetStmt":
		switch {
		case text(stmt, "kind") == "VAR_SET_MULTI":
			c.refuse("transaction-control", "SET %s does not belong in a query: txn.Options says how a transaction begins", text(stmt, "name"))
		case stmt["is_local"] == true:
			c.needTransaction("SET LOCAL holds until the transaction ends")
		case strings.HasPrefix(text(stmt, "kind"), "VAR_RESET"):
			c.refuse("session", "RESET outlives the transaction, on a connection that goes back to the pool")
		default:
			c.refuse("session", "SET outlives the transaction, on a connection that goes back to the pool: use SET LOCAL")
		}
	case "DiscardStmt", "ListenStmt", "UnlistenStmt", "PrepareStmt", "ExecuteStmt", "DeallocateStmt", "LoadStmt":
		c.refuse("session", "%s acts on the session, and the connection goes back to the pool: use a connection of your own for it", statementName(kind))
	default:
		c.needTransaction("what %s does is not known", statementName(kind))
	}
}

// statementName is LISTEN for ListenStmt.
func statementName(kind string) string {
	return strings.ToUpper(strings.TrimSuffix(kind, "Stmt"))
}

// scope has the names of the WITH queries that a node can see.
type scope map[string]bool

// statement walks a statement that may stand within another.
func (c *classifier) statement(kind string, stmt node, in scope) {
	if kind != "SelectStmt" {
		c.need(Write)
		c.facts.Writes = append(c.facts.Writes, relation(child(stmt, "relation")))
		c.writing++
		defer func() { c.writing-- }()
	}
	if with := child(stmt, "withClause"); with != nil {
		in = c.with(with, in)
	}
	if stmt["intoClause"] != nil {
		c.needTransaction("SELECT INTO makes a table")
	}
	for _, clause := range list(stmt, "lockingClause") {
		c.lockClause(stmt, child(clause.(node), "LockingClause"), in)
	}
	for _, field := range slices.Sorted(maps.Keys(stmt)) {
		switch field {
		case "relation", "withClause", "lockingClause", "intoClause":
		case "larg", "rarg":
			c.statement("SelectStmt", child(stmt, field), in)
		default:
			c.walk(stmt[field], in)
		}
	}
}

// with walks the WITH queries of a statement and returns the scope of the statement. A
// query sees those before it, in WITH RECURSIVE all of them.
func (c *classifier) with(clause node, outer scope) scope {
	in := scope{}
	maps.Copy(in, outer)
	name := func(cte any) string { return text(child(cte.(node), "CommonTableExpr"), "ctename") }
	if clause["recursive"] == true {
		for _, cte := range list(clause, "ctes") {
			in[name(cte)] = true
		}
	}
	for _, cte := range list(clause, "ctes") {
		c.walk(cte, in)
		in[name(cte)] = true
	}
	return in
}

// walk visits whatever is below a node.
func (c *classifier) walk(v any, in scope) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			c.walk(item, in)
		}
	case node:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if isKind(key) {
				c.kind(key, child(v, key), in)
			} else {
				c.walk(v[key], in)
			}
		}
	}
}

// kind visits a node of a known kind.
func (c *classifier) kind(kind string, n node, in scope) {
	switch kind {
	case "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt":
		c.statement(kind, n, in)
		return
	case "RangeVar":
		c.reads(n, in)
	case "FuncCall":
		c.call(n)
	case "A_Expr":
		c.operator(list(n, "name"))
	case "SubLink":
		c.operator(list(n, "operName"))
	case "SortBy":
		c.operator(list(n, "useOp"))
	case "ColumnRef":
		if fields := words(list(n, "fields")); len(fields) > 1 {
			c.attribute(fields[len(fields)-1])
		}
	case "A_Indirection":
		for _, field := range words(list(n, "indirection")) {
			c.attribute(field)
		}
	case "TypeCast":
		name := words(list(child(n, "typeName"), "names"))
		if len(name) > 0 && c.catalog.casts[name[len(name)-1]] && !c.trusting {
			c.needTransaction("a function that casts to %s is declared VOLATILE", name[len(name)-1])
		}
	default:
		if !known[kind] {
			c.needTransaction("what %s does is not known", kind)
		}
	}
	c.walk(n, in)
}

// reads notes a table, and adds what a view does.
func (c *classifier) reads(rangeVar node, in scope) {
	name := relation(rangeVar)
	if in[name] && text(rangeVar, "schemaname") == "" {
		return
	}
	c.facts.Reads = append(c.facts.Reads, name)
	class := c.catalog.view(text(rangeVar, "schemaname"), text(rangeVar, "relname"))
	if class == Lock {
		c.needTransaction("the view %s needs one", name)
	}
	c.need(class)
}

func (c *classifier) operator(qualified []any) {
	name := words(qualified)
	if len(name) > 0 && c.catalog.operators[name[len(name)-1]] && !c.trusting {
		c.needTransaction("the function of the operator %s is declared VOLATILE", name[len(name)-1])
	}
}

// attribute looks at the name behind a row, which may be that of a function of the row.
func (c *classifier) attribute(name string) {
	if c.catalog.attributes[name] && !c.trusting {
		c.needTransaction("%s may be a function of the row, which is declared VOLATILE", name)
	}
}

func (c *classifier) call(n node) {
	name := words(list(n, "funcname"))
	if len(name) == 0 {
		return
	}
	last := name[len(name)-1]
	if last == "set_config" {
		c.setConfig(list(n, "args"))
		return
	}
	effect, why := c.catalog.effect(name, c.trusting)
	if effect == writes || !c.catalog.builtin(last) {
		c.facts.Calls = append(c.facts.Calls, last)
	}
	switch effect {
	case writes:
		c.need(Write)
	case lasting:
		c.needTransaction("%s", why)
	case session:
		switch {
		case last == "setseed":
			c.refuse("session", "setseed() acts on the session, and the connection goes back to the pool")
		case strings.Contains(last, "unlock"):
			c.refuse("session-lock", "%s() belongs to locks of the session; those of pg_advisory_xact_lock() end with the transaction", last)
		default:
			c.refuse("session-lock", "%s() locks for the session, and the connection goes back to the pool with the lock: use %s(), which holds until the transaction ends",
				last, strings.Replace(last, "advisory_lock", "advisory_xact_lock", 1))
		}
	}
}

// setConfig lets set_config through if it is plain that the setting ends with the
// transaction.
func (c *classifier) setConfig(args []any) {
	if len(args) == 3 {
		local, _ := args[2].(node)
		if cast := child(local, "TypeCast", "arg"); cast != nil {
			local = cast
		}
		if child(local, "A_Const", "boolval")["boolval"] == true {
			c.needTransaction("set_config() holds until the transaction ends")
			return
		}
	}
	c.refuse("session", "set_config() outlives the transaction, on a connection that goes back to the pool, unless its third argument is the literal true")
}

// known are the kinds of node that neither write nor lock by themselves.
var known = setOf(`
	A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star Alias BitString BoolExpr Boolean
	BooleanTest CTECycleClause CTESearchClause CaseExpr CaseWhen CoalesceExpr CollateClause
	ColumnRef CommonTableExpr Float GroupingFunc GroupingSet IndexElem Integer JoinExpr
	JsonAggConstructor JsonArgument JsonArrayAgg JsonArrayConstructor
	JsonArrayQueryConstructor JsonBehavior JsonFormat JsonFuncExpr JsonIsPredicate
	JsonKeyValue JsonObjectAgg JsonObjectConstructor JsonOutput JsonParseExpr JsonReturning
	JsonScalarExpr JsonSerializeExpr JsonTable JsonTableColumn JsonTablePathSpec
	JsonValueExpr List MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr NullTest
	ParamRef RangeFunction RangeSubselect RangeTableFunc RangeTableFuncCol RangeTableSample
	ResTarget RowExpr SQLValueFunction SetToDefault SortBy String SubLink TypeCast TypeName
	WindowDef XmlExpr XmlSerialize`)

func setOf(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(names) {
		set[name] = true
	}
	return set
}
