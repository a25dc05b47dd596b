package txn

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A Key names an advisory lock: a lock on whatever the application agrees that it means.
// Keys are equal if they were made from equal names. The zero Key is not valid: it is refused
// with an *OptionsError.
type Key struct {
	id     int64
	shared bool
	name   string
}

// NewKey makes a key from a namespace, such as "invoice", and what is locked in it, such as
// a customer's number. Parts are told apart by their text as fmt prints it, so that int(7),
// int64(7) and "7" are one. PostgreSQL knows only the 64 bits of a hash (SHA-256): two names
// share one by chance once in billions of billions, and then wait for one another without
// need. The hash is the same in all versions of this package.
func NewKey(namespace string, parts ...any) Key {
	var name strings.Builder
	name.WriteString(namespace)
	h := sha256.New()
	write := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) } // no two lists write the same
	write(namespace)
	for _, p := range parts {
		text := fmt.Sprint(p)
		write(text)
		name.WriteString("/" + text)
	}
	return Key{id: int64(binary.BigEndian.Uint64(h.Sum(nil))), name: name.String()}
}

// Shared is the key for a lock that several may hold at once, but nobody together with an
// exclusive one.
func (k Key) Shared() Key {
	k.shared = true
	return k
}

// String returns the key's name.
func (k Key) String() string { return k.name }

// empty: all that forgot to name something would share one lock.
func (k Key) empty() bool { return k.name == "" }

var errEmptyKey = &OptionsError{"Locks", "a key is empty; make keys by NewKey"}

// function is the server's function that does what: "lock", "unlock", "xact_lock" …
func (k Key) function(what string) string {
	if k.shared {
		what += "_shared"
	}
	return "pg_advisory_" + what + "($1)"
}

// AdvisoryLock waits for the lock of the key, which the transaction then holds until it
// ends, or until a Savepoint around it is undone. LockTimeout bounds the wait
// (ErrLockNotAvailable); two transactions that wait for each other's key are a deadlock, of
// which the server ends one. A transaction may take a key more than once.
//
// At RepeatableRead and Serializable the transaction sees the database as it was when its
// first statement began, which was before the lock was granted: it does not see what the
// lock's last holder did. Take the lock by Options.Locks there.
func (tx *Tx) AdvisoryLock(ctx context.Context, k Key) error {
	if k.empty() {
		return errEmptyKey
	}
	_, err := tx.Exec(ctx, "select "+k.function("xact_lock"), k.id)
	return err
}

// TryAdvisoryLock is AdvisoryLock for those who would rather not wait: it reports whether
// the lock was granted.
func (tx *Tx) TryAdvisoryLock(ctx context.Context, k Key) (granted bool, err error) {
	if k.empty() {
		return false, errEmptyKey
	}
	what := "xact_lock"
	if k.shared {
		what += "_shared"
	}
	err = tx.QueryRow(ctx, "select pg_try_advisory_"+what+"($1)", k.id).Scan(&granted)
	return granted, err
}

// ordered returns the keys in the one order in which everybody takes them, each once, in
// its strongest form.
func ordered(keys []Key) []Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b Key) int {
		if a.id == b.id && a.shared != b.shared {
			if b.shared {
				return -1 // exclusive first: it stays
			}
			return 1
		}
		return cmp.Compare(a.id, b.id)
	})
	return slices.CompactFunc(keys, func(a, b Key) bool { return a.id == b.id })
}

// transactionLocks returns steps that take the locks for the transaction.
func transactionLocks(keys []Key) []step {
	steps := make([]step, 0, len(keys))
	for _, k := range ordered(keys) {
		steps = append(steps, step{kind: stepXactLock, sql: "select " + k.function("xact_lock"), args: []any{k.id}})
	}
	return steps
}

// sessionLocks returns steps that wait for the locks in a transaction of their own and keep
// them for the session. A transaction that begins afterwards takes its snapshot later than
// the locks.
func sessionLocks(keys []Key, settings []string) []step {
	steps := []step{{kind: stepLock, sql: "begin"}}
	for _, sql := range settings {
		steps = append(steps, step{kind: stepLock, sql: sql})
	}
	for _, k := range ordered(keys) {
		steps = append(steps, step{kind: stepLock, sql: "select " + k.function("lock"), args: []any{k.id}})
	}
	return append(steps, step{kind: stepLock, sql: "commit"})
}

// handover returns steps that give the session's locks to the transaction.
func handover(keys []Key) []step {
	var steps []step
	for _, k := range ordered(keys) {
		steps = append(steps, step{
			kind: stepLock,
			sql:  "select " + k.function("xact_lock") + ", " + k.function("unlock"),
			args: []any{k.id},
		})
	}
	return steps
}

// releaseLocks rolls back and gives back what the session may have locked, in one flush:
// behind a connection pooler the server may be another one afterwards.
func (t *transaction) releaseLocks(ctx context.Context) error {
	requests := []request{{sql: "rollback", ours: true}}
	for _, k := range ordered(t.opts.Locks) {
		requests = append(requests, request{sql: "select " + k.function("unlock"), args: []any{k.id}, ours: true})
	}
	t.used.RoundTrips++
	a, err := t.session.send(ctx, t.conn, requests)
	if err != nil {
		return err
	}
	for range requests {
		if _, err := a.Exec(); err != nil {
			_ = a.Close()
			return err
		}
	}
	return a.Close()
}
