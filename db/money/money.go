// Package money holds the type in which amounts of money are stored: whole minor units.
package money

import "strconv"

// Minor is an amount of money in minor units, such as cents. It is an integer, because
// binary floating point cannot hold 0.1 and sums drift (0.1 + 0.2 is not 0.3).
//
// The books are kept in one currency, so an amount carries none.
type Minor int64

// String renders the amount with two decimals: Minor(-1205) is "-12.05".
func (m Minor) String() string {
	sign, u := "", uint64(m)
	if m < 0 {
		sign, u = "-", -u
	}
	cents := strconv.FormatUint(u%100, 10)
	if len(cents) < 2 {
		cents = "0" + cents
	}
	return sign + strconv.FormatUint(u/100, 10) + "." + cents
}
