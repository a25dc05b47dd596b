package order_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// The answer to COMMIT is lost, and nobody finds out what became of it: the step is called again,
// as a saga does, and has been done once.
func TestLostCommitOfAStep(t *testing.T) {
	s := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, s.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{ResolveCommits: txn.ResolveNever}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	mug, b := s.product(t, 500, 10), newOutside()
	for moment, lost := range map[string]faultproxy.Fault{
		"before": {SQL: "^commit$", Do: faultproxy.Cut{}},
		"after":  {SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}},
	} {
		// twice calls a step whose first COMMIT is lost.
		twice := func(step string, call func(ctx context.Context) (replayed bool, err error)) {
			t.Helper()
			cut := proxy.Arm(lost)
			_, err := call(t.Context())
			require.NoError(t, cut.WaitSession(t.Context()))
			_, unknown := errors.AsType[*txn.CommitUnknownError](err)
			require.True(t, unknown, "%s, %s: %v", step, moment, err)
			replayed, err := call(t.Context())
			require.NoError(t, err, "%s, %s", step, moment)
			require.Equal(t, moment == "after", replayed, "%s, %s", step, moment)
		}
		user := s.user(t)
		var r order.Reservation
		reserve := func(key string) {
			twice("reserve", func(ctx context.Context) (_ bool, err error) {
				r, err = order.Reserve(ctx, d, order.ReserveRequest{UserID: user, Key: key, Items: []order.Item{{ProductID: mug, Quantity: 2}}})
				return r.Replayed, err
			})
			require.EqualValues(t, 8, s.stock(t, mug), moment)
		}
		var p order.Payment
		pay := func(key string) {
			twice("pay", func(ctx context.Context) (_ bool, err error) {
				p, err = order.RequestPayment(ctx, d, order.PaymentRequest{ReservationID: r.ID, Method: db.PaymentMethodCard, Key: key})
				return p.Replayed, err
			})
			require.Empty(t, s.work(t, b), moment)
		}
		reserve(moment + " ordered")
		pay(moment + " ordered")
		var confirmed order.Confirmed
		twice("confirm", func(ctx context.Context) (_ bool, err error) {
			confirmed, err = order.Confirm(ctx, d, confirmRequest(r, p))
			return confirmed.Replayed, err
		})
		twice("cancel", func(ctx context.Context) (bool, error) {
			cancelled, err := order.Cancel(ctx, d, confirmed.OrderID)
			return cancelled.Replayed, err
		})
		require.EqualValues(t, 10, s.stock(t, mug), moment)

		reserve(moment + " released")
		pay(moment + " released")
		twice("refund", func(ctx context.Context) (bool, error) {
			refund, err := order.RequestRefund(ctx, d, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
			return refund.Replayed, err
		})
		twice("release", func(ctx context.Context) (bool, error) {
			released, err := order.Release(ctx, d, r.ID)
			return released.Replayed, err
		})
		require.EqualValues(t, 10, s.stock(t, mug), moment)
		require.Empty(t, s.work(t, b), moment)
	}
	require.Len(t, b.effects, 4+4, "each was charged once, and got it back once")
}
