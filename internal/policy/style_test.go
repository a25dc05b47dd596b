package policy_test

import (
	"errors"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// A convention is something that all Go files keep and a program can check.
type convention struct {
	name  string
	check func(f *source) []fault
}

// A fault is a place that breaks a convention, and what to do instead.
type fault struct {
	at     ast.Node
	advice string
}

var conventions = []convention{
	{"names say what a thing is", emptyNames},
	{"no variable hides the package db", hidesDB},
	{"generated files say so in the first line", generatedFirst},
	{"nothing sleeps", sleeps},
	{"no test is skipped", skips},
	{"no decision by the text of an error", matchesText},
	{"transactions of services have a label", unlabelled},
	{"services have no SQL of their own", rawSQL},
	{"functions of services say what they lock", lockless},
}

// allowed are the functions that may break a convention, and why.
var allowed = []struct{ convention, file, function, reason string }{
	{"no test is skipped", "txn/txntest/pgserver/server_test.go", "needRoot", "only root can become another user; who is not root runs the rest as that other user"},
	{"no test is skipped", "txn/txntest/pgserver/server_test.go", "TestFromNPM", "npm is one of three ways to get a server, and installing it is not this test's business"},
	{"no test is skipped", "txn/txntest/pgserver/server_test.go", "TestPortIsNoClients", "only Linux says which ports clients get, and only its administrator can change them"},
}

func TestConventions(t *testing.T) {
	t.Parallel()
	used := make([]bool, len(allowed))
	for _, c := range conventions {
		for _, f := range load(t).sources {
			for _, fault := range c.check(f) {
				if i := permitted(c, f, fault); i >= 0 {
					used[i] = true
					continue
				}
				t.Errorf("%s: %s: %s", f.position(fault.at), c.name, fault.advice)
			}
		}
	}
	for i, a := range allowed {
		require.NotEmpty(t, a.reason, a)
		if !used[i] {
			t.Errorf("%s no longer needs its place in allowed (%s in %s): remove it", a.convention, a.function, a.file)
		}
	}
}

func permitted(c convention, f *source, at fault) int {
	for i, a := range allowed {
		if a.convention == c.name && a.file == f.path && a.function == f.function(at.at) {
			return i
		}
	}
	return -1
}

// function is the name of the function declaration around a node.
func (f *source) function(n ast.Node) string {
	for _, d := range f.ast.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Pos() <= n.Pos() && n.Pos() < d.End() {
			return d.Name.Name
		}
	}
	return ""
}

// faultsOf collects what find returns for the nodes of a file.
func faultsOf(f *source, advice string, find func(ast.Node) []ast.Node) (faults []fault) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		for _, at := range find(n) {
			faults = append(faults, fault{at, advice})
		}
		return true
	})
	return faults
}

// at is n if it is a fault, for functions that faultsOf takes.
func at(n ast.Node, isFault bool) []ast.Node {
	if isFault {
		return []ast.Node{n}
	}
	return nil
}

// Names that fit anything.
var empty = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc"}

func emptyNames(f *source) []fault {
	const advice = "the name fits anything: name the package, file or type by what it is about"
	var faults []fault
	if slices.Contains(empty, strings.TrimSuffix(f.ast.Name.Name, "_test")) {
		faults = append(faults, fault{f.ast.Name, advice})
	}
	if f.generated() {
		return faults // named after tables
	}
	for word := range strings.SplitSeq(strings.TrimSuffix(path.Base(f.path), ".go"), "_") {
		if slices.Contains(empty, word) {
			faults = append(faults, fault{f.ast.Name, advice})
		}
	}
	return append(faults, faultsOf(f, advice, func(n ast.Node) []ast.Node {
		spec, ok := n.(*ast.TypeSpec)
		return at(n, ok && slices.Contains(empty, lastWord(spec.Name.Name)))
	})...)
}

