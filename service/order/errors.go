package order

import (
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// Refusals. Repeating the same request does not help until something else has changed, but for
// ErrLocked.
var (
	// ErrInvalid is returned when a field of a request can never be right. It comes as an
	// *InvalidError, which names the field.
	ErrInvalid = errors.New("order: invalid request")

	// ErrQuantity is returned when the quantity of an item is zero, negative, or too large to
	// add up. It comes as a *QuantityError, which names the product.
	ErrQuantity = errors.New("order: the quantity is not possible")

	// ErrUnknownUser is returned when there is no such user. It comes as an *UnknownUserError.
	ErrUnknownUser = errors.New("order: no such user")

	// ErrInactiveUser is returned when a user may not order any more. It comes as an
	// *InactiveUserError.
	ErrInactiveUser = errors.New("order: the user is not active")

	// ErrUnknownProduct is returned when there is no such product. It comes as an
	// *UnknownProductError, which says which one.
	ErrUnknownProduct = errors.New("order: no such product")

	// ErrInactiveProduct is returned when a product cannot be ordered any more. It comes as an
	// *InactiveProductError.
	ErrInactiveProduct = errors.New("order: the product is not active")

	// ErrInsufficientStock is returned when there is less of a product than the request takes.
	// It comes as an *InsufficientStockError, which says how much there is.
	ErrInsufficientStock = errors.New("order: insufficient stock")

	// ErrTotalOverflow is returned when an order would cost more than an amount can express.
	ErrTotalOverflow = errors.New("order: the total would be too large")

	// ErrDiscount is returned when a Discount is negative or larger than the order: the
	// function that computed it is wrong. It comes as a *DiscountError.
	ErrDiscount = errors.New("order: the discount is not possible")

	// ErrKeyReused is returned when a request carries the key of another one that differs
	// from it. Nothing was done now; what was done then is unchanged. Choose a new key for
	// a new request.
	ErrKeyReused = errors.New("order: the key belongs to another request")

	// ErrUnknownOrder is returned when there is no such order. It comes as an
	// *UnknownOrderError.
	ErrUnknownOrder = errors.New("order: no such order")

	// ErrNoOrders is returned when a user has no orders, where the request is about them. It comes
	// as a *NoOrdersError.
	ErrNoOrders = errors.New("order: the user has no orders")

	// ErrNotOrdered is returned when a product is in none of a user's orders, where the request
	// is about those. It comes as a *NotOrderedError.
	ErrNotOrdered = errors.New("order: the user has not ordered the product")

	// ErrStatus is returned when an order cannot go on to the status that the request needs.
	// It comes as a *StatusError, which has both.
	ErrStatus = errors.New("order: the status does not allow it")

	// ErrNotChangeable is returned when an order has gone too far for its address and note to
	// be changed. It comes as a *NotChangeableError, which has the status.
	ErrNotChangeable = errors.New("order: the order cannot be changed any more")

	// ErrLocked is returned when others held a row for longer than the request was ready to
	// wait. It comes in a chain with txn.ErrLockNotAvailable. The same request may succeed
	// later.
	ErrLocked = errors.New("order: in use by somebody else")
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

// A QuantityError is returned when the quantity of an item is zero, negative, or, together with
// other items of the same product, too large. errors.Is(err, ErrQuantity) is true.
type QuantityError struct {
	ProductID int64
	Quantity  int64 // of the item that was seen
}

func (e *QuantityError) Error() string {
	return fmt.Sprintf("%v: %d of product %d", ErrQuantity, e.Quantity, e.ProductID)
}

func (e *QuantityError) Is(target error) bool { return target == ErrQuantity }

// An UnknownUserError is returned when there is no such user. errors.Is(err, ErrUnknownUser)
// is true.
type UnknownUserError struct {
	UserID int64
}

func (e *UnknownUserError) Error() string        { return fmt.Sprintf("%v: %d", ErrUnknownUser, e.UserID) }
func (e *UnknownUserError) Is(target error) bool { return target == ErrUnknownUser }

// An InactiveUserError is returned when a user may not order any more.
// errors.Is(err, ErrInactiveUser) is true.
type InactiveUserError struct {
	UserID int64
}

func (e *InactiveUserError) Error() string        { return fmt.Sprintf("%v: %d", ErrInactiveUser, e.UserID) }
func (e *InactiveUserError) Is(target error) bool { return target == ErrInactiveUser }

// An UnknownProductError is returned when there is no such product.
// errors.Is(err, ErrUnknownProduct) is true.
type UnknownProductError struct {
	ProductID int64
}

func (e *UnknownProductError) Error() string {
	return fmt.Sprintf("%v: %d", ErrUnknownProduct, e.ProductID)
}

func (e *UnknownProductError) Is(target error) bool { return target == ErrUnknownProduct }

// An InactiveProductError is returned when a product cannot be ordered any more.
// errors.Is(err, ErrInactiveProduct) is true.
type InactiveProductError struct {
	ProductID int64
}

func (e *InactiveProductError) Error() string {
	return fmt.Sprintf("%v: %d", ErrInactiveProduct, e.ProductID)
}

func (e *InactiveProductError) Is(target error) bool { return target == ErrInactiveProduct }

// An InsufficientStockError is returned when there is less of a product than a request takes.
// errors.Is(err, ErrInsufficientStock) is true.
type InsufficientStockError struct {
	ProductID int64
	Available int64 // what was in stock when the request was refused
	Needed    int64 // what the request takes
}

func (e *InsufficientStockError) Error() string {
	return fmt.Sprintf("%v: %d of product %d are there, needed %d", ErrInsufficientStock, e.Available, e.ProductID, e.Needed)
}

func (e *InsufficientStockError) Is(target error) bool { return target == ErrInsufficientStock }

// A DiscountError is returned when a Discount is negative or larger than the order.
// errors.Is(err, ErrDiscount) is true.
type DiscountError struct {
	Discount money.Minor
	Subtotal money.Minor // of the order
}

func (e *DiscountError) Error() string {
	return fmt.Sprintf("%v: %s of %s", ErrDiscount, e.Discount, e.Subtotal)
}

func (e *DiscountError) Is(target error) bool { return target == ErrDiscount }

// An UnknownOrderError is returned when there is no such order. errors.Is(err, ErrUnknownOrder)
// is true.
type UnknownOrderError struct {
	OrderID int64
}

func (e *UnknownOrderError) Error() string        { return fmt.Sprintf("%v: %d", ErrUnknownOrder, e.OrderID) }
func (e *UnknownOrderError) Is(target error) bool { return target == ErrUnknownOrder }

// A NoOrdersError is returned when a user has no orders. errors.Is(err, ErrNoOrders) is true.
type NoOrdersError struct {
	UserID int64
}

func (e *NoOrdersError) Error() string        { return fmt.Sprintf("%v: %d", ErrNoOrders, e.UserID) }
func (e *NoOrdersError) Is(target error) bool { return target == ErrNoOrders }

// A NotOrderedError is returned when a product is in none of a user's orders.
// errors.Is(err, ErrNotOrdered) is true.
type NotOrderedError struct {
	UserID    int64
	ProductID int64
}

func (e *NotOrderedError) Error() string {
	return fmt.Sprintf("%v: product %d, user %d", ErrNotOrdered, e.ProductID, e.UserID)
}

func (e *NotOrderedError) Is(target error) bool { return target == ErrNotOrdered }

// A StatusError is returned when an order cannot go on to the status that a request needs.
// errors.Is(err, ErrStatus) is true.
type StatusError struct {
	OrderID  int64
	From, To db.OrderStatus
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%v: order %d is %s and cannot become %s", ErrStatus, e.OrderID, e.From, e.To)
}

func (e *StatusError) Is(target error) bool { return target == ErrStatus }

// A NotChangeableError is returned when an order has gone too far for its address and note to
// be changed. errors.Is(err, ErrNotChangeable) is true.
type NotChangeableError struct {
	OrderID int64
	Status  db.OrderStatus
}

func (e *NotChangeableError) Error() string {
	return fmt.Sprintf("%v: order %d is %s", ErrNotChangeable, e.OrderID, e.Status)
}

func (e *NotChangeableError) Is(target error) bool { return target == ErrNotChangeable }

// SQLSTATEs that this package decides by.
const (
	stateUniqueViolation = "23505"
	stateCheckViolation  = "23514"
	stateInvalidText     = "22021" // not UTF-8, or a zero byte
	stateInvalidJSONText = "22P05" // a zero byte in JSON
)

// fields says which field of a request a CHECK constraint speaks of.
var fields = map[string]string{
	"inventory_reservations_idempotency_key_length": "Key",
	"payments_provider_key_length":                  "Key",
	"refunds_reason_length":                         "Reason",

	"orders_idempotency_key_length":    "Key",
	"orders_note_length":               "Note",
	"orders_shipping_address_complete": "Address",
	"orders_shipping_address_length":   "Address",
}

// refused gives an error of a statement its meaning, where it is the request's fault.
func refused(err error) error {
	switch txn.SQLState(err) {
	case stateCheckViolation:
		if field, ok := fields[txn.ConstraintName(err)]; ok {
			return &InvalidError{Field: field, Err: err}
		}
	case stateInvalidText, stateInvalidJSONText:
		return &InvalidError{Err: err}
	}
	if errors.Is(err, txn.ErrLockNotAvailable) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return err
}
