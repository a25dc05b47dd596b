package invariant

// Report are what must be true of stored reports, as long as the books were right.
var Report = []Invariant{
	{
		"each report of one moment is balanced",
		`SELECT format('report %s (%s): balances %s, entries %s', id, way, balances_minor, entries_minor)
		FROM reports
		WHERE way NOT IN ('read_uncommitted', 'read_committed', 'row_locks') AND balances_minor <> entries_minor`,
	},
}
