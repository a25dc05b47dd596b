package txn

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that this package decides by. Their meaning is in appendix A of the PostgreSQL
// manual.
const (
	stateProtocolViolation     = "08P01"
	stateFeatureNotSupported   = "0A000"
	stateIdleInTransaction     = "25P03"
	stateTransactionTimeout    = "25P04"
	stateSerialization         = "40001"
	stateDeadlock              = "40P01"
	stateLockNotAvailable      = "55P03"
	stateQueryCanceled         = "57014"
	stateAdminShutdown         = "57P01"
	stateCrashShutdown         = "57P02"
	stateCannotConnectNow      = "57P03"
	stateIdleSession           = "57P05"
	stateInvalidParameter      = "22023"
	stateCheckViolation        = "23514"
	stateUnknownStatement      = "26000"
	stateUndefinedTable        = "42P01"
	stateInsufficientPrivilege = "42501"
	classConnection            = "08"
	classInsufficientResource  = "53"
	classNotSupported          = "0A"
	classSyntaxOrAccess        = "42"
	classInternal              = "XX"
)

// SQLState returns the SQLSTATE of the first server error in err's chain, or "".
func SQLState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// ConstraintName returns the name of the constraint that the first server error in err's
// chain reports as violated, or "". Decide by it together with SQLState: names are unique
// per table only.
func ConstraintName(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.ConstraintName
	}
	return ""
}

// IsRetryable reports whether repeating the whole transaction may help: a serialization
// failure, a deadlock, a cached plan that went stale, or a server or connection that was
// lost before COMMIT was sent. WithTx retries these by itself; the function is for those
// who run their own loop around it.
//
// It is false whenever err says that something was or may have been committed, and for
// everything else: constraint violations, cancelled statements, errors of the caller.
func IsRetryable(err error) bool {
	return classify(err) != final
}

// A verdict says what a failed attempt's error means for the next one.
type verdict int

const (
	final      verdict = iota // another attempt would not help, or could do work twice
	contention                // the server is healthy and asks for another attempt
	outage                    // the server or the way to it failed: retry within the budget
)

func classify(err error) verdict {
	if err == nil {
		return final
	}
	if _, other := errors.AsType[*otherError](err); other || tellsOfCommit(err) {
		return final
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case neverRetried(pg.Code):
			return final
		case pg.Code == stateSerialization, pg.Code == stateDeadlock, stalePlan(pg):
			return contention
		case strings.HasPrefix(pg.Code, classInsufficientResource),
			pg.Code == stateAdminShutdown, pg.Code == stateCrashShutdown, pg.Code == stateCannotConnectNow:
			return outage
		}
	}
	if _, lost := errors.AsType[*lostError](err); lost {
		return outage
	}
	return final
}

// neverRetried: the caller's own limits and wishes, which another attempt would only
// overstep again.
func neverRetried(code string) bool {
	switch code {
	case stateQueryCanceled, stateIdleInTransaction, stateTransactionTimeout, stateIdleSession:
		return true
	}
	return false
}

// stalePlan: "cached plan must not change result type", or a prepared statement that
// somebody deallocated. Both codes have other meanings; the server's routine, not the
// translated text, tells these.
func stalePlan(pg *pgconn.PgError) bool {
	return pg.Code == stateFeatureNotSupported && pg.Routine == "RevalidateCachedQuery" ||
		pg.Code == stateUnknownStatement && pg.Routine == "FetchPreparedStatement"
}
