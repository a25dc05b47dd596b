package txn

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Errors of a handle or a call that was used in a way it does not allow. Nothing was sent
// to the server for the call that returned one.
var (
	// ErrTxDone is returned when a handle is used after the function it was given to has
	// returned, and for handles that are zero or nil, a *DB included.
	ErrTxDone = errors.New("txn: the handle cannot be used: its function has returned, or it is nil or zero")

	// ErrSuspended is returned when an outer handle is used while a Savepoint on it is
	// running. Use the handle that the Savepoint's function received. A function that returns
	// with a savepoint open that it began by Pgx fails with it, too.
	ErrSuspended = errors.New("txn: the handle is suspended while a savepoint on it is open: use the savepoint's own handle")

	// ErrPending is returned when a Pending is asked for its value before its statement was
	// sent. Call Flush, or run a statement that needs an answer.
	ErrPending = errors.New("txn: the queued statement was not sent yet")

	// ErrConcurrentUse is returned when two goroutines use one transaction at the same
	// time. A transaction belongs to one goroutine; start one per goroutine instead.
	ErrConcurrentUse = errors.New("txn: the transaction is in use by another goroutine")

	// ErrRowsOpen is returned when a statement is sent, or the transaction ends, while the
	// rows of an earlier query are still open. The text names that query. Close the rows
	// or read them to the end first.
	ErrRowsOpen = errors.New("txn: the rows of an earlier query are still open")

	// ErrNestedDB is returned when a *DB is used under the context of a transaction that is
	// open on the same pool: the second connection could wait for ever for the first. Pass
	// the handle instead, or use Detach for work that is independent on purpose.
	ErrNestedDB = errors.New("txn: the pool was used inside a transaction: pass the transaction's handle, or use Detach")

	// ErrManaged is returned when a statement that begins, ends or subdivides a transaction
	// is sent as text. WithTx commits and rolls back; Savepoint subdivides.
	ErrManaged = errors.New("txn: transaction control belongs to WithTx and Savepoint")

	// ErrOptionsConflict is returned when a call joins a transaction that does not have
	// what its Options ask for. The text names the option.
	ErrOptionsConflict = errors.New("txn: the options conflict with those of the transaction joined")
)

// Errors of a transaction that was not committed.
var (
	// ErrRollbackOnly is returned when a transaction cannot be committed any more because a
	// joined function or a statement in it failed, although that error was not returned.
	// It wraps the first failure.
	ErrRollbackOnly = errors.New("txn: the transaction can only be rolled back")

	// ErrAlreadyCommitted is returned when a transaction with the same IdempotencyKey was
	// committed before. Nothing was done now: take it as success, or read what was done then.
	ErrAlreadyCommitted = errors.New("txn: the work with this idempotency key was committed before")

	// ErrKeyReused is returned when an IdempotencyKey comes with another Fingerprint than the
	// one that was committed. Nothing was done now: choose a new key for new work.
	ErrKeyReused = errors.New("txn: the idempotency key belongs to other work")

	// ErrAcquireTimeout is returned when no connection became free within
	// Config.AcquireTimeout. Either the pool is too small for the load, or connections are
	// held by callers that wait for one another.
	ErrAcquireTimeout = errors.New("txn: no connection became free within the acquire timeout")

	// ErrLockNotAvailable is returned when a lock was not granted: at once with NOWAIT, else
	// within the lock timeout (SQLSTATE 55P03). It wraps the *pgconn.PgError.
	ErrLockNotAvailable = errors.New("txn: lock not available")
)

// Errors of a statement that did not find what its caller expected. They leave the
// transaction usable, unless they come in a *QueuedError.
var (
	// ErrNotFound is returned when the row asked for does not exist. It is pgx.ErrNoRows as
	// well (and sql.ErrNoRows).
	ErrNotFound error = notFoundError{}

	// ErrStale is returned when a row exists, but no longer in the version that the caller
	// read. Read it again and decide anew; do not repeat the same write.
	ErrStale = errors.New("txn: the row was changed since it was read")
)

type notFoundError struct{}