func lastWord(name string) string {
	i := strings.LastIndexFunc(name, unicode.IsUpper)
	return strings.ToLower(name[max(i, 0):])
}

func hidesDB(f *source) []fault {
	if !slices.ContainsFunc(f.ast.Imports, func(s *ast.ImportSpec) bool {
		return s.Path.Value == strconv.Quote(ours+"/db") && (s.Name == nil || s.Name.Name == "db")
	}) {
		return nil
	}
	return faultsOf(f, "the file uses the package db: call a *txn.DB d, and queries q", func(n ast.Node) []ast.Node {
		var hiding []ast.Node
		for _, name := range declared(n) {
			hiding = append(hiding, at(name, name.Name == "db")...)
		}
		return hiding
	})
}

// declared are the names that a node itself declares in a scope; fields hide nothing.
func declared(n ast.Node) (names []*ast.Ident) {
	addFields := func(lists ...*ast.FieldList) {
		for _, list := range lists {
			if list != nil {
				for _, field := range list.List {
					names = append(names, field.Names...)
				}
			}
		}
	}
	addExprs := func(exprs ...ast.Expr) {
		for _, e := range exprs {
			if name, ok := e.(*ast.Ident); ok {
				names = append(names, name)
			}
		}
	}
	switch n := n.(type) {
	case *ast.FuncDecl:
		addFields(n.Recv)
	case *ast.FuncType:
		addFields(n.TypeParams, n.Params, n.Results)
	case *ast.ValueSpec:
		names = append(names, n.Names...)
	case *ast.TypeSpec:
		names = append(names, n.Name)
		addFields(n.TypeParams)
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			addExprs(n.Lhs...)
		}
	case *ast.RangeStmt:
		if n.Tok == token.DEFINE {
			addExprs(n.Key, n.Value)
		}
	}
	return names
}

// The line by which tools know generated files, wherever it stands.
var marker = regexp.MustCompile(`^// Code generated .* DO NOT EDIT\.$`)

// generatedFolders have nothing that a person wrote.
var generatedFolders = []string{"db", "db/internal/sqlcgen"}

func (f *source) generated() bool {
	first, _, _ := strings.Cut(string(f.text), "\n")
	return marker.MatchString(first)
}

func generatedFirst(f *source) []fault {
	if f.generated() {
		return nil
	}
	if slices.Contains(generatedFolders, f.dir()) && !f.isTest() {
		return []fault{{f.ast.Name, "everything in this folder is generated: put what is written by hand elsewhere, or begin with // Code generated by … DO NOT EDIT."}}
	}
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if marker.MatchString(c.Text) {
				return []fault{{c, "make the marker of a generated file its first line"}}
			}
		}
	}
	return nil
}

func sleeps(f *source) []fault {
	if strings.HasPrefix(f.path, free+"/") && !f.isTest() {
		return nil // time that a measurement puts between two machines
	}
	const advice = "wait for what has to happen instead: a channel, txntest.Barrier, txntest.WaitBlocked; in a program, a timer beside ctx.Done()"
	return faultsOf(f, advice, func(n ast.Node) []ast.Node {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			return at(n, isName(n, "time", "Sleep"))
		case *ast.BlockStmt:
			return waits(n.List)
		case *ast.CaseClause:
			return waits(n.Body)
		case *ast.CommClause: // the body; what it receives is one of several
			return waits(n.Body)
		}
		return nil
	})
}

// waits finds a bare <-time.After(d).
func waits(statements []ast.Stmt) (found []ast.Node) {
	for _, s := range statements {
		e, ok := s.(*ast.ExprStmt)
		if !ok {
			continue
		}
		if receive, ok := e.X.(*ast.UnaryExpr); ok && receive.Op == token.ARROW {
			call, ok := receive.X.(*ast.CallExpr)
			found = append(found, at(s, ok && isName(call.Fun, "time", "After"))...)
		}
	}
	return found
}

