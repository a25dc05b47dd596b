package facade

import (
	"fmt"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

// kinds are the classes in the words of the library.
var kinds = map[query.Class]string{query.Read: "ReadQuery", query.Write: "WriteQuery", query.Lock: "LockQuery"}

func (w *writer) info(f *file) {
	f.uses["txn"] = true
	f.printf("\n// QueryInfo says what each query does, in the order of their names.\nvar QueryInfo = []txn.QueryInfo{\n")
	for _, q := range w.Queries {
		facts := w.facts[q.Name]
		f.printf("{\nName: %q, Command: %q, Kind: txn.%s,\n", q.Name, strings.TrimPrefix(q.Cmd, ":"), kinds[facts.Class])
		for _, field := range []struct {
			name   string
			values []string
		}{{"Reads", facts.Reads}, {"Writes", facts.Writes}, {"Calls", facts.Calls}, {"Reasons", facts.Because}} {
			if len(field.values) > 0 {
				f.printf("%s: %#v,\n", field.name, field.values)
			}
		}
		if g := facts.Guard; g != nil {
			f.printf("AffectsOne: true,\n")
			if g.Version != "" {
				f.printf("Optimistic: %q,\n", g.Version)
			}
		}
		f.locks("Locks", facts.Locks)
		f.locks("Implied", facts.Implied)
		f.printf("},\n")
	}
	f.printf("}\n")
}

// locks writes a field that lists locks, if there are any.
func (f *file) locks(field string, locks []query.TableLock) {
	if len(locks) == 0 {
		return
	}
	f.printf("%s: []txn.QueryLock{\n", field)
	for _, l := range locks {
		f.printf("{%s},\n", keyed([][2]string{{"Table", l.Table}, {"Strength", l.Strength}, {"Wait", l.Wait}, {"Order", l.Order}}))
	}
	f.printf("},\n")
}

// keyed are the fields that are not empty, as in a literal.
func keyed(fields [][2]string) string {
	var set []string
	for _, field := range fields {
		if field[1] != "" {
			set = append(set, fmt.Sprintf("%s: %q", field[0], field[1]))
		}
	}
	return strings.Join(set, ", ")
}
