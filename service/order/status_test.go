package order_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// The program and the database allow the same: all pairs.
func TestStatuses(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	exec(t, naive, "update naive.orders set status = 'refunded' where id = 1")
	exec(t, naive, "update naive.orders set status = 'cancelled' where id = 1") // whatever it was

	for _, from := range db.AllOrderStatusValues() {
		for _, to := range db.AllOrderStatusValues() {
			require.Equal(t, order.MayBecome(from, to), fromTable[bool](t, s, "select order_may_become($1, $2)", from, to), "%s, %s", from, to)
		}
	}

	// By every way from the beginning, the trigger holds it.
	user, mug := s.user(t), s.product(t, 500, 1000)
	ways := map[db.OrderStatus][]db.OrderStatus{
		db.OrderStatusPending:   {},
		db.OrderStatusConfirmed: {db.OrderStatusConfirmed},
		db.OrderStatusPaid:      {db.OrderStatusPaid},
		db.OrderStatusShipped:   {db.OrderStatusConfirmed, db.OrderStatusPaid, db.OrderStatusShipped},
		db.OrderStatusCancelled: {db.OrderStatusCancelled},
		db.OrderStatusRefunded:  {db.OrderStatusConfirmed, db.OrderStatusRefunded},
	}
	for from, way := range ways {
		id := s.placed(t, user, string(from), order.Item{ProductID: mug, Quantity: 1}).OrderID
		for _, status := range way {
			require.NoError(t, s.setStatus(t, id, status), "%s, %s", from, status)
		}
		for _, to := range db.AllOrderStatusValues() {
			if to == from {
				continue // a change of something else
			}
			err := s.try(t, "update orders set status = $2, stock_returned = $3 where id = $1", id, to, ended(to))
			if order.MayBecome(from, to) {
				require.NoError(t, err, "%s, %s", from, to)
			} else {
				require.Equal(t, "orders_status_follows", txn.ConstraintName(err), "%s, %s: %v", from, to, err)
				require.Equal(t, "23514", txn.SQLState(err))
			}
		}
	}
}

// ended reports whether an order of a status has given its goods back here.
func ended(status db.OrderStatus) bool {
	return status == db.OrderStatusCancelled || status == db.OrderStatusRefunded
}

// setStatus moves an order on, past the service, and puts its goods back where it ends.
func (s *shop) setStatus(t *testing.T, id int64, to db.OrderStatus) error {
	t.Helper()
	return txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: set status"}, func(ctx context.Context, tx *txn.Tx) error {
		q := db.New(tx)
		if ended(to) {
			items, err := q.ListOrderItems(ctx, id)
			if err != nil {
				return err
			}
			r := db.ReturnStockParams{}
			for _, i := range items {
				r.Ids, r.Quantities = append(r.Ids, i.ProductID), append(r.Quantities, i.Quantity)
			}
			if _, err := q.LockProducts(ctx, r.Ids); err != nil {
				return err
			}
			if _, err := q.ReturnStock(ctx, r); err != nil {
				return err
			}
		}
		_, err := q.SetOrderStatus(ctx, db.SetOrderStatusParams{ID: id, Status: to, StockReturned: ended(to)})
		return err
	})
}

func TestShip(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 10)
	id := s.placed(t, user, "k", order.Item{ProductID: mug, Quantity: 1}).OrderID
	const nobodys = 1 << 40
	require.True(t, holds(order.Ship(t.Context(), s.db, nobodys), &order.UnknownOrderError{OrderID: nobodys}))
	err := order.Ship(t.Context(), s.db, id)
	require.True(t, holds(err, &order.StatusError{OrderID: id, From: db.OrderStatusPending, To: db.OrderStatusShipped}), "not paid: %v", err)
	require.Equal(t, db.OrderStatusPending, s.order(t, id).Status)

	// Two who ship it at once: one has to look for another parcel.
	for _, level := range isolations {
		d := s.at(level)
		id := s.placed(t, user, level.String(), order.Item{ProductID: mug, Quantity: 1}).OrderID
		require.NoError(t, s.setStatus(t, id, db.OrderStatusPaid))
		ship := func() error { return order.Ship(t.Context(), d, id) }
		errs := s.together(t, "orders", []int64{id}, ship, ship)
		if errs[0] != nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		require.NoError(t, errs[0], level)
		require.True(t, holds(errs[1], &order.StatusError{OrderID: id, From: db.OrderStatusShipped, To: db.OrderStatusShipped}), "%s: %v", level, errs[1])
		require.Equal(t, db.OrderStatusShipped, s.order(t, id).Status, level)
		require.EqualValues(t, 1, fromTable[int64](t, s, "select count(*) from activity_log where action = 'ship_order' and entity = $1", fmt.Sprint("orders:", id)), level)
	}
}