func skips(f *source) []fault {
	if !slices.Contains(f.imports(), "testing") {
		return nil
	}
	const advice = "a skipped test is one that nobody misses: make what it needs, or fail and say what to install"
	return faultsOf(f, advice, func(n ast.Node) []ast.Node {
		s, ok := n.(*ast.SelectorExpr)
		return at(n, ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name))
	})
}

// Functions that a decision could be made with.
var decides = regexp.MustCompile(`^(Contains|Has|Equal|Index|LastIndex|Compare|Count|Cut|Match)`)

func matchesText(f *source) []fault {
	if f.isTest() {
		return nil
	}
	const advice = "texts change: decide by errors.Is or errors.As, by txn.SQLState and txn.ConstraintName"
	server := slices.Contains(f.imports(), "github.com/jackc/pgx/v5/pgconn") // else it has no PgError
	isErrorText := func(e ast.Expr) bool { return isErrorText(e, server) }
	return faultsOf(f, advice, func(n ast.Node) []ast.Node {
		switch n := n.(type) {
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			return at(n, ok && decides.MatchString(s.Sel.Name) && slices.ContainsFunc(n.Args, isErrorText))
		case *ast.BinaryExpr:
			return at(n, (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y)))
		case *ast.SwitchStmt:
			return at(n, n.Tag != nil && isErrorText(n.Tag))
		}
		return nil
	})
}

// isErrorText finds x.Error() in an expression; with server also x.Message, which is where a
// PgError has the server's text.
func isErrorText(e ast.Expr, server bool) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			found = found || ok && s.Sel.Name == "Error" && len(n.Args) == 0
		case *ast.SelectorExpr:
			found = found || server && n.Sel.Name == "Message"
		}
		return !found
	})
	return found
}

func unlabelled(f *source) []fault {
	if f.isTest() || !strings.HasPrefix(f.path, "service/") {
		return nil
	}
	const advice = `say why the transaction is there: txn.Options{Label: "noun: verb"}`
	return faultsOf(f, advice, func(n ast.Node) []ast.Node {
		switch n := n.(type) {
		case *ast.CompositeLit:
			return at(n, isName(n.Type, "txn", "Options") && !slices.ContainsFunc(n.Elts, isLabel))
		case *ast.ValueSpec: // var opts txn.Options
			return at(n, isName(n.Type, "txn", "Options") && len(n.Values) == 0)
		}
		return nil
	})
}

func isLabel(e ast.Expr) bool {
	field, ok := e.(*ast.KeyValueExpr)
	if !ok {
		return false
	}
	key, ok := field.Key.(*ast.Ident)
	if !ok || key.Name != "Label" {
		return false
	}
	text, ok := field.Value.(*ast.BasicLit)
	return !ok || len(text.Value) > len(`""`)
}

// rawSQL finds statements outside of queries/, where nobody checks them.
func rawSQL(f *source) []fault {
	if f.isTest() || !strings.HasPrefix(f.path, "service/") {
		return nil
	}
	const advice = "write it in queries/, so that it is checked, typed and listed with what it locks"
	return faultsOf(f, advice, func(n ast.Node) []ast.Node {
		switch n := n.(type) {
		case *ast.BasicLit:
			return at(n, n.Kind == token.STRING && sqlText.MatchString(n.Value))
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			return at(n, ok && slices.Contains(sends, s.Sel.Name))
		}
		return nil
	})
}

// sends are the methods of a handle that take a statement as text.
var sends = []string{"Exec", "Query", "QueryRow", "SendBatch", "CopyFrom", "Queue", "QueueValue"}

var sqlText = regexp.MustCompile("(?is)^[\"`]\\s*(select|insert|update|delete|merge|with|lock|truncate)\\b.*\\b(from|into|set|as|table|values)\\b")

