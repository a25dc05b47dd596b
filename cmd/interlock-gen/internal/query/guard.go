package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// A Guard has the texts by which a statement is held to changing exactly one row.
type Guard struct {
	SQL     string // fails by itself unless it changes one row, see sqlcbind.Guard
	Version string // the column of an optimistic statement, or ""
	Exists  string // finds the row in any version; "" if the statement is not optimistic
	Args    []int  // which arguments Exists takes, from 0
}

// changed is the name of the WITH query around the statement. The statement itself does not
// see it.
const changed = "interlock_changed"

// noRow and manyRows are values that their domains do not allow. Their types are what every
// database has, and PostgreSQL does not compute them where they are not reached, as it does
// with 1/0.
const (
	noRow    = "(-1)::information_schema.cardinal_number"
	manyRows = "pg_catalog.length('no'::information_schema.yes_or_no)"
)

// NewGuard makes the guard of the statement in sql; version is the column that it tests, of a
// row found by a key (see Version), or "" if nothing is demanded but one row. What it makes
// has been prepared on conn, in whose database the schema has been applied. A *RefusedError
// says why there can be no guard.
func NewGuard(ctx context.Context, conn *pgx.Conn, sql, version string) (*Guard, error) {
	kind, stmt, err := parse(sql)
	if err != nil {
		return nil, err
	}
	tokens, err := scan(sql)
	if err != nil {
		return nil, err
	}
	g := &guarding{sql: sql, kind: kind, stmt: stmt, version: version}
	for _, t := range tokens {
		if t.Token != pgquery.Token_SQL_COMMENT && t.Token != pgquery.Token_C_COMMENT {
			g.tokens = append(g.tokens, t)
		}
	}
	if g.tokens[len(g.tokens)-1].Token == pgquery.Token_ASCII_59 { // ;
		g.tokens = g.tokens[:len(g.tokens)-1]
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	guard := &Guard{Version: version}
	missed := "WHEN 0 THEN " + noRow + " ELSE " + manyRows + " END"
	if version != "" {
		source, where, err := g.target()
		if err != nil {
			return nil, err
		}
		if err := g.alone(ctx, conn); err != nil {
			return nil, err
		}
		// FOR KEY SHARE has the row looked at as it is now, not as it was when the statement
		// began: it may have been deleted while the statement waited for its lock.
		missed = "ELSE CASE WHEN EXISTS (SELECT FROM " + source + " WHERE " + where + "\nFOR KEY SHARE) THEN " + noRow +
			" ELSE " + manyRows + " END END"
		exists, args := renumbered("SELECT FROM " + source + " WHERE " + where)
		guard.Exists, guard.Args = exists, args
	}
	guard.SQL = g.wrapped("CASE (SELECT pg_catalog.count(*) FROM " + changed + ") WHEN 1 THEN 0\n" + missed)
	return guard, guard.prepare(ctx, conn, sql)
}

// A guarding is a statement that a guard is made for.
type guarding struct {
	sql     string
	kind    string
	stmt    node
	tokens  []*pgquery.ScanToken // without comments
	version string
}

func unguarded(format string, args ...any) error {
	return &RefusedError{"guard", fmt.Sprintf(format, args...)}
}

// annotation is what asked for the guard.
func (g *guarding) annotation() string {
	if g.version != "" {
		return "@optimistic"
	}
	return "@affects one"
}

// check refuses the forms of statement that cannot stand within another one.
func (g *guarding) check() error {
	switch g.kind {
	case "UpdateStmt", "DeleteStmt":
	case "InsertStmt":
		if g.version != "" {
			return unguarded("@optimistic is for an UPDATE or DELETE: remove it")
		}
	case "MergeStmt":
		return unguarded("@affects one cannot be held to in the server, which before PostgreSQL 17 does not say what a MERGE changed: " +
			"write an INSERT with ON CONFLICT or an UPDATE, or remove @affects one and look at the number of rows")
	default:
		return unguarded("%s needs a statement that changes rows by itself, not in a WITH query: write it as an INSERT, UPDATE or DELETE, or remove the annotation", g.annotation())
	}
	for _, v := range list(child(g.stmt, "withClause"), "ctes") {
		for kind := range child(v.(node), "CommonTableExpr", "ctequery") {
			if kind != "SelectStmt" {
				return unguarded("%s cannot be held to in the server beside a WITH query that writes, which PostgreSQL allows at the top of a statement alone: "+
					"make two queries of it, or remove the annotation and look at the number of rows", g.annotation())
			}
		}
	}
	return nil
}

// wrapped is the statement with its answer held back until the guard has been computed.
func (g *guarding) wrapped(guard string) string {
	statement := g.text(0, len(g.tokens))
	if len(list(g.stmt, "returningList")) == 0 {
		return "WITH " + changed + " AS (\n" + statement + "\nRETURNING 1)\nSELECT " + guard
	}
	// The row of VALUES is there even if no other is, so that the condition is looked at.
	return "WITH " + changed + " AS (\n" + statement + ")\nSELECT " + changed + ".* FROM (VALUES (1)) AS interlock_one LEFT JOIN " +
		changed + " ON true\nWHERE " + guard + " = 0"
}

// text is what stands from one token to before another, without a comment behind the last.
func (g *guarding) text(from, to int) string {
	return g.sql[g.tokens[from].Start:g.tokens[to-1].End]
}

// find is the first token of that kind, from one on, that is not within parentheses.
func (g *guarding) find(from int, kind pgquery.Token) int {
	depth := 0
	for i := from; i < len(g.tokens); i++ {
		switch t := g.tokens[i].Token; {
		case t == kind && depth == 0:
			return i
		case t == pgquery.Token_ASCII_40, t == pgquery.Token_ASCII_91: // ( [
			depth++
		case t == pgquery.Token_ASCII_41, t == pgquery.Token_ASCII_93: // ) ]
			depth--
		}
	}
	return len(g.tokens)
}

// target returns what the optimistic statement changes, as it can stand in FROM, and its
// condition without the test of the version.
func (g *guarding) target() (source, where string, err error) {
	if g.stmt["withClause"] != nil || len(list(g.stmt, "fromClause"))+len(list(g.stmt, "usingClause")) > 0 {
		return "", "", unguarded("@optimistic needs a statement about one table, so that a changed row can be told from a missing one: " +
			"write what FROM, USING or WITH brings as a subquery in WHERE")
	}
	first, last := 1, g.find(0, pgquery.Token_SET) // UPDATE table SET
	if g.kind == "DeleteStmt" {
		first, last = 2, g.find(0, pgquery.Token_WHERE) // DELETE FROM table WHERE
	}
	begin, end := g.find(0, pgquery.Token_WHERE)+1, g.find(0, pgquery.Token_RETURNING)
	if begin > end {
		return "", "", g.untested()
	}
	from, to, ok := g.test(begin, end)
	if !ok {
		return "", "", g.untested()
	}
	if g.retested(from, to) {
		return "", "", unguarded("@optimistic %[1]s needs %[1]s to be in one condition alone, since without it the others must find a row that has another version: remove it from the others", g.version)
	}
	where = g.sql[g.tokens[begin].Start:g.tokens[from].Start] + "TRUE" + g.sql[g.tokens[to-1].End:g.tokens[end-1].End]
	return g.text(first, last), where, nil
}

func (g *guarding) untested() error {
	return unguarded("@optimistic %[1]s needs a condition that compares the column with an argument and is joined to the others by AND: %[1]s = sqlc.arg(%[1]s)", g.version)
}

// test is where the tokens of the test of the version are, which stands between begin and end.
func (g *guarding) test(begin, end int) (from, to int, ok bool) {
	for _, c := range g.terms(child(g.stmt, "whereClause")) {
		e := child(c, "A_Expr")
		column, argument := child(e, "lexpr"), child(e, "rexpr")
		if !isArgument(argument) {
			column, argument = argument, column
		}
		if !equals(e) || !isArgument(argument) || g.column(column) != g.version {
			continue
		}
		location, _ := e["location"].(float64) // of the operator
		at := slices.IndexFunc(g.tokens, func(t *pgquery.ScanToken) bool { return t.Start == int32(location) })
		if at < begin || at >= end {
			continue
		}
		for from = at; from > begin && !borders(g.tokens[from-1].Token); from-- {
		}
		for to = at + 1; to < end && !borders(g.tokens[to].Token); to++ {
		}
		return from, to, true
	}
	return 0, 0, false
}

// retested reports whether the condition speaks of the version outside the tokens of its test.
func (g *guarding) retested(from, to int) (found bool) {
	target := child(g.stmt, "relation")
	name := text(target, "relname")
	if alias := text(child(target, "alias"), "aliasname"); alias != "" {
		name = alias
	}
	visit(g.stmt["whereClause"], func(kind string, n node) {
		column := words(list(n, "fields"))
		if kind != "ColumnRef" || len(column) == 0 || column[len(column)-1] != g.version ||
			len(column) > 1 && column[len(column)-2] != name {
			return
		}
		location, _ := n["location"].(float64)
		at := int32(location)
		found = found || at < g.tokens[from].Start || at >= g.tokens[to-1].End
	})
	return found
}

// borders reports whether a comparison of a column with an argument ends at the token.
func borders(t pgquery.Token) bool {
	return t == pgquery.Token_AND || t == pgquery.Token_ASCII_40 || t == pgquery.Token_ASCII_41
}

// terms are the conditions that AND joins.
func (g *guarding) terms(condition node) (all []node) {
	and := child(condition, "BoolExpr")
	if text(and, "boolop") != "AND_EXPR" {
		return []node{condition}
	}
	for _, v := range list(and, "args") {
		arg, _ := v.(node)
		all = append(all, g.terms(arg)...)
	}
	return all
}

func equals(e node) bool {
	return text(e, "kind") == "AEXPR_OP" && slices.Equal(words(list(e, "name")), []string{"="})
}

// isArgument reports whether an expression is an argument of the query, or a cast of one.
func isArgument(n node) bool {
	if cast := child(n, "TypeCast"); cast != nil {
		n = child(cast, "arg")
	}
	return n["ParamRef"] != nil
}

// column is the name of a column of the statement's only table, if that is what the
// expression is.
func (g *guarding) column(n node) string {
	name := words(list(child(n, "ColumnRef"), "fields"))
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1]
}

