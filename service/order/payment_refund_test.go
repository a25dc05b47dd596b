package order_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// Without a look at the status, money goes back that was never taken, and as often as somebody
// asks.
func TestRefundOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naiveCheckout(t)
	exec(t, naive, "insert into naive_checkout.payments (amount, status) values (500, 'failed')")
	for range 2 {
		tag, err := naive.Exec(t.Context(), "update naive_checkout.payments set status = 'refunded' where id = 1")
		require.NoError(t, err)
		require.EqualValues(t, 1, tag.RowsAffected(), "and who asked the provider asked it twice")
	}
	tag, err := naive.Exec(t.Context(), "update naive_checkout.payments set status = 'refunded' where id = 99")
	require.NoError(t, err)
	require.Zero(t, tag.RowsAffected(), "no error either")

	mug, b := s.product(t, 500, 100), newOutside()
	for _, level := range isolations {
		d := s.at(level)
		_, p := s.paid(t, b, level.String(), order.Item{ProductID: mug, Quantity: 1})
		var refunds [3]order.Refund
		var calls []func() error
		for n := range refunds {
			calls = append(calls, func() (err error) {
				refunds[n], err = order.RequestRefund(t.Context(), d, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
				return err
			})
		}
		did := 0
		for n, err := range s.together(t, "payments", []int64{p.ID}, calls...) {
			require.NoError(t, err, level)
			require.Equal(t, refunds[0].ID, refunds[n].ID, level)
			if !refunds[n].Replayed {
				did++
			}
		}
		require.Equal(t, 1, did, level)
		before := len(b.effects)
		require.Empty(t, s.work(t, b), level)
		require.Len(t, b.effects, before+1, level)
		require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, level)

		again, err := order.RequestRefund(t.Context(), d, order.RefundRequest{PaymentID: p.ID, Amount: 500, Reason: "test"})
		require.NoError(t, err)
		require.True(t, again.Replayed)
		require.Equal(t, db.RefundStatusCompleted, again.Status)
		require.Empty(t, s.jobs(t))
	}
}

func TestRefundRefusals(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 100), newOutside()
	b.declines["pay failed"] = "no"
	failed := s.paymentFor(t, s.reserved(t, "failed", order.Item{ProductID: mug, Quantity: 1}), "pay failed")
	require.Empty(t, s.work(t, b))
	_, paid := s.paid(t, b, "paid", order.Item{ProductID: mug, Quantity: 1})
	confirmed, _, used := s.confirmed(t, b, "used", order.Item{ProductID: mug, Quantity: 1})
	require.Empty(t, s.work(t, b))
	pending := s.paymentFor(t, s.reserved(t, "pending", order.Item{ProductID: mug, Quantity: 1}), "pay pending")
	before := fromTable[string](t, s, checkoutSQL)
	const nobody = 1 << 40
	for name, c := range map[string]struct {
		request order.RefundRequest
		want    error
	}{
		"no reason": {order.RefundRequest{PaymentID: paid.ID}, &order.InvalidError{Field: "Reason"}},
		"negative":  {order.RefundRequest{PaymentID: paid.ID, Amount: -500, Reason: "r"}, &order.InvalidError{Field: "Amount"}},
		"too much":  {order.RefundRequest{PaymentID: paid.ID, Amount: 501, Reason: "r"}, &order.RefundAmountError{PaymentID: paid.ID, Paid: 500, Asked: 501}},
		"a part":    {order.RefundRequest{PaymentID: paid.ID, Amount: 499, Reason: "r"}, &order.RefundAmountError{PaymentID: paid.ID, Paid: 500, Asked: 499}},
		"unknown":   {order.RefundRequest{PaymentID: nobody, Reason: "r"}, &order.UnknownPaymentError{PaymentID: nobody}},
		"pending":   {order.RefundRequest{PaymentID: pending.ID, Reason: "r"}, &order.PaymentStatusError{PaymentID: pending.ID, Status: db.PaymentStatusPending}},
		"failed":    {order.RefundRequest{PaymentID: failed.ID, Reason: "r"}, &order.PaymentStatusError{PaymentID: failed.ID, Status: db.PaymentStatusFailed}},
		"an order's": {order.RefundRequest{PaymentID: used.ID, Reason: "r"},
			&order.PaymentInUseError{PaymentID: used.ID, OrderID: confirmed.OrderID, Status: db.OrderStatusConfirmed}},
	} {
		refund, err := order.RequestRefund(t.Context(), s.db, c.request)
		require.Zero(t, refund, name)
		requireRefusal(t, c.want, err, name)
	}
	_, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: paid.ID, Reason: strings.Repeat("r", 501)})
	requireRefusal(t, order.ErrInvalid, err, "")
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
	_, err = order.FindRefund(t.Context(), s.db, paid.ID)
	require.ErrorIs(t, err, order.ErrUnknownPayment)

	// Who goes around the service meets the constraints.
	for _, amount := range []int64{499, 501} {
		_, err := s.admin.Exec(t.Context(), "insert into refunds (payment_id, amount_minor, reason, provider_key) values ($1, $2, 'r', 'around')", paid.ID, amount)
		require.Equal(t, "refunds_payment_id_fkey", txn.ConstraintName(err))
	}
}

