package report

import (
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// Refusals. Repeating the same request does not help.
var (
	// ErrInvalid is returned when a field of a request can never be right. It comes as an
	// *InvalidError, which names the field.
	ErrInvalid = errors.New("report: invalid request")

	// ErrKeyReused is returned when a report of this kind and key was computed in another way.
	// It is unchanged; choose a new key for a new report.
	ErrKeyReused = errors.New("report: the key belongs to a report that was computed in another way")
)

// An InvalidError is returned when a field of a request can never be right.
// errors.Is(err, ErrInvalid) is true.
type InvalidError struct {
	Field string // as the request's type calls it; "" if the server did not say
	Err   error  // what found it; nil if it was seen before anything was sent
}

func (e *InvalidError) Error() string {
	field := e.Field
	if field == "" {
		field = "text"
	}
	if e.Err == nil {
		return fmt.Sprintf("%v: %s", ErrInvalid, field)
	}
	return fmt.Sprintf("%v: %s: %v", ErrInvalid, field, e.Err)
}

func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }
func (e *InvalidError) Unwrap() error        { return e.Err }

// SQLSTATEs that this package decides by.
const (
	stateCheckViolation   = "23514"
	stateInvalidText      = "22021" // not UTF-8, or a zero byte
	stateLockNotAvailable = "55P03"
)

// fields says which field of a request a CHECK constraint speaks of.
var fields = map[string]string{
	"reports_kind_length":        "Kind",
	"reports_request_key_length": "Key",
}

// refused gives an error of a statement its meaning, where it is the request's fault.
func refused(err error) error {
	switch txn.SQLState(err) {
	case stateCheckViolation:
		if field, ok := fields[txn.ConstraintName(err)]; ok {
			return &InvalidError{Field: field, Err: err}
		}
	case stateInvalidText:
		return &InvalidError{Err: err}
	}
	return err
}
