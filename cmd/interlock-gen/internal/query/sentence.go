package query

import "strings"

// String is the facts in a line: "Reads accounts. Locks users FOR SHARE NOWAIT." What the
// query is held to is not among them.
func (f *Facts) String() string {
	var s []string
	if len(f.Writes) > 0 {
		s = append(s, "Writes "+strings.Join(f.Writes, ", ")+".")
	}
	for _, l := range f.Locks {
		s = append(s, "Locks "+l.String()+".")
	}
	if len(f.Reads) > 0 {
		s = append(s, "Reads "+strings.Join(f.Reads, ", ")+".")
	}
	if len(f.Calls) > 0 {
		s = append(s, "Calls "+strings.Join(f.Calls, "(), ")+"().")
	}
	if len(f.Because) > 0 {
		s = append(s, "Needs a transaction: "+strings.Join(f.Because, "; ")+".")
	}
	if len(s) == 0 {
		return "Reads no table."
	}
	return strings.Join(s, " ")
}

// String is what the query is held to, in a line.
func (g *Guard) String() string {
	if g.Version != "" {
		return "Fails with a *txn.StaleError if the row has another " + g.Version + ", with txn.ErrNotFound if it is gone."
	}
	return "Fails with a *txn.AffectedError unless it changes one row."
}