// Confirm and RequestRefund at once: either there is an order, or the money goes back.
func TestRefundOrOrder(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 100), newOutside()
	for _, level := range isolations {
		d := s.at(level)
		r, p := s.paid(t, b, level.String(), order.Item{ProductID: mug, Quantity: 1})
		errs := s.together(t, "payments", []int64{p.ID},
			func() error {
				_, err := order.Confirm(t.Context(), d, confirmRequest(r, p))
				return err
			},
			func() error {
				_, err := order.RequestRefund(t.Context(), d, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
				return err
			})
		if errs[0] == nil {
			require.ErrorIs(t, errs[1], order.ErrPaymentInUse, level)
		} else {
			require.ErrorIs(t, errs[0], order.ErrPaymentStatus, level)
			require.NoError(t, errs[1], level)
		}
		require.Empty(t, s.work(t, b), level)
	}
}

// The provider declines a refund: that is final for its key, and somebody asks anew.
func TestDeclinedRefund(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 100), newOutside()
	_, p := s.paid(t, b, "cart", order.Item{ProductID: mug, Quantity: 1})
	key := func(attempt int) string { return fmt.Sprintf("refund %d/%d", p.ID, attempt) }
	b.declines[key(1)] = "account_closed"
	first, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
	require.NoError(t, err)
	require.Empty(t, s.work(t, b))
	declined := s.refund(t, p.ID)
	require.Equal(t, db.RefundStatusFailed, declined.Status)
	require.Equal(t, "account_closed", declined.DeclineCode)
	require.Equal(t, db.PaymentStatusRefunding, s.payment(t, p.ID).Status, "it is still to go back")
	unsettled, err := order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Equal(t, order.Unsettled{Payments: []order.Payment{}, Refunds: []order.Refund{declined}}, unsettled)

	// What comes late, or again, changes nothing; that money went back all the same is said.
	before := fromTable[string](t, s, checkoutSQL)
	require.Equal(t, &order.ContradictionError{PaymentID: p.ID, RefundID: first.ID, Reference: "late"},
		order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: first.ID, Reference: "late"}))
	require.NoError(t, order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: first.ID, DeclineCode: "late"}))
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))

	second, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
	require.NoError(t, err)
	require.False(t, second.Replayed)
	require.NotEqual(t, first.ID, second.ID)
	require.Empty(t, s.work(t, b))
	require.Contains(t, b.effects, key(2))
	unsettled, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Empty(t, unsettled.Refunds)
	require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status)

	// The job of one is lost.
	_, lost := s.paid(t, b, "lost", order.Item{ProductID: mug, Quantity: 1})
	_, err = order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: lost.ID, Reason: "test"})
	require.NoError(t, err)
	exec(t, s.admin, "update refunds set created_at = now() - interval '24 hours' where payment_id = $1", lost.ID)
	unsettled, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Equal(t, []order.Refund{s.refund(t, lost.ID)}, unsettled.Refunds)

	// Several ask anew at once, at each level.
	for _, level := range isolations {
		d := s.at(level)
		_, p := s.paid(t, b, level.String(), order.Item{ProductID: mug, Quantity: 1})
		b.declines[fmt.Sprintf("refund %d/1", p.ID)] = "account_closed"
		request := func() error {
			_, err := order.RequestRefund(t.Context(), d, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
			return err
		}
		require.NoError(t, request())
		require.Empty(t, s.work(t, b), level)
		for _, err := range s.together(t, "payments", []int64{p.ID}, request, request) {
			require.NoError(t, err, level)
		}
		require.Empty(t, s.work(t, b), level)
		require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, level)
	}

	require.NoError(t, order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: second.ID, Reference: b.effects[key(2)]}))
	require.ErrorIs(t, order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: second.ID, DeclineCode: "c"}), order.ErrContradiction)
	require.ErrorIs(t, order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: second.ID}), order.ErrInvalid)
	require.ErrorIs(t, order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: 1 << 40, Reference: "r"}), order.ErrUnknownPayment)
}

// The worker ends after the provider has given the money back.
func TestWorkerEndsBetweenRefundAndRecord(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 100), newOutside()
	_, p := s.paid(t, b, "cart", order.Item{ProductID: mug, Quantity: 1})
	_, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
	require.NoError(t, err)
	b.after = func(string) error { return errors.New("killed") }
	require.Len(t, s.work(t, b), 1)
	b.after = nil
	require.Equal(t, db.RefundStatusPending, s.refund(t, p.ID).Status)
	require.Empty(t, s.work(t, b))
	require.Len(t, b.effects, 2, "one charge and one refund")
	require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status)

	exec(t, s.admin, "update refunds set status = 'pending', refund_reference = null, asked_at = now() - interval '24 hours'")
	exec(t, s.admin, "alter table payments disable trigger payments_status_follows; update payments set status = 'refunding'; alter table payments enable trigger payments_status_follows")
	job := jobOf[order.RefundArgs](t, work{args: []byte(fmt.Sprintf(`{"refund_id": %d}`, s.refund(t, p.ID).ID))})
	require.ErrorIs(t, (&order.RefundWorker{DB: s.db, Provider: b}).Work(t.Context(), job), order.ErrUnsettled)
	unsettled, err := order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Equal(t, []order.Refund{s.refund(t, p.ID)}, unsettled.Refunds)
}