// alone refuses a table with others that inherit from it: its keys do not hold for their rows.
// For partitions they do.
func (g *guarding) alone(ctx context.Context, conn *pgx.Conn) error {
	target := child(g.stmt, "relation")
	var inherited bool
	err := conn.QueryRow(ctx, `
		SELECT relkind = 'r' AND relhassubclass FROM pg_catalog.pg_class
		WHERE oid = to_regclass(CASE $1 WHEN '' THEN '' ELSE quote_ident($1) || '.' END || quote_ident($2))`,
		text(target, "schemaname"), text(target, "relname")).Scan(&inherited)
	if err == nil && inherited && target["inh"] == true {
		return unguarded("@optimistic cannot tell a changed row from a missing one where other tables inherit from %s, whose rows its keys do not cover: write ONLY before its name", relation(target))
	}
	return err
}

// renumbered is a query with the arguments that it uses numbered from 1, and which they were,
// from 0.
func renumbered(sql string) (string, []int) {
	tokens, err := scan(sql)
	if err != nil {
		return sql, nil // it is a part of what was scanned before
	}
	var b strings.Builder
	var args []int
	end := int32(0)
	for _, t := range tokens {
		if t.Token != pgquery.Token_PARAM {
			continue
		}
		var number int
		_, _ = fmt.Sscanf(sql[t.Start:t.End], "$%d", &number)
		place := slices.Index(args, number-1)
		if place < 0 {
			place = len(args)
			args = append(args, number-1)
		}
		fmt.Fprintf(&b, "%s$%d", sql[end:t.Start], place+1)
		end = t.End
	}
	return b.String() + sql[end:], args
}

