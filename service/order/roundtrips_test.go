package order_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// What each call costs once the connection knows its statements.
func TestRoundTrips(t *testing.T) {
	s := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, s.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	user, mug, tray := s.user(t), s.product(t, 500, 100), s.product(t, 1200, 100)
	items := []order.Item{{ProductID: tray, Quantity: 1}, {ProductID: mug, Quantity: 2}}
	ids := []int64{
		s.placed(t, user, "warm", items...).OrderID,
		s.placed(t, user, "hot", items...).OrderID,
	}
	place := func(ctx context.Context, in txn.Transactor, discount order.Discount, key string) error {
		_, err := order.Place(ctx, in, discount, request(user, key, items...))
		return err
	}
	var many []order.Item
	for range 20 {
		many = append(many, order.Item{ProductID: s.product(t, 100, 10), Quantity: 1})
	}
	note := "n"
	for _, c := range []struct {
		name  string
		trips int
		call  func(ctx context.Context, key string) error
	}{
		{"place", 2, func(ctx context.Context, key string) error { return place(ctx, d, nil, key) }},
		{"place many products", 2, func(ctx context.Context, key string) error {
			_, err := order.Place(ctx, d, nil, request(user, key, many...))
			return err
		}},
		{"place again", 2, func(ctx context.Context, _ string) error { return place(ctx, d, nil, "place 0") }},
		{"place with a discount that reads", 3, func(ctx context.Context, key string) error {
			return place(ctx, d, order.LoyaltyDiscount(10, 5), key)
		}},
		{"two orders in one transaction", 3, func(ctx context.Context, key string) error {
			return txn.WithTx(ctx, d, txn.Options{Label: "test: both"}, func(ctx context.Context, tx *txn.Tx) error {
				if err := place(ctx, tx, nil, key+" one"); err != nil {
					return err
				}
				return place(ctx, tx, nil, key+" other")
			})
		}},
		{"update", 2, func(ctx context.Context, _ string) error {
			_, err := order.Update(ctx, d, order.UpdateRequest{OrderID: ids[0], Address: &home, Note: &note})
			return err
		}},
		{"set price", 1, func(ctx context.Context, _ string) error {
			_, err := order.SetPrice(ctx, d, order.Price{ProductID: mug, Price: 600})
			return err
		}},
		{"process", 4, func(ctx context.Context, key string) error { // two of them are of who credits
			_, err := order.Process(ctx, d, bank{}, order.ProcessRequest{
				Credit: credit(user, key), Prices: []order.Price{{ProductID: mug, Price: 600}, {ProductID: tray, Price: 1300}},
			})
			return err
		}},
		{"keep keys", 2, func(ctx context.Context, _ string) error {
			return txn.WithTx(ctx, d, txn.Options{Label: "test: keep"}, func(ctx context.Context, tx *txn.Tx) error {
				_, err := order.OrdersKeepingKeys(ctx, tx, user)
				return err
			})
		}},
		{"ship", 2, func(ctx context.Context, _ string) error {
			id := ids[0]
			ids = ids[1:]
			if err := s.setStatus(t, id, "confirmed"); err != nil {
				return err
			}
			return order.Ship(ctx, d, id)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.call(t.Context(), c.name+" 0"))
			proxy.Reset()
			require.NoError(t, c.call(t.Context(), fmt.Sprint(c.name, " 1")))
			require.Equal(t, c.trips, proxy.RoundTrips())
		})
	}
}
