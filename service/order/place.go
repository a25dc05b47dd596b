package order

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A PlaceRequest asks for products to be sent to somebody.
type PlaceRequest struct {
	UserID  int64
	Key     string // names the request, see the package documentation; 1 to 200 characters, not beginning with "reservation "
	Items   []Item // up to MaxItems products
	Address Address
	Method  db.PaymentMethod
	Note    string // at most 500 characters
}

// A Placed is an order that was made.
type Placed struct {
	OrderID  int64
	Subtotal money.Minor // of the items
	Discount money.Minor
	Total    money.Minor // what is to be paid
	At       time.Time   // when its transaction began, by the server's clock

	// Replayed is true when an earlier call with the same key had made the order, and this one
	// made none.
	Replayed bool
}

// Place makes an order of what a user wants, once for each key: it takes the goods out of stock,
// writes the order with its items at today's prices, notes the payment that is intended, and
// counts the order. discount may be nil.
//
// It locks the user, and then the products in the order of their ids, FOR NO KEY UPDATE, so that
// a user's orders come one after another, and orders of the same products do not deadlock. It is
// right at each isolation level; at READ COMMITTED only a key that another user has taken at the
// same time makes it run again. Without a discount that reads, it takes two round trips.
//
// It is refused with ErrInvalid, ErrQuantity, ErrUnknownUser, ErrInactiveUser, ErrUnknownProduct,
// ErrInactiveProduct, ErrInsufficientStock, ErrTotalOverflow, ErrDiscount or ErrKeyReused, or with
// the error of discount.
func Place(ctx context.Context, t txn.Transactor, discount Discount, r PlaceRequest) (Placed, error) {
	p, err := r.prepare()
	if err != nil {
		return Placed{}, err
	}
	opts := txn.Options{
		Label: "order: place",
		// The key was taken after it had been looked for. The next attempt finds the order.
		RetryAlso: []string{stateUniqueViolation},
	}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (Placed, error) {
		return p.place(ctx, tx, discount)
	})
}

// A placing is a request that can be right.
type placing struct {
	PlaceRequest        // with its items merged
	address      []byte // as it is stored
	digest       []byte
}

// prepare refuses what can never be right, before anything is sent.
func (r PlaceRequest) prepare() (placing, error) {
	switch {
	case r.Key == "" || !storable(r.Key) || strings.HasPrefix(r.Key, confirmationKey):
		return placing{}, &InvalidError{Field: "Key"}
	case !r.Method.Valid():
		return placing{}, &InvalidError{Field: "Method"}
	case !storable(r.Note):
		return placing{}, &InvalidError{Field: "Note"}
	}
	items, err := merged(r.Items)
	if err != nil {
		return placing{}, err
	}
	address, err := r.Address.document()
	if err != nil {
		return placing{}, err
	}
	r.Items = items
	digest, err := digestOf(r.UserID, items, r.Address, r.Method, r.Note)
	if err != nil {
		return placing{}, err
	}
	return placing{PlaceRequest: r, address: address, digest: digest}, nil
}

// digestOf is what a request's content comes to, in a form that tells any two apart.
func digestOf(content ...any) ([]byte, error) {
	document, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	digest := sha256.Sum256(document)
	return digest[:], nil
}