// prepare has the server look at what was made, and compares: the same arguments, and the
// same answer, if there is one.
func (g *Guard) prepare(ctx context.Context, conn *pgx.Conn, sql string) error {
	plain, err := conn.PgConn().Prepare(ctx, "", sql, nil)
	if err != nil {
		return err
	}
	made, err := conn.PgConn().Prepare(ctx, "", g.SQL, nil)
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		return unguarded("one row cannot be demanded in the server, which says of the statement within another one: %s. "+
			"Remove the annotation and look at the number of rows", refused.Message)
	}
	if err != nil {
		return err
	}
	same := slices.Equal(plain.ParamOIDs, made.ParamOIDs)
	if len(plain.Fields) > 0 {
		same = same && slices.EqualFunc(plain.Fields, made.Fields, func(a, b pgconn.FieldDescription) bool {
			return a.Name == b.Name && a.DataTypeOID == b.DataTypeOID
		})
	}
	if g.Exists != "" {
		exists, err := conn.PgConn().Prepare(ctx, "", g.Exists, nil)
		if err != nil {
			return fmt.Errorf("look for the row in any version: %w", err)
		}
		for i, place := range g.Args {
			same = same && exists.ParamOIDs[i] == plain.ParamOIDs[place]
		}
	}
	if !same {
		return unguarded("one row cannot be demanded in the server, to which the arguments are of other types then: cast them, as in sqlc.arg(id)::bigint")
	}
	return nil
}
