package facade

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// guarded reports whether a query of the class, or of one that needs less, has a guard.
func (w *writer) guarded(most query.Class) bool {
	return slices.ContainsFunc(w.of(most), func(q *Query) bool { return w.facts[q.Name].Guard != nil })
}

func guardName(q *Query) string { return "guard" + q.Name }

// guards writes what the queries that must change one row send instead of their statement,
// where nobody looks at the number of rows before COMMIT.
func (w *writer) guards(f *file) {
	if !w.guarded(query.Lock) {
		return
	}
	f.uses["sqlcbind"] = true
	f.printf("\n// The queries that must change one row, in the form that fails by itself if they do not.\nvar (\n")
	for _, q := range w.Queries {
		g := w.facts[q.Name].Guard
		if g == nil {
			continue
		}
		f.printf("%s = &sqlcbind.Guard{\nSQL: %s,\n", guardName(q), quoted("-- name: "+q.Name+" "+q.Cmd+"\n"+g.SQL+"\n"))
		if g.Exists != "" {
			f.printf("Exists: %s,\nArgs: %s,\n", quoted("-- name: "+q.Name+"/exists :one\n"+g.Exists+"\n"), fmt.Sprintf("%#v", g.Args))
		}
		f.printf("}\n")
	}
	f.printf(")\n")
}

// quoted is a text between backquotes, if those keep it as it is.
func quoted(text string) string {
	if strings.ContainsAny(text, "`\r") {
		return strconv.Quote(text)
	}
	return "`" + text + "`"
}
