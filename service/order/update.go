package order

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// DefaultWait is how long Update waits for an order that somebody else has locked.
const DefaultWait = 5 * time.Second

// An UpdateRequest changes where an order goes, or what its sender is to know.
type UpdateRequest struct {
	OrderID int64
	Address *Address // nil leaves it as it is
	Note    *string  // nil leaves it as it is; at most 500 characters

	// Wait bounds the wait for the order's lock; zero is DefaultWait.
	Wait time.Duration
}

// Update changes address or note of an order that has not left the house, and returns the order as
// it is then. If others hold the order for longer than r.Wait, it is refused with ErrLocked.
//
// It locks the order FOR NO KEY UPDATE, and is right at each isolation level. r.Wait is a limit
// for each lock, not for the call: Update itself waits for one. It holds for this transaction
// alone, and for a joined one until Update returns; the connection goes back to the pool as it
// came.
//
// It is refused with ErrUnknownOrder, ErrNotChangeable, ErrLocked or ErrInvalid.
func Update(ctx context.Context, t txn.Transactor, r UpdateRequest) (db.Order, error) {
	if r.Wait < 0 {
		return db.Order{}, &InvalidError{Field: "Wait"}
	}
	if r.Wait == 0 {
		r.Wait = DefaultWait
	}
	change, err := r.change()
	if err != nil {
		return db.Order{}, err
	}
	opts := txn.Options{Label: "order: update", LockTimeout: r.Wait}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (db.Order, error) {
		q := db.New(tx)
		o, err := lockOrder(ctx, q, r.OrderID)
		if err != nil {
			return db.Order{}, fmt.Errorf("update: %w", err)
		}
		if !slices.Contains(changeable, o.Status) {
			return db.Order{}, fmt.Errorf("update: %w", &NotChangeableError{OrderID: o.ID, Status: o.Status})
		}
		q.Queued().UpdateOrder(change).OnError(refused)
		o.Version++
		if change.ShippingAddress != nil {
			o.ShippingAddress = *change.ShippingAddress
		}
		if change.Note != nil {
			o.Note = *change.Note
		}
		return o, logActivity(q.Queued(), o.UserID, "update_order", o.ID, nil)
	})
}

// changeable are the statuses in which an order is still in the house, or may be.
var changeable = []db.OrderStatus{db.OrderStatusPending, db.OrderStatusConfirmed, db.OrderStatusPaid}

func (r UpdateRequest) change() (db.UpdateOrderParams, error) {
	change := db.UpdateOrderParams{ID: r.OrderID, Note: r.Note}
	if r.Note != nil && !storable(*r.Note) {
		return change, &InvalidError{Field: "Note"}
	}
	if r.Address != nil {
		document, err := r.Address.document()
		if err != nil {
			return change, err
		}
		change.ShippingAddress = new(json.RawMessage)
		*change.ShippingAddress = document
	}
	return change, nil
}
