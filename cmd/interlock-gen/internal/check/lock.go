package check

import (
	"slices"
	"strings"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/query"
)

func lockOuterJoin(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if t.Nullable && t.Grouped == "" {
			r.report(s, t.Table, "%s reaches %s, for which the outer join may have no row, and PostgreSQL refuses that: name the tables of the other side behind OF",
				t.Strength, t.Table)
		}
	}
}

func lockGrouped(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if t.By == "SELECT" && t.Grouped != "" {
			r.report(s, t.Table, "%s stands beside %s, whose results are no rows that could be locked: lock the rows in a WITH query, and select from that",
				t.Strength, t.Grouped)
			return
		}
	}
}

// waits reports whether a touch can wait for somebody else's lock.
func waits(t query.Touch) bool { return t.Wait == "" }

func lockOrder(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if t.Ordered || !waits(t) || t.Grouped != "" {
			continue
		}
		key := t.Key
		if len(key) == 0 {
			key = []string{"a unique key"}
		}
		order := "ORDER BY " + strings.Join(key, ", ")
		const deadlock = "two transactions that meet them the other way round deadlock"
		switch {
		case t.By == "SELECT" && len(t.OrderBy) > 0:
			missing := slices.DeleteFunc(slices.Clone(key), func(name string) bool { return slices.Contains(t.OrderBy, name) })
			r.report(s, t.Table, "ORDER BY %s does not say in which order rows of %s are locked, and %s: add %s to it",
				strings.Join(t.OrderBy, ", "), t.Table, deadlock, strings.Join(missing, ", "))
		case t.By == "SELECT":
			r.report(s, t.Table, "it locks rows of %s in no certain order, and %s: add %s", t.Table, deadlock, order)
		case t.By == "INSERT":
			r.report(s, t.Table, "ON CONFLICT DO UPDATE locks rows of %s in no certain order, and %s: insert from a SELECT with ORDER BY", t.Table, deadlock)
		default:
			r.report(s, t.Table, "%s locks rows of %s in no certain order, and %s: lock them before, with %s %s in a WITH query that it joins",
				t.By, t.Table, deadlock, order, t.Strength)
		}
	}
}

// lockOrderMixed compares the order of a lock clause with those of the queries before it.
func lockOrderMixed(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if other, u := r.otherwise(s, t); other != nil {
			r.report(s, t.Table, "it locks rows of %s ordered by %s, and %s by %s: a transaction with the one deadlocks with a transaction with the other: choose one order",
				t.Table, strings.Join(t.Sequence, ", "), other.Name, strings.Join(u.Sequence, ", "))
		}
	}
}

// otherwise is the first statement before s that locks rows of the same table in another
// order, and where it does.
func (r *run) otherwise(s *Statement, t query.Touch) (*Statement, query.Touch) {
	for _, other := range r.all {
		if other == s {
			break
		}
		for _, u := range other.shape.Touches {
			if u.Table == t.Table && waits(t) && waits(u) && conflict(t, u) && differ(t, u) {
				return other, u
			}
		}
	}
	return nil, query.Touch{}
}

// differ reports whether two orders can meet two rows the other way round. A column that is
// the same in all rows of the one decides nothing between rows that both meet.
func differ(t, u query.Touch) bool {
	without := func(keys, pinned []string) []string {
		return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
			return slices.Contains(pinned, strings.TrimSuffix(key, " DESC"))
		})
	}
	a, b := without(t.Sequence, u.Pinned), without(u.Sequence, t.Pinned)
	return len(a) > 0 && len(b) > 0 && !slices.Equal(a, b)
}

// compatible are the strengths of which two transactions can hold one each, on a row.
var compatible = map[[2]string]bool{
	{"FOR KEY SHARE", "FOR KEY SHARE"}:     true,
	{"FOR KEY SHARE", "FOR SHARE"}:         true,
	{"FOR KEY SHARE", "FOR NO KEY UPDATE"}: true,
	{"FOR SHARE", "FOR SHARE"}:             true,
}

func conflict(t, u query.Touch) bool {
	return !compatible[[2]string{t.Strength, u.Strength}] && !compatible[[2]string{u.Strength, t.Strength}]
}

func lockDiscarded(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if t.By == "SELECT" && t.Top && s.Cmd == ":exec" && t.Grouped == "" {
			r.report(s, t.Table, ":exec does not tell whether there was a row of %s to lock: use :one or :many", t.Table)
		}
	}
}

func skipLocked(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if t.Wait != "SKIP LOCKED" || t.One && !t.Limited || t.Grouped != "" {
			continue
		}
		if !t.Limited {
			r.report(s, t.Table, "SKIP LOCKED without LIMIT takes all rows of %s that nobody else holds, and leaves other workers none: add LIMIT", t.Table)
		}
		if len(t.OrderBy) == 0 {
			r.report(s, t.Table, "SKIP LOCKED without ORDER BY takes whichever rows of %s come first, and some may never be: add ORDER BY", t.Table)
		}
	}
}

// lockStrength looks for a change that needs the strongest lock: where the lock serves the
// statement it stands in, there, and else in all queries. Where no foreign key refers to the
// table, the strongest makes nobody wait whom the next one would not.
func lockStrength(r *run, s *Statement) {
	for _, t := range s.shape.Touches {
		if t.By != "SELECT" || t.Strength != "FOR UPDATE" || t.Grouped != "" || changesKey(s, t.Table) || !r.catalog.Refers(t.Table) {
			continue
		}
		switch {
		case changes(s, t.Table):
			r.report(s, t.Table, "the statement changes no key of %s, and FOR UPDATE keeps others from inserting rows that refer to it: use FOR NO KEY UPDATE", t.Table)
		case !r.changesKey(t.Table):
			r.report(s, t.Table, "no query changes a key of %s or deletes from it, and FOR UPDATE keeps others from inserting rows that refer to it: use FOR NO KEY UPDATE", t.Table)
		}
	}
}

func (r *run) changesKey(table string) bool {
	for _, s := range r.all {
		if changesKey(s, table) {
			return true
		}
	}
	return false
}

func changesKey(s *Statement, table string) bool {
	for _, t := range s.shape.Touches {
		if t.Table == table && t.ChangesKey {
			return true
		}
	}
	return false
}

func changes(s *Statement, table string) bool {
	for _, t := range s.shape.Touches {
		if t.Table == table && t.By != "SELECT" {
			return true
		}
	}
	return false
}
