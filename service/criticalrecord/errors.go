package criticalrecord

import (
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// Refusals. Repeating the same request does not help until something else has changed.
var (
	// ErrInvalid is returned when a field of a request can never be right. It comes as an
	// *InvalidError, which names the field.
	ErrInvalid = errors.New("criticalrecord: invalid request")

	// ErrUnknownUser is returned when there is no such user.
	ErrUnknownUser = errors.New("criticalrecord: no such user")

	// ErrUnknownRecord is returned when there is no such record.
	ErrUnknownRecord = errors.New("criticalrecord: no such record")

	// ErrKeyReused is returned when a request carries the key of another one that differs from
	// it. Nothing was done now; what was done then is unchanged. Choose a new key for a new
	// request.
	ErrKeyReused = errors.New("criticalrecord: the key belongs to another request")

	// ErrChanged is returned when a record has been changed since the version that the request
	// is based on. It comes as a *ChangedError. Read the record, and decide anew.
	ErrChanged = errors.New("criticalrecord: the record was changed meanwhile")

	// ErrCorrupt is returned when what is stored is not what was written. It comes as a
	// *CorruptError, which says where. Nothing here repairs it.
	ErrCorrupt = errors.New("criticalrecord: what is stored is not what was written")
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

// A ChangedError is returned when a record has another version than the request is based on.
// errors.Is(err, ErrChanged) is true.
type ChangedError struct {
	RecordID int64
	Version  int64 // that the request is based on
	Current  int64 // that the record has
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%v: record %d has version %d, not %d", ErrChanged, e.RecordID, e.Current, e.Version)
}

func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

// A CorruptError is returned when what is stored is not what was written.
// errors.Is(err, ErrCorrupt) is true.
type CorruptError struct {
	RecordID int64
	Version  int64
	What     string // that does not fit
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: record %d, version %d: %s", ErrCorrupt, e.RecordID, e.Version, e.What)
}

func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// SQLSTATEs that this package decides by.
const (
	stateForeignKeyViolation = "23503"
	stateCheckViolation      = "23514"
	stateInvalidText         = "22021" // not UTF-8, or a zero byte
)

// fields says which field of a request a CHECK constraint speaks of.
var fields = map[string]string{
	"critical_records_request_key_length": "Key",
	"critical_records_data_length":        "Data",
}

// refused gives an error of a statement its meaning, where it is the request's fault.
func refused(err error) error {
	constraint := txn.ConstraintName(err)
	switch txn.SQLState(err) {
	case stateForeignKeyViolation:
		if constraint == "critical_records_user_id_fkey" || constraint == "critical_record_copies_user_id_fkey" {
			return fmt.Errorf("%w: %w", ErrUnknownUser, err)
		}
	case stateCheckViolation:
		if field, ok := fields[constraint]; ok {
			return &InvalidError{Field: field, Err: err}
		}
		if constraint == "critical_records_checksum_matches" {
			return &CorruptError{What: "the data arrived at the server otherwise than it was sent"}
		}
	case stateInvalidText:
		return &InvalidError{Err: err}
	}
	return err
}
