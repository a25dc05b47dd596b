package facade

import (
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

func (w *writer) queued(f *file) {
	f.uses["txn"] = true
	f.printf(`
// QueuedQueries has the queries that can wait for their answer. A call sends nothing: the
// statement travels with the next one that needs an answer at once, or with COMMIT, behind
// those that were queued before it, and the Pending has the answer from then on. If the
// server refuses it, the call that sent it returns a *txn.QueuedError, and the transaction
// can only be rolled back; any other error, such as a row that is not there, is the
// Pending's alone.
//
// COPY and batches are not among them: they travel by themselves, after what is queued.
type QueuedQueries struct{ r *txn.Tx }

// Queued has the queries for answers that are not needed at once.
func (q *Queries) Queued() *QueuedQueries { return &QueuedQueries{q.tx} }
`)
	for _, q := range w.of(query.Lock) {
		w.queuedMethod(f, "QueuedQueries", q)
	}
	f.printf(`
// QueuedReadQueries has the queries that only read and can wait for their answer, as
// QueuedQueries has them.
type QueuedReadQueries struct{ r txn.Reads }

// Queued has the queries for answers that are not needed at once.
func (q *ReadQueries) Queued() *QueuedReadQueries { return &QueuedReadQueries{q.r} }
`)
	for _, q := range w.of(query.Read) {
		w.queuedMethod(f, "QueuedReadQueries", q)
	}
}

// queuedMethod has sqlc's method run twice, once to see what it sends and once to read the
// answer, so that its code for the rows is used as it is.
func (w *writer) queuedMethod(f *file, receiver string, q *Query) {
	if q.Cmd == ":copyfrom" || strings.HasPrefix(q.Cmd, ":batch") {
		return
	}
	fn := w.withoutContext(q.decl.Type)
	used(fn, f.uses)
	f.uses["context"], f.uses["sqlcbind"], f.uses[w.Name] = true, true, true
	answer, queue, results := "struct{}", "QueueExec", "error"
	if list := fn.Results.List; len(list) == 2 {
		answer, queue = w.print(list[0].Type), "Queue"
		results = "(" + answer + ", error)"
	}
	guard := ""
	if w.facts[q.Name].Guard != nil {
		guard, queue = guardName(q)+", ", strings.Replace(queue, "Queue", "QueueGuarded", 1)
	}
	f.printf(`
%sfunc (q *%s) %s(%s) *txn.Pending[%s] {
	return sqlcbind.%s(q.r, %sfunc(d sqlcbind.DBTX) %s {
		return %s.New(d).%s(%s)
	})
}
`, w.comment(q), receiver, q.Name, w.fields(fn.Params), answer, queue, guard, results,
		w.Name, q.Name, strings.Join(append([]string{"context.Background()"}, names(fn)...), ", "))
}

// withoutContext is a method's type without its context, and without parameters whose names
// mean something else in the body of a queued method.
func (w *writer) withoutContext(fn *ast.FuncType) *ast.FuncType {
	params := &ast.FieldList{}
	for _, field := range fn.Params.List[1:] {
		renamed := &ast.Field{Type: field.Type}
		for _, name := range field.Names {
			renamed.Names = append(renamed.Names, ast.NewIdent(w.unambiguous(name.Name)))
		}
		params.List = append(params.List, renamed)
	}
	return &ast.FuncType{Params: params, Results: fn.Results}
}

func (w *writer) unambiguous(name string) string {
	reserved := []string{"q", "d", w.Name}
	for _, imported := range w.imports.names {
		reserved = append(reserved, imported)
	}
	if slices.Contains(reserved, name) || types.Universe.Lookup(name) != nil {
		return name + "_"
	}
	return name
}

// fields is a list of parameters as it stands between parentheses.
func (w *writer) fields(list *ast.FieldList) string {
	var fields []string
	for _, field := range list.List {
		for _, name := range field.Names {
			fields = append(fields, name.Name+" "+w.print(field.Type))
		}
	}
	return strings.Join(fields, ", ")
}