func (notFoundError) Error() string { return "txn: no such row" }
func (notFoundError) Unwrap() error { return pgx.ErrNoRows }

// An OptionsError is returned when an Options or Config value cannot be right whatever the
// database says. Nothing was begun.
type OptionsError struct {
	Field  string // the field's name, such as "LockTimeout"
	Reason string // what is wrong with it and what to do
}

func (e *OptionsError) Error() string { return "txn: option " + e.Field + ": " + e.Reason }

// A QueuedError is returned by the call that flushed a queued statement, when that failed:
// by the statement it travelled with, by Flush, or by the one that commits. The transaction
// can only be rolled back.
type QueuedError struct {
	Query string // the queued statement's name or beginning
	Err   error  // of the server, or what OnError made of it
}

func (e *QueuedError) Error() string { return "txn: queued " + e.Query + ": " + e.Err.Error() }
func (e *QueuedError) Unwrap() error { return e.Err }

// errQueuedAlone: see alone.
var errQueuedAlone = errors.New("txn: several statements in one text, COPY, the name of a prepared statement, and options of pgx cannot be queued: use Exec")

// ErrAnswerLost is returned by Pending.Value when the connection broke before the statement's
// answer came, and the transaction was found to be committed: the call that began it returned
// nil. What the statement answered can only be found by what it wrote.
var ErrAnswerLost = errors.New("txn: committed, but the statement's answer was lost")

// A StaleError is returned when an optimistic update met another version than the caller
// had read. errors.Is(err, ErrStale) is true.
type StaleError struct {
	Query string // the statement's name or beginning
}

func (e *StaleError) Error() string        { return ErrStale.Error() + ": " + e.Query }
func (e *StaleError) Is(target error) bool { return target == ErrStale }

// An AffectedError is returned when a statement changed another number of rows than it had
// to. The statement took effect within its transaction: return the error to undo it. In a
// *QueuedError, and from a statement that was its own transaction, it means that nothing was
// changed.
type AffectedError struct {
	Query string // the statement's name or command tag
	None  bool   // no row at all was changed
	Want  int64
	Got   int64 // -1 if not known
}

func (e *AffectedError) Error() string {
	if e.Got < 0 {
		return fmt.Sprintf("txn: %s changed another number of rows than %d", e.Query, e.Want)
	}
	return fmt.Sprintf("txn: %s changed %d rows, expected %d", e.Query, e.Got, e.Want)
}

// A RetriesExhaustedError is returned when the last of several attempts failed in a way
// that would have been retried. Nothing was committed. It wraps the last attempt's error.
type RetriesExhaustedError struct {
	Label    string
	Attempts int           // how often the function was run
	Elapsed  time.Duration // from the first attempt's start
	Err      error
}

func (e *RetriesExhaustedError) Error() string {
	return fmt.Sprintf("%s: gave up after %d attempts in %s: %v",
		subject(e.Label), e.Attempts, e.Elapsed.Round(time.Millisecond), e.Err)
}

func (e *RetriesExhaustedError) Unwrap() error { return e.Err }

// A CommitUnknownError is returned when COMMIT was sent, its answer was lost, and what
// became of it could not be found out: the transaction may have been committed or not. It is
// never retried, because a second run could do the work twice. Find out by what the work
// itself stored (a unique request id), or by pg_xact_status(XID) on the same server, and
// only then repeat it. With Options.IdempotencyKey the same call can simply be made again.
type CommitUnknownError struct {
	Label  string
	XID    string // the transaction's id, as pg_xact_status takes it; "" if not known
	Server string // where it ran: address and, if known, since when the server was running
	Why    string // why it could not be found out
	Err    error  // how the answer was lost
}

func (e *CommitUnknownError) Error() string {
	text := subject(e.Label) + ": the outcome of COMMIT is unknown, look for the work's effect before repeating it"
	if e.XID != "" {
		text += fmt.Sprintf(" (or ask pg_xact_status('%s') on %s)", e.XID, e.Server)
	}
	if e.Why != "" {
		text += "; not found out because " + e.Why
	}
	return text + ": " + e.Err.Error()
}

