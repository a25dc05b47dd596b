package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/annotation"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

func optimistic(r *run, s *Statement) {
	if s.Optimistic == "" {
		return
	}
	v, err := query.Version(s.SQL, s.Optimistic, r.catalog)
	if err != nil {
		r.err = err
		return
	}
	name := s.Optimistic
	switch {
	case v == nil:
		r.report(s, "", "@optimistic is for an UPDATE or DELETE: remove it")
	case v.Columns != nil:
		close := annotation.Closest(name, v.Columns)
		if close == "" {
			close = "one of " + strings.Join(v.Columns, ", ")
		}
		r.report(s, v.Table, "@optimistic names %s, and %s has no such column: %s was meant", name, v.Table, close)
	case !v.Tested:
		r.report(s, v.Table, "@optimistic %s, and the WHERE does not compare it to an argument: add AND %s = sqlc.arg(%s)", name, name, name)
	case !v.Deletes && !v.Incremented:
		r.report(s, v.Table, "@optimistic %s, and the UPDATE does not increment it: add SET %s = %s + 1", name, name, name)
	case !v.Keyed:
		r.report(s, v.Table, "@optimistic %s, and the rest of the WHERE does not find one row of %s by a unique key: compare all columns of one", name, v.Table)
	}
}

func noWhere(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if (t.By == "UPDATE" || t.By == "DELETE") && !t.Where && !t.Ordered {
			r.report(s, t.Table, "%s without WHERE is for all rows of %s: say which ones", t.By, t.Table)
		}
	}
}

// guard makes the statement's guard, if one row is demanded.
func guard(r *run, s *Statement) {
	if !s.AffectsOne && s.Optimistic == "" || slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Query == s.Name && f.Check == "optimistic" }) {
		return
	}
	var err error
	s.Guard, err = query.NewGuard(r.ctx, r.conn, s.SQL, s.Optimistic)
	if refused := (*query.RefusedError)(nil); errors.As(err, &refused) {
		r.report(s, "", "%s", refused.Reason)
	} else if err != nil {
		r.err = fmt.Errorf("%s: %s: %w", s.Position(), s.Name, err)
	}
}

func rowCount(r *run, s *Statement) {
	if s.Cmd != ":exec" || s.AffectsOne || s.Optimistic != "" {
		return
	}
	for _, t := range s.shape.Touches {
		if t.Top && t.One && (t.By == "UPDATE" || t.By == "DELETE") {
			r.report(s, t.Table, ":exec does not tell whether there was such a row of %s: add -- @affects one, or use :execrows", t.Table)
		}
	}
}

func offset(r *run, s *Statement) {
	if s.shape.Offset {
		r.report(s, "", "OFFSET reads what it skips, and misses or repeats rows when others come and go: begin behind the last key of the page before, WHERE id > sqlc.arg(after_id) ORDER BY id")
	}
}
