package order_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// What each step of a checkout costs once the connection knows its statements.
func TestCheckoutRoundTrips(t *testing.T) {
	s := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, s.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL()+"&pool_max_conns=1", watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	mug, b, user := s.product(t, 500, 1000), newOutside(), s.user(t)
	item := order.Item{ProductID: mug, Quantity: 1}
	reserve := func(ctx context.Context, key string) error {
		_, err := order.Reserve(ctx, d, order.ReserveRequest{UserID: user, Key: key, Items: []order.Item{item}})
		return err
	}
	var fifty []order.Item
	for range 50 {
		fifty = append(fifty, order.Item{ProductID: s.product(t, 500, 1000), Quantity: 1})
	}
	// What the calls are about, made before any is counted.
	type subject struct {
		reservation order.Reservation
		payment     order.Payment
		order       int64
	}
	var reserved, pending, paid, refunding, late, placed, ordered, expired [2]subject
	for n := range 2 {
		key := fmt.Sprint("subject ", n)
		reserved[n].reservation = s.reserved(t, key+" reserved", item)
		paid[n].reservation, paid[n].payment = s.paid(t, b, key+" paid", item)
		refunding[n].reservation, refunding[n].payment = s.paid(t, b, key+" refunding", item)
		c, r, p := s.confirmed(t, b, key+" ordered", item)
		ordered[n] = subject{r, p, c.OrderID}
		require.Empty(t, s.work(t, b))
		_, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: refunding[n].payment.ID, Reason: "r"})
		require.NoError(t, err)
		pending[n].reservation = s.reserved(t, key+" pending", item)
		pending[n].payment = s.paymentFor(t, pending[n].reservation, key+" pay pending")
		late[n].reservation = s.reserved(t, key+" late", item)
		late[n].payment = s.paymentFor(t, late[n].reservation, key+" pay late")
		s.set(t, "payments", pending[n].payment.ID, "asked_at = now()")
		s.set(t, "payments", late[n].payment.ID, "asked_at = now()")
		_, err = order.Release(t.Context(), s.db, late[n].reservation.ID)
		require.NoError(t, err)
		placed[n].order = s.placed(t, user, key+" placed", item).OrderID
		expired[n].reservation = s.reserved(t, key+" expired", item)
		exec(t, s.admin, "delete from river.river_job")
	}
	for _, c := range []struct {
		name  string
		trips int
		call  func(ctx context.Context, n int) error
	}{
		{"reserve", 2, func(ctx context.Context, n int) error { return reserve(ctx, fmt.Sprint("new ", n)) }},
		{"reserve fifty products", 2, func(ctx context.Context, n int) error {
			_, err := order.Reserve(ctx, d, order.ReserveRequest{UserID: user, Key: fmt.Sprint("fifty ", n), Items: fifty})
			return err
		}},
		{"reserve again", 2, func(ctx context.Context, _ int) error { return reserve(ctx, "new 0") }},
		{"two reservations in one transaction", 3, func(ctx context.Context, n int) error {
			return txn.WithTx(ctx, d, txn.Options{Label: "test: both"}, func(ctx context.Context, tx *txn.Tx) error {
				for _, key := range []string{"one", "other"} {
					_, err := order.Reserve(ctx, tx, order.ReserveRequest{UserID: user, Key: fmt.Sprint(key, n), Items: []order.Item{item}})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{"request payment", 3, func(ctx context.Context, n int) error {
			_, err := order.RequestPayment(ctx, d, order.PaymentRequest{
				ReservationID: reserved[n].reservation.ID, Method: db.PaymentMethodCard, Key: fmt.Sprint("pay ", n),
			})
			return err
		}},
		{"record charge", 2, func(ctx context.Context, n int) error {
			_, err := order.RecordCharge(ctx, d, order.ChargeResult{PaymentID: pending[n].payment.ID, Reference: fmt.Sprint("charge ", n)})
			return err
		}},
		{"record charge again", 2, func(ctx context.Context, n int) error {
			_, err := order.RecordCharge(ctx, d, order.ChargeResult{PaymentID: pending[n].payment.ID, Reference: fmt.Sprint("charge ", n)})
			return err
		}},
		{"record charge too late", 4, func(ctx context.Context, n int) error {
			_, err := order.RecordCharge(ctx, d, order.ChargeResult{PaymentID: late[n].payment.ID, Reference: fmt.Sprint("late ", n)})
			return err
		}},
		{"confirm", 3, func(ctx context.Context, n int) error {
			_, err := order.Confirm(ctx, d, confirmRequest(paid[n].reservation, paid[n].payment))
			return err
		}},
		{"confirm again", 2, func(ctx context.Context, n int) error {
			_, err := order.Confirm(ctx, d, confirmRequest(paid[n].reservation, paid[n].payment))
			return err
		}},
		{"cancel an order that is paid", 3, func(ctx context.Context, n int) error {
			_, err := order.Cancel(ctx, d, ordered[n].order)
			return err
		}},
		{"cancel an order that is not paid", 2, func(ctx context.Context, n int) error {
			_, err := order.Cancel(ctx, d, placed[n].order)
			return err
		}},
		{"request refund again", 2, func(ctx context.Context, n int) error {
			_, err := order.RequestRefund(ctx, d, order.RefundRequest{PaymentID: refunding[n].payment.ID, Reason: "r"})
			return err
		}},
		{"record refund", 2, func(ctx context.Context, n int) error {
			return order.RecordRefund(ctx, d, order.RefundResult{RefundID: s.refund(t, refunding[n].payment.ID).ID, Reference: fmt.Sprint("refund ", n)})
		}},
		{"release what is paid", 3, func(ctx context.Context, n int) error {
			_, err := order.Release(ctx, d, pending[n].reservation.ID)
			return err
		}},
		{"release", 2, func(ctx context.Context, n int) error {
			_, err := order.Release(ctx, d, reserved[n].reservation.ID)
			return err
		}},
		{"release again", 2, func(ctx context.Context, n int) error {
			_, err := order.Release(ctx, d, reserved[n].reservation.ID)
			return err
		}},
		{"release expired", 3, func(ctx context.Context, n int) error {
			_, err := order.ReleaseExpired(ctx, d, 100)
			return err
		}},
		{"release expired, and there is none", 2, func(ctx context.Context, _ int) error {
			_, err := order.ReleaseExpired(ctx, d, 100)
			return err
		}},
		{"find a payment", 2, func(ctx context.Context, n int) error {
			_, err := order.FindPayment(ctx, d, paid[n].payment.ID)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := range 2 { // the first one prepares
				if c.name == "release expired" {
					s.age(t, expired[n].reservation.ID)
				}
				proxy.Reset()
				require.NoError(t, c.call(t.Context(), n))
			}
			require.Equal(t, c.trips, proxy.RoundTrips())
		})
	}
}
