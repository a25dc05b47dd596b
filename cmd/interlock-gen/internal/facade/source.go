package facade

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Source is a package that sqlc wrote.
type Source struct {
	Name    string // of the package
	Queries []*Query

	files   []sourceFile
	imports *imports
	fset    *token.FileSet
}

// A Query is a method of sqlc's Queries.
type Query struct {
	Name    string
	Cmd     string // ":one"
	SQL     string // "" for :copyfrom, which sends none
	Table   string // the target of a :copyfrom
	Comment []string

	decl *ast.FuncDecl
}

// A sourceFile has the exported names of a file, in their order.
type sourceFile struct {
	origin string // the file of queries it was made from: "account.sql", or ""
	types  []string
	consts []string
	vars   []string
	funcs  []*ast.FuncDecl
}

// imports are the names of packages by path, each the same in all of the output.
type imports struct{ names map[string]string }

// Read parses what sqlc wrote into dir.
func Read(dir string) (*Source, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	s := &Source{fset: token.NewFileSet()}
	var files []*ast.File
	texts := map[string]statement{}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(s.fset, filepath.Base(name), source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse sqlc's output: %w", err)
		}
		s.Name = file.Name.Name
		files = append(files, file)
		collectStatements(file, texts)
	}
	s.imports = newImports(s.Name)
	for _, file := range files {
		s.imports.unify(file)
		s.files = append(s.files, s.exported(file))
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !isQuery(fn) {
				continue
			}
			q, err := newQuery(fn, texts)
			if err != nil {
				return nil, err
			}
			s.Queries = append(s.Queries, q)
		}
	}
	slices.SortFunc(s.Queries, func(a, b *Query) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// A statement is what sqlc's constant for a query says: its command and its text.
type statement struct{ cmd, sql string }

// collectStatements finds the constants that hold the SQL: each begins with a line that
// names the query.
func collectStatements(file *ast.File, into map[string]statement) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			for _, value := range spec.(*ast.ValueSpec).Values {
				rest, ok := strings.CutPrefix(literal(value), "-- name: ")
				if !ok {
					continue
				}
				head, sql, _ := strings.Cut(rest, "\n")
				name, cmd, _ := strings.Cut(head, " ")
				into[name] = statement{strings.TrimSpace(cmd), strings.TrimSpace(sql)}
			}
		}
	}
}

// literal is the value of a string expression. sqlc joins pieces with + where the text has
// backquotes.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, _ := strconv.Unquote(e.Value)
			return s
		}
	case *ast.BinaryExpr:
		return literal(e.X) + literal(e.Y)
	case *ast.ParenExpr:
		return literal(e.X)
	}
	return ""
}

// isQuery tells the methods that run queries from the rest: WithTx has no context.
func isQuery(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return false
	}
	star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	receiver, ok := star.X.(*ast.Ident)
	if !ok || receiver.Name != "Queries" || len(fn.Type.Params.List) == 0 {
		return false
	}
	first, ok := fn.Type.Params.List[0].Type.(*ast.SelectorExpr)
	return ok && first.Sel.Name == "Context"
}

func newQuery(fn *ast.FuncDecl, texts map[string]statement) (*Query, error) {
	q := &Query{Name: fn.Name.Name, decl: fn}
	if fn.Doc != nil {
		for _, c := range fn.Doc.List {
			q.Comment = append(q.Comment, strings.TrimPrefix(c.Text, "//"))
		}
	}
	switch {
	case q.Name == "WithTx":
		return nil, fmt.Errorf("the query WithTx has the name of a method that sqlc writes: rename it")
	case q.Name == "Queued":
		return nil, fmt.Errorf("the query Queued has the name of a method that is generated: rename it")
	}
	if text, ok := texts[q.Name]; ok {
		q.Cmd, q.SQL = text.cmd, text.sql
		return q, nil
	}
	if q.Table = copyTarget(fn); q.Table == "" {
		return nil, fmt.Errorf("sqlc's method %s has no statement", q.Name)
	}
	q.Cmd = ":copyfrom"
	return q, nil
}

// copyTarget is the table in q.db.CopyFrom(ctx, []string{"schema", "table"}, …).
func copyTarget(fn *ast.FuncDecl) (table string) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 4 {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || method.Sel.Name != "CopyFrom" {
			return true
		}
		if names, ok := call.Args[1].(*ast.CompositeLit); ok {
			var parts []string
			for _, e := range names.Elts {
				parts = append(parts, literal(e))
			}
			table = strings.TrimPrefix(strings.Join(parts, "."), "public.")
		}
		return false
	})
	return table
}

// hidden are the names of sqlc's package that stay inside: what would bind a query to
// something else than a transaction.
var hidden = []string{"New", "Prepare", "Queries", "Querier", "DBTX"}

// exported lists what the package on top passes on.
func (s *Source) exported(file *ast.File) sourceFile {
	f := sourceFile{origin: origin(file)}
	public := func(name *ast.Ident) bool {
		return name.IsExported() && !slices.Contains(hidden, name.Name)
	}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil && public(decl.Name) {
				f.funcs = append(f.funcs, decl)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if public(spec.Name) {
						f.types = append(f.types, spec.Name.Name)
					}
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						switch {
						case !public(name):
						case decl.Tok == token.CONST:
							f.consts = append(f.consts, name.Name)
						default:
							f.vars = append(f.vars, name.Name)
						}
					}
				}
			}
		}
	}
	slices.Sort(f.types)
	slices.Sort(f.vars)
	return f
}

// origin is the file of queries that sqlc names at the top, if it is one.
func origin(file *ast.File) string {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if name, ok := strings.CutPrefix(c.Text, "// source: "); ok && strings.HasSuffix(name, ".sql") {
				return name
			}
		}
	}
	return ""
}

func newImports(sqlcPackage string) *imports {
	return &imports{map[string]string{
		"context":   "context",
		txnPath:     "txn",
		bindPath:    "sqlcbind",
		sqlcPackage: sqlcPackage, // the path does not matter: nothing imports it
	}}
}

// unify gives the packages that a file names the names that they have in all of the output,
// by changing the tree. sqlc may give one name to two packages in two files, and some have
// the name of one of ours.
func (im *imports) unify(file *ast.File) {
	local := map[string]string{} // name in this file to name in the output
	for _, spec := range file.Imports {
		importPath := literal(spec.Path)
		name := baseName(importPath)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		local[name] = im.name(importPath, name)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && local[x.Name] != "" {
				x.Name = local[x.Name]
			}
		}
		return true
	})
}

func (im *imports) name(importPath, wish string) string {
	if name, ok := im.names[importPath]; ok {
		return name
	}
	name := wish
	for i := 2; im.taken(name); i++ {
		name = wish + strconv.Itoa(i)
	}
	im.names[importPath] = name
	return name
}

func (im *imports) taken(name string) bool {
	for _, other := range im.names {
		if other == name {
			return true
		}
	}
	return false
}

// baseName is the name of a package that is imported without one: sqlc gives a name where
// the last element of the path is not it, except for a major version.
func baseName(importPath string) string {
	base := path.Base(importPath)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(importPath))
	}
	return base
}

// used lists the packages that a type expression names.
func used(n ast.Node, into map[string]bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				into[x.Name] = true
			}
		}
		return true
	})
}

func (s *Source) print(n any) string {
	var b strings.Builder
	_ = printer.Fprint(&b, s.fset, n) // a builder does not fail
	return b.String()
}