func (e *CommitUnknownError) Unwrap() error { return e.Err }

// A HookError is returned when a function registered with AfterCommit failed or panicked, or
// one registered with AfterRollback in a savepoint that was undone panicked. The transaction
// is committed: do not repeat it. The value of WithTxValue comes with it. Look for it before
// other errors: those that it wraps are the functions' own, and say nothing of the transaction.
//
// It is always the call's own: where a function returns the HookError, or the
// ErrAlreadyCommitted, of another transaction, and its own is rolled back for it, errors.Is
// and errors.As find in the result all but these two.
type HookError struct {
	Label string
	Err   error // all failures, joined
}

func (e *HookError) Error() string {
	return fmt.Sprintf("%s: committed, but a function that was to follow failed: %v", subject(e.Label), e.Err)
}

func (e *HookError) Unwrap() error { return e.Err }

// An otherError is a function's error that tells of the COMMIT of another transaction. The
// function's own is rolled back because of it, and its caller must not take it for committed.
type otherError struct{ err error }

// elsewhere is what a function's error says about the function's own transaction.
func elsewhere(err error) error {
	if err == nil {
		return nil
	}
	if _, known := errors.AsType[*otherError](err); known || !tellsOfCommit(err) {
		return err
	}
	return &otherError{err}
}

// tellsOfCommit reports whether the error says that work was committed, or may have been:
// then it must not be repeated.
func tellsOfCommit(err error) bool {
	if _, committed := errors.AsType[*HookError](err); committed || errors.Is(err, ErrAlreadyCommitted) {
		return true
	}
	_, unknown := errors.AsType[*CommitUnknownError](err)
	return unknown
}

func (e *otherError) Error() string {
	return "txn: rolled back because of another transaction: " + e.err.Error()
}

func (e *otherError) Is(target error) bool {
	return target != ErrAlreadyCommitted && errors.Is(e.err, target)
}

func (e *otherError) As(target any) bool {
	_, hook := target.(**HookError)
	return !hook && errors.As(e.err, target)
}

// An EndedError is returned when a statement's text ended the transaction behind its
// handle's back. Work done before it may be committed; nothing after it was run, and the
// connection was destroyed. errors.Is(err, ErrManaged) is true.
type EndedError struct {
	Query string // the statement's name or beginning
}

func (e *EndedError) Error() string {
	return "txn: a statement ended the transaction itself, earlier work may be committed: " + e.Query
}

func (e *EndedError) Is(target error) bool { return target == ErrManaged }

// A rollbackOnlyError says why a transaction is rollback-only.
type rollbackOnlyError struct {
	label string
	cause error
}

func (e *rollbackOnlyError) Error() string {
	if e.cause == nil {
		return subject(e.label) + ": rolled back"
	}
	return fmt.Sprintf("%s: rolled back because of an earlier failure: %v", subject(e.label), e.cause)
}

func (e *rollbackOnlyError) Is(target error) bool { return target == ErrRollbackOnly }
func (e *rollbackOnlyError) Unwrap() error        { return e.cause }

// A lostError is a connection that was lost before COMMIT was sent: nothing was committed.
type lostError struct{ err error }

func (e *lostError) Error() string {
	return "txn: connection lost, nothing was committed: " + e.err.Error()
}
func (e *lostError) Unwrap() error { return e.err }

// A lockError gives a server's 55P03 its name.
type lockError struct{ err error }

func (e *lockError) Error() string        { return ErrLockNotAvailable.Error() + ": " + e.err.Error() }
func (e *lockError) Is(target error) bool { return target == ErrLockNotAvailable }
func (e *lockError) Unwrap() error        { return e.err }

// A givenUpError is a statement that the server cancelled because its context had ended.
type givenUpError struct{ cause, err error }

func (e *givenUpError) Error() string   { return e.cause.Error() + ": " + e.err.Error() }
func (e *givenUpError) Unwrap() []error { return []error{e.cause, e.err} }

// subject is how an error's text names the transaction.
func subject(label string) string {
	if label == "" {
		return "txn"
	}
	return "txn " + label
}
