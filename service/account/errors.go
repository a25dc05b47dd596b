package account

import (
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// Refusals. Repeating the same request does not help until something else has changed.
var (
	// ErrEmailTaken is returned when somebody signed up with the address before, in
	// whatever case.
	ErrEmailTaken = errors.New("account: the e-mail address is taken")

	// ErrInvalid is returned when a field of a request can never be right. It comes as an
	// *InvalidError, which names the field.
	ErrInvalid = errors.New("account: invalid request")

	// ErrAmountNotPositive is returned when an amount is zero or negative. To move money
	// the other way, exchange the accounts.
	ErrAmountNotPositive = errors.New("account: the amount is not positive")

	// ErrSameAccount is returned when a transfer names one account twice.
	ErrSameAccount = errors.New("account: a transfer needs two different accounts")

	// ErrUnknownAccount is returned when there is no such account, or it is not a
	// customer's. It comes as an *UnknownAccountError, which says which one.
	ErrUnknownAccount = errors.New("account: no such account")

	// ErrNotOpen is returned when an account is frozen or closed: nothing moves to or from
	// it. It comes as a *NotOpenError.
	ErrNotOpen = errors.New("account: the account is not open")

	// ErrInsufficientFunds is returned when there is less in the account than the request
	// takes. It comes as an *InsufficientFundsError, which says how much there is.
	ErrInsufficientFunds = errors.New("account: insufficient funds")

	// ErrBalanceOverflow is returned when the receiving account would hold more than a
	// balance can express.
	ErrBalanceOverflow = errors.New("account: the balance would be too large")

	// ErrKeyReused is returned when a request carries the key of another one that differs
	// from it. Nothing was done now; what was done then is unchanged. Choose a new key for
	// a new request.
	ErrKeyReused = errors.New("account: the key belongs to another request")

	// ErrBusy is returned when somebody else is at the task that Exclusively was to do. It
	// comes as a *BusyError, which says which task. Try again later, or leave it to them.
	ErrBusy = errors.New("account: somebody else is at the task")
)

// An InvalidError is returned when a field of a request can never be right, such as a text
// that is too long. errors.Is(err, ErrInvalid) is true.
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

// An UnknownAccountError is returned when there is no such account, or it is not a
// customer's. errors.Is(err, ErrUnknownAccount) is true.
type UnknownAccountError struct {
	AccountID int64
}

func (e *UnknownAccountError) Error() string {
	return fmt.Sprintf("%v: %d", ErrUnknownAccount, e.AccountID)
}

func (e *UnknownAccountError) Is(target error) bool { return target == ErrUnknownAccount }

// A NotOpenError is returned when money was to move to or from an account that is frozen or
// closed. errors.Is(err, ErrNotOpen) is true.
type NotOpenError struct {
	AccountID int64
	Status    db.AccountStatus
}

func (e *NotOpenError) Error() string {
	return fmt.Sprintf("%v: %d is %s", ErrNotOpen, e.AccountID, e.Status)
}

func (e *NotOpenError) Is(target error) bool { return target == ErrNotOpen }

// An InsufficientFundsError is returned when there is less in an account than a request
// takes. errors.Is(err, ErrInsufficientFunds) is true.
type InsufficientFundsError struct {
	AccountID int64
	Available money.Minor // what the account held when the request was refused
	Needed    money.Minor // what the request takes
}

func (e *InsufficientFundsError) Error() string {
	return fmt.Sprintf("%v: account %d has %s, needed %s", ErrInsufficientFunds, e.AccountID, e.Available, e.Needed)
}

func (e *InsufficientFundsError) Is(target error) bool { return target == ErrInsufficientFunds }

// A BusyError is returned when somebody else is at a task. errors.Is(err, ErrBusy) is true.
type BusyError struct {
	Task Task
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%v: %s of account %d", ErrBusy, e.Task.Name, e.Task.Account)
}

func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// SQLSTATEs that this package decides by.
const (
	stateUniqueViolation = "23505"
	stateCheckViolation  = "23514"
	stateInvalidText     = "22021" // not UTF-8, or a zero byte
)

// fields says which field of a request a CHECK constraint speaks of.
var fields = map[string]string{
	"users_email_format":                          "Email",
	"users_name_length":                           "Name",
	"transfers_idempotency_key_length":            "Key",
	"transfers_memo_length":                       "Memo",
	"balance_certificates_idempotency_key_length": "Key",
}

// refused gives an error of a statement its meaning, where it is the request's fault.
func refused(err error) error {
	constraint := txn.ConstraintName(err)
	switch txn.SQLState(err) {
	case stateUniqueViolation:
		if constraint == "users_email_key" {
			return fmt.Errorf("%w: %w", ErrEmailTaken, err)
		}
	case stateCheckViolation:
		if field, ok := fields[constraint]; ok {
			return &InvalidError{Field: field, Err: err}
		}
	case stateInvalidText:
		return &InvalidError{Err: err}
	}
	return err
}
