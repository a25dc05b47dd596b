package txn

// A QueryInfo says what a query does, as far as its statement tells: generated code has a list
// of them, by which an observer or a monitor can say more about a StatementEvent than the
// query's name. It is data; nothing in this package looks at it.
type QueryInfo struct {
	Name    string // of the query, as in StatementEvent.Query
	Command string // how sqlc runs it: "one", "many", "exec", "copyfrom" …
	Kind    QueryKind

	// Tables and views, in order of their names, those outside of public with their schema. A
	// table that is locked is not among those read. What a view, a trigger, a rule or a foreign
	// key leads to is not known, but for what Implied says of references.
	Reads  []string
	Writes []string
	Locks  []QueryLock

	// Implied are the row locks that no lock clause asks for: those of the rows that the
	// statement updates or deletes, and of the rows that new ones refer to by foreign keys.
	Implied []QueryLock

	AffectsOne bool   // it changes exactly one row, or fails with a *StaleError, ErrNotFound or *AffectedError
	Optimistic string // the version column by which it does, or ""

	Calls   []string // functions that write, or are the application's own
	Reasons []string // why Kind is LockQuery, where no lock says so
}

// A QueryKind is what a query needs.
type QueryKind string

const (
	ReadQuery  QueryKind = "read"  // only reads
	WriteQuery QueryKind = "write" // writes, and is complete in one statement
	LockQuery  QueryKind = "lock"  // needs a read-write transaction that goes on after it
)

// A QueryLock is a lock that a query takes: by a lock clause, by LOCK TABLE, or by changing rows.
type QueryLock struct {
	Table    string
	Strength string // "FOR NO KEY UPDATE", of rows; "SHARE ROW EXCLUSIVE", of the table
	Wait     string // "NOWAIT", "SKIP LOCKED", or "" for as long as lock_timeout says

	// Order is the ORDER BY by which rows are locked one after another, such as "id" or
	// "priority DESC, id"; "" if there is none, or it is by more than columns.
	Order string
}
