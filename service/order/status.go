package order

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// following are the statuses that an order can go on to. The database holds the same ones, in
// order_may_become.
var following = map[db.OrderStatus][]db.OrderStatus{
	db.OrderStatusPending:   {db.OrderStatusConfirmed, db.OrderStatusPaid, db.OrderStatusCancelled},
	db.OrderStatusConfirmed: {db.OrderStatusPaid, db.OrderStatusShipped, db.OrderStatusCancelled, db.OrderStatusRefunded},
	db.OrderStatusPaid:      {db.OrderStatusShipped, db.OrderStatusRefunded},
	db.OrderStatusShipped:   {db.OrderStatusRefunded},
}

// MayBecome reports whether an order of one status can go on to another one. Nothing follows a
// cancelled or refunded order, and no status follows itself.
func MayBecome(from, to db.OrderStatus) bool { return slices.Contains(following[from], to) }

// Ship notes that an order has left the house, which can be said of one that is confirmed or
// paid, once.
//
// It locks the order FOR NO KEY UPDATE, and needs no more than READ COMMITTED. It is refused with
// ErrUnknownOrder or ErrStatus.
func Ship(ctx context.Context, t txn.Transactor, order int64) error {
	return txn.WithTx(ctx, t, txn.Options{Label: "order: ship"}, func(ctx context.Context, tx *txn.Tx) error {
		q := db.New(tx)
		o, err := lockOrder(ctx, q, order)
		if err != nil {
			return fmt.Errorf("ship: %w", err)
		}
		if err := move(q.Queued(), o, db.OrderStatusShipped, false); err != nil {
			return fmt.Errorf("ship: %w", err)
		}
		return logActivity(q.Queued(), o.UserID, "ship_order", o.ID, nil)
	})
}

// lockOrder locks an order in order to change it.
func lockOrder(ctx context.Context, q db.LockQuerier, id int64) (db.Order, error) {
	o, err := q.LockOrder(ctx, id)
	if errors.Is(err, txn.ErrNotFound) {
		return db.Order{}, &UnknownOrderError{OrderID: id}
	}
	if err != nil {
		return db.Order{}, fmt.Errorf("lock order: %w", refused(err))
	}
	return o, nil
}

// move queues that an order, whose lock the caller holds, goes on to a status. Whether its goods
// are in stock again is the caller's doing, too.
func move(q *db.QueuedQueries, o db.Order, to db.OrderStatus, stockReturned bool) error {
	if !MayBecome(o.Status, to) {
		return &StatusError{OrderID: o.ID, From: o.Status, To: to}
	}
	q.SetOrderStatus(db.SetOrderStatusParams{ID: o.ID, Status: to, StockReturned: stockReturned})
	return nil
}
