package order_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// Whatever the order's status was, it is cancelled, and no order at all is, too; the goods stay
// away.
func TestCancel(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naiveCheckout(t)
	exec(t, naive, "insert into naive_checkout.orders (status) values ('shipped')")
	for id, rows := range map[int64]int64{1: 1, 99: 0} {
		tag, err := naive.Exec(t.Context(), "update naive_checkout.orders set status = 'cancelled' where id = $1", id)
		require.NoError(t, err)
		require.Equal(t, rows, tag.RowsAffected())
	}
	require.Equal(t, "cancelled", fromTable[string](t, s, "select status from naive_checkout.orders"), "though it is on its way")

	mug, tray, b := s.product(t, 500, 10), s.product(t, 1200, 10), newOutside()
	confirmed, r, p := s.confirmed(t, b, "confirmed", order.Item{ProductID: mug, Quantity: 3}, order.Item{ProductID: tray, Quantity: 1})
	require.Empty(t, s.work(t, b))
	cancelled, err := order.Cancel(t.Context(), s.db, confirmed.OrderID)
	require.NoError(t, err)
	require.Equal(t, order.Cancelled{
		OrderID: confirmed.OrderID, Status: db.OrderStatusCancelled,
		Refund: order.Refund{ID: cancelled.Refund.ID, PaymentID: p.ID, Amount: 2700, Status: db.RefundStatusPending},
	}, cancelled)
	require.NotZero(t, cancelled.Refund.ID)
	require.EqualValues(t, 10, s.stock(t, mug))
	require.EqualValues(t, 10, s.stock(t, tray))
	require.Equal(t, db.ReservationStatusConfirmed, s.reservation(t, r.ID).Status, "it has led to an order")
	again, err := order.Cancel(t.Context(), s.db, confirmed.OrderID)
	require.NoError(t, err)
	cancelled.Replayed, cancelled.Refund.Replayed = true, true
	require.Equal(t, cancelled, again, "who has lost the first answer learns of the refund, too")
	require.EqualValues(t, 10, s.stock(t, mug))
	require.Empty(t, s.work(t, b))
	require.Len(t, b.effects, 2)
	require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status)

	// Placed and not paid: there is nothing to give back, and nobody asks the provider any more.
	placed := s.placed(t, s.user(t), "placed", order.Item{ProductID: mug, Quantity: 3})
	require.NoError(t, order.RequestCharge(t.Context(), s.db, placed.OrderID))
	cancelled, err = order.Cancel(t.Context(), s.db, placed.OrderID)
	require.NoError(t, err)
	require.Equal(t, order.Cancelled{OrderID: placed.OrderID, Status: db.OrderStatusCancelled}, cancelled)
	require.Empty(t, s.work(t, b))
	require.Len(t, b.effects, 2)
	require.EqualValues(t, 10, s.stock(t, mug))

	// Placed and paid.
	placed = s.placed(t, s.user(t), "paid", order.Item{ProductID: mug, Quantity: 3})
	require.NoError(t, order.RequestCharge(t.Context(), s.db, placed.OrderID))
	require.Empty(t, s.work(t, b))
	cancelled, err = order.Cancel(t.Context(), s.db, placed.OrderID)
	require.NoError(t, err)
	require.Equal(t, db.OrderStatusRefunded, cancelled.Status)
	require.Empty(t, s.work(t, b))
	require.EqualValues(t, 10, s.stock(t, mug))

	// On its way.
	confirmed, _, _ = s.confirmed(t, b, "shipped", order.Item{ProductID: mug, Quantity: 3})
	require.NoError(t, order.Ship(t.Context(), s.db, confirmed.OrderID))
	_, err = order.Cancel(t.Context(), s.db, confirmed.OrderID)
	require.Equal(t, &order.StatusError{OrderID: confirmed.OrderID, From: db.OrderStatusShipped, To: db.OrderStatusCancelled}, err)
	require.EqualValues(t, 7, s.stock(t, mug))
	const nobody = 1 << 40
	_, err = order.Cancel(t.Context(), s.db, nobody)
	require.Equal(t, &order.UnknownOrderError{OrderID: nobody}, err)
}

// Three at once, and somebody who ships it: goods and money go back once, or not at all.
func TestCancelOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	for _, level := range isolations {
		d := s.at(level)
		confirmed, _, p := s.confirmed(t, b, level.String(), order.Item{ProductID: mug, Quantity: 3})
		var cancelled [3]order.Cancelled
		var calls []func() error
		for n := range cancelled {
			calls = append(calls, func() (err error) {
				cancelled[n], err = order.Cancel(t.Context(), d, confirmed.OrderID)
				return err
			})
		}
		did := 0
		for n, err := range s.together(t, "products", []int64{mug}, calls...) {
			require.NoError(t, err, level)
			if !cancelled[n].Replayed {
				did++
			}
		}
		require.Equal(t, 1, did, level)
		require.EqualValues(t, 10, s.stock(t, mug), level)
		before := len(b.effects)
		require.Empty(t, s.work(t, b), level)
		require.Len(t, b.effects, before+1, level)
		require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, level)

		confirmed, _, p = s.confirmed(t, b, fmt.Sprint("shipped ", level), order.Item{ProductID: mug, Quantity: 3})
		errs := s.together(t, "orders", []int64{confirmed.OrderID},
			func() error { return order.Ship(t.Context(), d, confirmed.OrderID) },
			func() error {
				_, err := order.Cancel(t.Context(), d, confirmed.OrderID)
				return err
			})
		require.Empty(t, s.work(t, b), level)
		if errs[0] == nil {
			require.ErrorIs(t, errs[1], order.ErrStatus, level)
			require.EqualValues(t, 7, s.stock(t, mug), level)
			require.Equal(t, db.PaymentStatusCompleted, s.payment(t, p.ID).Status, level)
			s.set(t, "products", mug, "received = received + 3, stock = stock + 3")
		} else {
			require.ErrorIs(t, errs[0], order.ErrStatus, level)
			require.NoError(t, errs[1], level)
			require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, level)
		}
		require.EqualValues(t, 10, s.stock(t, mug), level)
	}
}
