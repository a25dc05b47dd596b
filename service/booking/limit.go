package booking

import "github.com/interlock-go/interlock/txn"

// LimitBy says what keeps two requests of one user from exceeding together what each of them
// keeps alone. The ways may be mixed: a request of one way waits for those of the other.
type LimitBy uint8

const (
	// LimitByLock makes the requests of a user wait for one another: each takes the lock of
	// UserKey before it counts. It is right at every isolation level, and never fails.
	LimitByLock LimitBy = iota

	// LimitBySerializable runs the request at SERIALIZABLE, where the server finds out what
	// could not have happened one after the other, and one of the requests is run again.
	// Requests of a user do not wait for one another, and neighbours in an index may be taken
	// for a conflict: better where such requests are rare, or where the transaction is
	// serializable for another reason.
	LimitBySerializable
)

// UserKey is the advisory lock that LimitByLock and Confirm take. A transaction above READ
// COMMITTED that they are to join begins with it, in Options.Locks: otherwise its snapshot
// would be older than the lock, and they refuse with txn.ErrOptionsConflict. LimitBySerializable
// takes it too, but shared.
func UserKey(user int64) txn.Key { return txn.NewKey("booking: user", user) }

// options are those of a transaction that takes a seat for a user.
func (l LimitBy) options(label string, user int64) txn.Options {
	opts := txn.Options{
		Label: label,
		Locks: []txn.Key{UserKey(user)},
		// A hold may have been made, and have ended, while the statement looked at the seats: it
		// is met in the index then. The next attempt sees it.
		RetryAlso: []string{stateUniqueViolation},
	}
	if l == LimitBySerializable {
		opts.Isolation = txn.Serializable
		opts.Locks[0] = opts.Locks[0].Shared() // only those who lock are kept away
	}
	return opts
}