// lockless finds exported functions that take a handle, and whose comment leaves out what a
// caller has to know in order to put them together: what they lock, in which order, at which
// isolation, and which errors they return.
func lockless(f *source) []fault {
	if f.isTest() || !strings.HasPrefix(f.path, "service/") {
		return nil
	}
	const advice = "say in its comment what it locks and in which order (or that it locks nothing), at which isolation, and which errors it returns"
	return faultsOf(f, advice, func(n ast.Node) []ast.Node {
		fn, ok := n.(*ast.FuncDecl)
		if !ok || !fn.Name.IsExported() || !takesHandle(fn) {
			return nil
		}
		doc := fn.Doc.Text()
		return at(fn, !saysLocks.MatchString(doc) || !saysIsolation.MatchString(doc) || !saysErrors.MatchString(doc))
	})
}

func takesHandle(fn *ast.FuncDecl) bool {
	return slices.ContainsFunc(fn.Type.Params.List, func(p *ast.Field) bool {
		return isName(p.Type, "txn", "Transactor") || isName(p.Type, "txn", "ReadTransactor")
	})
}

var (
	saysLocks     = regexp.MustCompile(`(?i)\block`)
	saysIsolation = regexp.MustCompile(`READ COMMITTED|REPEATABLE READ|SERIALIZABLE|isolation`)
	saysErrors    = regexp.MustCompile(`refused with|\bErr[A-Z]|\w+Error\b|\berrors?\b`)
)