func (p placing) place(ctx context.Context, tx *txn.Tx, discount Discount) (Placed, error) {
	q := db.New(tx)
	userLock := q.Queued().LockUser(p.UserID)
	productLocks := q.Queued().LockProducts(column(p.Items, productOf))
	number := q.Queued().NextOrder()
	// After the user's lock: what another call with the key did under it is seen here.
	before, err := q.FindOrderByKey(ctx, p.Key)
	if err == nil {
		return p.replay(before) // it stays made, though it would be refused today
	}
	if !errors.Is(err, txn.ErrNotFound) {
		return Placed{}, fmt.Errorf("place: %w", refused(err))
	}
	user, err := orderer(userLock, p.UserID)
	if err != nil {
		return Placed{}, fmt.Errorf("place: %w", err)
	}
	products, err := productLocks.Value()
	if err != nil {
		return Placed{}, fmt.Errorf("place: %w", err)
	}
	ordered, err := lines(p.Items, products)
	if err != nil {
		return Placed{}, fmt.Errorf("place: %w", err)
	}
	placed, err := price(ctx, tx, discount, user, ordered)
	if err != nil {
		return Placed{}, fmt.Errorf("place: %w", err)
	}
	next, err := number.Value()
	if err != nil {
		return Placed{}, fmt.Errorf("place: %w", err)
	}
	placed.OrderID, placed.At = next.ID, next.CreatedAt
	return placed, p.write(q.Queued(), placed, ordered)
}

// orderer is the user whose lock was asked for, if it may order.
func orderer(lock *txn.Pending[db.User], id int64) (db.User, error) {
	user, err := lock.Value()
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return db.User{}, &UnknownUserError{UserID: id}
	case err != nil:
		return db.User{}, err
	case !user.Active:
		return db.User{}, &InactiveUserError{UserID: id}
	}
	return user, nil
}

// price says what the lines cost the user.
func price(ctx context.Context, tx *txn.Tx, discount Discount, user db.User, ordered []line) (Placed, error) {
	sum, err := subtotal(ordered)
	if err != nil {
		return Placed{}, err
	}
	placed := Placed{Subtotal: sum, Total: sum}
	if discount == nil {
		return placed, nil
	}
	if placed.Discount, err = discount(ctx, db.NewRead(tx), user, sum); err != nil {
		return Placed{}, err
	}
	if placed.Discount < 0 || placed.Discount > sum {
		return Placed{}, &DiscountError{Discount: placed.Discount, Subtotal: sum}
	}
	placed.Total = sum - placed.Discount
	return placed, nil
}

// write queues all that makes the order. The number is known, so that nothing waits for an
// answer.
func (p placing) write(q *db.QueuedQueries, placed Placed, ordered []line) error {
	q.TakeStock(db.TakeStockParams{Ids: column(p.Items, productOf), Quantities: column(p.Items, quantityOf)})
	q.CreateOrder(db.CreateOrderParams{
		ID: placed.OrderID, UserID: p.UserID, IdempotencyKey: p.Key, RequestDigest: p.digest, Status: db.OrderStatusPending,
		SubtotalMinor: placed.Subtotal, DiscountMinor: placed.Discount,
		ShippingAddress: p.address, PaymentMethod: p.Method, Note: p.Note,
	}).OnError(refused)
	q.CreateOrderItems(db.CreateOrderItemsParams{
		OrderID:      placed.OrderID,
		ProductIds:   column(p.Items, productOf),
		ProductNames: column(ordered, func(l line) string { return l.product.Name }),
		Quantities:   column(p.Items, quantityOf),
		UnitPrices:   column(ordered, func(l line) int64 { return int64(l.product.PriceMinor) }),
	})
	q.CreatePayment(db.CreatePaymentParams{
		OrderID: placed.OrderID, UserID: p.UserID, AmountMinor: placed.Total, Method: p.Method,
		ProviderKey: fmt.Sprintf("order-%d", placed.OrderID),
	})
	q.CountOrder(p.UserID)
	return logActivity(q, p.UserID, "place_order", placed.OrderID,
		map[string]any{"items": len(p.Items), "total_minor": placed.Total, "payment_method": p.Method})
}

// replay returns what was made of the key before, if that was the same request.
func (p placing) replay(o db.Order) (Placed, error) {
	if string(o.RequestDigest) != string(p.digest) {
		return Placed{}, fmt.Errorf("%w: key %q", ErrKeyReused, p.Key)
	}
	return Placed{
		OrderID: o.ID, Subtotal: o.SubtotalMinor, Discount: o.DiscountMinor, Total: o.TotalMinor, At: o.CreatedAt,
		Replayed: true,
	}, nil
}
