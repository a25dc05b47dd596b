// Package invariant says what must be true of the reference application's tables at any moment,
// as queries: for tests, and for the demonstration.
package invariant

import "slices"

// An Invariant is a query that returns no row while the books are right.
type Invariant struct{ Name, SQL string }

// All are what must be true at any moment, in one snapshot, of all nouns.
var All = slices.Concat(
	Account,
	Post,
	Order,
	Booking,
	CriticalRecord,
	Certificate,
	Checkout,
	Report,
)