// isName says whether an expression is pkg.name.
func isName(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// Each convention, broken and kept.
func TestConventionsFindFaults(t *testing.T) {
	t.Parallel()
	const importDB = "import \"" + ours + "/db\"\n"
	for _, c := range []struct {
		check      func(*source) []fault
		path, text string
		broken     int // places
	}{
		{check: emptyNames, path: "a.go", text: "package util", broken: 1},
		{check: emptyNames, path: "a_test.go", text: "package helpers_test", broken: 1},
		{check: emptyNames, path: "test_helpers.go", text: "package a", broken: 1},
		{check: emptyNames, path: "a.go", text: "package a; type LockManager struct{}; type managerial int; type utility int", broken: 1},
		{check: emptyNames, path: "a.go", text: "// Code generated by sqlc. DO NOT EDIT.\npackage a; type Manager struct{}"},
		{check: hidesDB, path: "a.go", text: "package a\n" + importDB + "func f(db int) { db := 1; var db int; for db := range 1 {} }", broken: 4},
		{check: hidesDB, path: "a.go", text: "package a\n" + importDB + "type t struct{ db int }; func f(d int) { x.db = 1 }"},
		{check: hidesDB, path: "a.go", text: "package a\nfunc f(db int) {}"},
		{check: generatedFirst, path: "db/a.go", text: "package db", broken: 1},
		{check: generatedFirst, path: "db/a.go", text: "// Code generated by a. DO NOT EDIT.\npackage db"},
		{check: generatedFirst, path: "b/a.go", text: "\n// Code generated by a. DO NOT EDIT.\npackage b", broken: 1},
		{check: generatedFirst, path: "b/a.go", text: "package b; const s = `\n// Code generated by a. DO NOT EDIT.\n`"},
		{check: sleeps, path: "a.go", text: "package a; func f() { time.Sleep(1); g(time.Sleep); <-time.After(1) }", broken: 3},
		{check: sleeps, path: "a.go", text: "package a; func f() { select { case <-time.After(1): case <-c: } }"},
		{check: skips, path: "a_test.go", text: "package a; import \"testing\"; func f() { t.Skip(); t.Skipf(s); b.SkipNow() }", broken: 3},
		{check: skips, path: "a.go", text: "package a; func f() { scanner.Skip() }"},
		{check: matchesText, path: "a.go", text: "package a; func f() bool { return strings.Contains(strings.ToLower(err.Error()), s) || err.Error() == s }", broken: 2},
		{check: matchesText, path: "a.go", text: "package a; import \"github.com/jackc/pgx/v5/pgconn\"; func f() bool { return re.MatchString(e.Message) }", broken: 1},
		{check: matchesText, path: "a.go", text: "package a; func f() bool { return mail.Message == s }"},
		{check: matchesText, path: "a.go", text: "package a; func f() { switch err.Error() { case s: } }", broken: 1},
		{check: matchesText, path: "a.go", text: "package a; func f() string { return fmt.Sprint(err.Error(), e.Message, strings.Contains(a, b)) }"},
		{check: matchesText, path: "a_test.go", text: "package a; func f() bool { return err.Error() == s }"},
		{check: unlabelled, path: "service/a/a.go", text: "package a; var o txn.Options; var p = txn.Options{}; var q = txn.Options{Label: ``, Timeout: 1}", broken: 3},
		{check: unlabelled, path: "service/a/a.go", text: "package a; var p = txn.Options{Label: `a: b`}; var q = txn.Options{Label: label}; func f(o txn.Options) {}"},
		{check: unlabelled, path: "txn/a.go", text: "package a; var p = txn.Options{}"},
		{check: rawSQL, path: "service/a/a.go", text: "package a; const s = ` SELECT 1 FROM t`; func f() { tx.Exec(ctx, s); q.Queued().GetUser(1) }", broken: 2},
		{check: rawSQL, path: "service/a/a.go", text: "package a; const s = `update the counter`"},
		{check: rawSQL, path: "service/a/a_test.go", text: "package a; const s = `select 1 from t`"},
		{check: lockless, path: "service/a/a.go", text: "package a\n// F moves money.\nfunc F(ctx context.Context, t txn.Transactor) {}\n" +
			"// G locks nothing, at any isolation.\nfunc G(t txn.ReadTransactor) {}", broken: 2},
		{check: lockless, path: "service/a/a.go", text: "package a\n// F locks nothing, at any isolation. It is refused with ErrA.\nfunc F(t txn.Transactor) {}\n" +
			"func g(t txn.Transactor) {}\nfunc H(tx *txn.Tx) {}"},
	} {
		f, err := parse(c.path, []byte(c.text))
		require.NoError(t, err)
		require.Len(t, c.check(f), c.broken, c.text)
	}
}

// A migration that cannot be taken back is found out when it has to be.
func TestMigrationsGoBothWays(t *testing.T) {
	t.Parallel()
	found := 0
	for _, name := range load(t).files {
		if path.Dir(name) != "schema" || path.Ext(name) != ".sql" {
			continue
		}
		found++
		text, err := os.ReadFile(filepath.Join(load(t).root, name))
		require.NoError(t, err)
		if err := bothWays(string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	require.NotZero(t, found, "no migrations in schema: this test looks in the wrong place")

	const up, down = "-- +goose Up\nCREATE TABLE a ();\n", "-- +goose Down\nDROP TABLE a;\n"
	require.NoError(t, bothWays(up+down))
	for _, broken := range []string{"", up, down, down + up, up + down + down, up + "-- +goose Down\n-- nothing\n", "-- +goose Up\n" + down} {
		require.Error(t, bothWays(broken), broken)
	}
}

var direction = regexp.MustCompile(`(?m)^-- \+goose (Up|Down)\s*$`)

// bothWays wants a section Up, then a section Down, each with a statement.
func bothWays(migration string) error {
	at := direction.FindAllStringSubmatchIndex(migration, -1)
	if len(at) != 2 || migration[at[0][2]:at[0][3]] != "Up" || migration[at[1][2]:at[1][3]] != "Down" {
		return errors.New("write one section -- +goose Up and then one section -- +goose Down")
	}
	for _, section := range []string{migration[at[0][1]:at[1][0]], migration[at[1][1]:]} {
		if !regexp.MustCompile(`(?m)^\s*[^-\s]`).MatchString(section) {
			return errors.New("a section has no statement: write what it does, or takes back")
		}
	}
	return nil
}
