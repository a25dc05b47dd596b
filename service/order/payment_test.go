package order_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// The payment is noted before the provider is asked, and is asked for by a job of the same
// transaction.
func TestPayment(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	r := s.reserved(t, "cart", order.Item{ProductID: mug, Quantity: 2})
	p := s.paymentFor(t, r, "pay 1")
	require.Equal(t, order.Payment{
		ID: p.ID, UserID: r.UserID, ReservationID: r.ID, Amount: 1000, Method: db.PaymentMethodCard, Status: db.PaymentStatusPending,
	}, p)
	require.Equal(t, p, s.payment(t, p.ID))
	require.Equal(t, []string{fmt.Sprintf(`order.charge {"payment_id": %d}`, p.ID)}, s.jobs(t))
	require.Empty(t, b.asked)

	require.Empty(t, s.work(t, b))
	require.Equal(t, []string{fmt.Sprintf("charge pay 1: 10.00 from %d by card", r.UserID)}, b.asked)
	p.Status = db.PaymentStatusCompleted
	require.Equal(t, p, s.payment(t, p.ID))
	require.Equal(t, b.effects["pay 1"], fromTable[string](t, s, "select charge_reference from payments where id = $1", p.ID))
	require.Empty(t, s.jobs(t))

	again, err := order.RequestPayment(t.Context(), s.db, order.PaymentRequest{ReservationID: r.ID, Method: db.PaymentMethodCard, Key: "pay 1"})
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, db.PaymentStatusCompleted, again.Status)
	require.Empty(t, s.jobs(t), "no second job")
	const nobody = 1 << 40
	_, err = order.FindPayment(t.Context(), s.db, nobody)
	require.Equal(t, &order.UnknownPaymentError{PaymentID: nobody}, err)
}

func TestPaymentRefusals(t *testing.T) {
	s := setup(t, txn.Config{})
	mug := s.product(t, 500, 10)
	open, unpaid := s.reserved(t, "open", order.Item{ProductID: mug, Quantity: 1}), s.reserved(t, "unpaid", order.Item{ProductID: mug, Quantity: 1})
	late, released := s.reserved(t, "late", order.Item{ProductID: mug, Quantity: 1}), s.reserved(t, "released", order.Item{ProductID: mug, Quantity: 1})
	s.age(t, late.ID)
	late = s.reservation(t, late.ID)
	_, err := order.Release(t.Context(), s.db, released.ID)
	require.NoError(t, err)
	payment := s.paymentFor(t, open, "taken")
	before := fromTable[string](t, s, checkoutSQL)
	const nobody, card = 1 << 40, db.PaymentMethodCard
	for name, c := range map[string]struct {
		request order.PaymentRequest
		want    error
	}{
		"no key":              {order.PaymentRequest{ReservationID: unpaid.ID, Method: card}, &order.InvalidError{Field: "Key"}},
		"space at the end":    {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: "taken "}, &order.InvalidError{Field: "Key"}},
		"space before":        {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: " taken"}, &order.InvalidError{Field: "Key"}},
		"line break":          {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: "a\nb"}, &order.InvalidError{Field: "Key"}},
		"not ASCII":           {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: "kéy"}, &order.InvalidError{Field: "Key"}},
		"an order's key":      {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: "order-9"}, &order.InvalidError{Field: "Key"}},
		"a refund's key":      {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: "refund 9/1"}, &order.InvalidError{Field: "Key"}},
		"no method":           {order.PaymentRequest{ReservationID: unpaid.ID, Key: "k"}, &order.InvalidError{Field: "Method"}},
		"unknown":             {order.PaymentRequest{ReservationID: nobody, Method: card, Key: "k"}, &order.UnknownReservationError{ReservationID: nobody}},
		"late":                {order.PaymentRequest{ReservationID: late.ID, Method: card, Key: "k"}, &order.ReservationEndedError{ReservationID: late.ID, Status: db.ReservationStatusActive, ExpiresAt: late.ExpiresAt}},
		"released":            {order.PaymentRequest{ReservationID: released.ID, Method: card, Key: "k"}, order.ErrReservationEnded},
		"paid":                {order.PaymentRequest{ReservationID: open.ID, Method: card, Key: "k"}, &order.PaymentExistsError{ReservationID: open.ID, PaymentID: payment.ID, Status: db.PaymentStatusPending}},
		"another method":      {order.PaymentRequest{ReservationID: open.ID, Method: db.PaymentMethodWallet, Key: "taken"}, order.ErrKeyReused},
		"another reservation": {order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: "taken"}, order.ErrKeyReused},
	} {
		p, err := order.RequestPayment(t.Context(), s.db, c.request)
		require.Zero(t, p, name)
		requireRefusal(t, c.want, err, name)
	}
	_, err = order.RequestPayment(t.Context(), s.db, order.PaymentRequest{ReservationID: unpaid.ID, Method: card, Key: strings.Repeat("k", 201)})
	require.ErrorIs(t, err, order.ErrInvalid)
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
}

// Whoever charges when it is called, charges when it is called again. Here two calls at once,
// and one more, are one payment: with one key, and with two.
func TestChargedOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naiveCheckout(t)
	for range 2 {
		exec(t, naive, "insert into naive_checkout.payments (amount) values (500)") // completed, whatever the provider says
	}
	require.EqualValues(t, 1000, fromTable[int64](t, s, "select sum(amount)::bigint from naive_checkout.payments"), "paid twice")

	mug, b := s.product(t, 500, 100), newOutside()
	for _, level := range isolations {
		d := s.at(level)
		if level == txn.ReadCommitted {
			d = s.db
		}
		for _, keys := range [][2]string{{"one", "one"}, {"one", "other"}} {
			name := fmt.Sprint(level, keys)
			r := s.reserved(t, name, order.Item{ProductID: mug, Quantity: 1})
			request := func(n int) func() error {
				return func() error {
					_, err := order.RequestPayment(t.Context(), d, order.PaymentRequest{
						ReservationID: r.ID, Method: db.PaymentMethodCard, Key: name + keys[n],
					})
					return err
				}
			}
			errs := errors.Join(s.together(t, "inventory_reservations", []int64{r.ID}, request(0), request(1))...)
			if keys[0] == keys[1] {
				require.NoError(t, errs, name)
			} else {
				require.ErrorIs(t, errs, order.ErrPaymentExists, name)
			}
			before := len(b.effects)
			require.Empty(t, s.work(t, b), name)
			require.Len(t, b.effects, before+1, name)
			require.Equal(t, 1, fromTable[int](t, s, "select count(*) from payments where reservation_id = $1", r.ID), name)
		}
	}
}

// The worker ends after the provider has charged, and before that is written down. The one that
// works the job again asks with the same key.
func TestWorkerEndsBetweenChargeAndRecord(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	killed := errors.New("killed")
	for name, lost := range map[string]func() error{
		"answer lost": func() error { return killed },
		"out of time": func() error { return context.DeadlineExceeded },
	} {
		r := s.reserved(t, name, order.Item{ProductID: mug, Quantity: 1})
		p := s.paymentFor(t, r, name)
		b.after = func(string) error { return lost() }
		before := len(b.effects)
		require.Len(t, s.work(t, b), 1, name)
		require.Len(t, b.effects, before+1, name)
		require.Equal(t, db.PaymentStatusPending, s.payment(t, p.ID).Status, name)
		b.after = nil
		require.Empty(t, s.work(t, b), name)
		require.Len(t, b.effects, before+1, "%s: the same key, the same charge", name)
		require.Equal(t, db.PaymentStatusCompleted, s.payment(t, p.ID).Status, name)
	}
}

// A worker that stops while the provider answers writes the answer down all the same.
func TestStoppingWorkerRecords(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	p := s.paymentFor(t, s.reserved(t, "cart", order.Item{ProductID: mug, Quantity: 1}), "pay")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	b.after = func(string) error {
		stop()
		return nil
	}
	job := jobOf[order.ChargeArgs](t, s.available(t)[0])
	require.NoError(t, (&order.ChargeWorker{DB: s.db, Provider: b}).Work(ctx, job))
	require.Equal(t, db.PaymentStatusCompleted, s.payment(t, p.ID).Status)
}

// The server has recorded the charge, and the answer to COMMIT is lost: the job is worked again,
// and finds nothing to do.
func TestLostAnswerOfRecord(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	proxy := txntest.NewProxy(t, s.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{ResolveCommits: txn.ResolveNever}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	for moment, lost := range map[string]faultproxy.Fault{
		"before": {SQL: "^commit$", Do: faultproxy.Cut{}},
		"after":  {SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}},
	} {
		p := s.paymentFor(t, s.reserved(t, moment, order.Item{ProductID: mug, Quantity: 1}), moment)
		job := jobOf[order.ChargeArgs](t, s.available(t)[0])
		w := &order.ChargeWorker{DB: d, Provider: b}
		cut := proxy.Arm(lost)
		err := w.Work(t.Context(), job)
		require.NoError(t, cut.WaitSession(t.Context()))
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%s: %v", moment, err)
		require.NoError(t, w.Work(t.Context(), job), moment)
		require.Equal(t, db.PaymentStatusCompleted, s.payment(t, p.ID).Status, moment)
		require.Empty(t, s.work(t, b), moment)
	}
	require.Len(t, b.effects, 2)
}

// A refusal is final, and leaves the reservation for another attempt.
func TestDeclined(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	b.declines["first"] = "card_expired"
	r := s.reserved(t, "cart", order.Item{ProductID: mug, Quantity: 1})
	first := s.paymentFor(t, r, "first")
	require.Empty(t, s.work(t, b))
	declined := s.payment(t, first.ID)
	require.Equal(t, db.PaymentStatusFailed, declined.Status)
	require.Equal(t, "card_expired", declined.DeclineCode)
	_, err := order.Confirm(t.Context(), s.db, confirmRequest(r, first))
	requireRefusal(t, &order.PaymentStatusError{PaymentID: first.ID, Status: db.PaymentStatusFailed}, err, "")
	again, err := order.RequestPayment(t.Context(), s.db, order.PaymentRequest{ReservationID: r.ID, Method: db.PaymentMethodCard, Key: "first"})
	require.NoError(t, err)
	require.True(t, again.Replayed, "the key stays that of the declined one")

	second := s.paymentFor(t, r, "second")
	require.Empty(t, s.work(t, b))
	_, err = order.Confirm(t.Context(), s.db, confirmRequest(r, second))
	require.NoError(t, err)
}

// What comes late, or again, changes nothing: neither another reference nor a refusal. If it is
// another answer about money than the one that is written down, the caller is told.
func TestResultIsRecordedOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	_, charged := s.paid(t, b, "charged", order.Item{ProductID: mug, Quantity: 1})
	b.declines["pay declined"] = "no"
	r := s.reserved(t, "declined", order.Item{ProductID: mug, Quantity: 1})
	declined := s.paymentFor(t, r, "pay declined")
	require.Empty(t, s.work(t, b))
	before := fromTable[string](t, s, checkoutSQL)
	for _, c := range []struct {
		result     order.ChargeResult
		contradict bool
	}{
		{order.ChargeResult{PaymentID: charged.ID, Reference: b.effects["pay charged"]}, false},
		{order.ChargeResult{PaymentID: charged.ID, Reference: "other"}, true},
		{order.ChargeResult{PaymentID: charged.ID, DeclineCode: "other"}, true},
		{order.ChargeResult{PaymentID: declined.ID, DeclineCode: "other"}, false},
		{order.ChargeResult{PaymentID: declined.ID, Reference: "other"}, true},
	} {
		p, err := order.RecordCharge(t.Context(), s.db, c.result)
		if c.contradict {
			require.ErrorIs(t, err, order.ErrContradiction, "%+v", c.result)
			require.Equal(t, &order.ContradictionError{PaymentID: c.result.PaymentID, Reference: c.result.Reference}, err)
			require.Zero(t, p)
			continue
		}
		require.NoError(t, err)
		require.True(t, p.Replayed)
	}
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
	_, err := order.RecordCharge(t.Context(), s.db, order.ChargeResult{PaymentID: charged.ID})
	require.ErrorIs(t, err, order.ErrInvalid)
	_, err = order.RecordCharge(t.Context(), s.db, order.ChargeResult{PaymentID: charged.ID, Reference: "r", DeclineCode: "c"})
	require.ErrorIs(t, err, order.ErrInvalid)
	const nobody = 1 << 40
	_, err = order.RecordCharge(t.Context(), s.db, order.ChargeResult{PaymentID: nobody, Reference: "r"})
	require.Equal(t, &order.UnknownPaymentError{PaymentID: nobody}, err)
}

// Somebody has written down that nothing was charged, while a worker still asks, and the provider
// charges: the worker does not end as if all were well.
func TestContradictionIsNotLost(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	p := s.paymentFor(t, s.reserved(t, "cart", order.Item{ProductID: mug, Quantity: 1}), "pay")
	b.after = func(string) error {
		_, err := order.RecordCharge(t.Context(), s.db, order.ChargeResult{PaymentID: p.ID, DeclineCode: "not there"})
		return err
	}
	errs := s.work(t, b)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], order.ErrContradiction)
	_, cancels := errors.AsType[*river.JobCancelError](errs[0])
	require.True(t, cancels, "another attempt would find nothing to do, and the error would be gone")
	require.Equal(t, db.PaymentStatusFailed, s.payment(t, p.ID).Status)

	exec(t, s.admin, "delete from river.river_job")
	_, paid := s.paid(t, newOutside(), "other", order.Item{ProductID: mug, Quantity: 1})
	refund, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: paid.ID, Reason: "test"})
	require.NoError(t, err)
	b.after = func(string) error {
		return order.RecordRefund(t.Context(), s.db, order.RefundResult{RefundID: refund.ID, DeclineCode: "not there"})
	}
	errs = s.work(t, b)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], order.ErrContradiction)
	_, cancels = errors.AsType[*river.JobCancelError](errs[0])
	require.True(t, cancels)
}

// The reservation ends while the provider charges. Whichever is written down first, the money
// goes back.
func TestChargedTooLate(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	for _, level := range isolations {
		d := s.at(level)
		r := s.reserved(t, level.String(), order.Item{ProductID: mug, Quantity: 1})
		p := s.paymentFor(t, r, "pay "+level.String())
		b.after = func(string) error {
			b.after = nil
			released, err := order.Release(t.Context(), d, r.ID)
			require.NoError(t, err)
			require.False(t, released.Replayed)
			require.Equal(t, db.PaymentStatusPending, s.payment(t, p.ID).Status, "the provider knows, nobody else")
			return nil
		}
		require.Empty(t, s.work(t, b), level)
		require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, level)

		r = s.reserved(t, "at once "+level.String(), order.Item{ProductID: mug, Quantity: 1})
		p = s.paymentFor(t, r, "pay at once "+level.String())
		exec(t, s.admin, "update payments set asked_at = now() where id = $1", p.ID)
		for _, err := range s.together(t, "inventory_reservations", []int64{r.ID},
			func() error {
				_, err := order.Release(t.Context(), d, r.ID)
				return err
			},
			func() error {
				_, err := order.RecordCharge(t.Context(), d, order.ChargeResult{PaymentID: p.ID, Reference: "charge " + level.String()})
				return err
			},
		) {
			require.NoError(t, err, level)
		}
		require.Equal(t, db.PaymentStatusRefunding, s.payment(t, p.ID).Status, level)
		require.Empty(t, s.work(t, b), level)
		require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, level)
	}
	require.EqualValues(t, 10, s.stock(t, mug))
}

// A provider forgets keys. Who asks after that might charge a second time, and so nobody does.
func TestUnsettledPayment(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	p := s.paymentFor(t, s.reserved(t, "cart", order.Item{ProductID: mug, Quantity: 1}), "pay")
	b.after = func(string) error { return errors.New("no answer") }
	require.Len(t, s.work(t, b), 1)
	exec(t, s.admin, "update payments set asked_at = now() - interval '22 hours' where id = $1", p.ID)
	require.Len(t, s.work(t, b), 1)
	require.Len(t, b.asked, 2)

	exec(t, s.admin, "update payments set asked_at = now() - interval '24 hours' where id = $1", p.ID)
	errs := s.work(t, b)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], order.ErrUnsettled)
	_, cancels := errors.AsType[*river.JobCancelError](errs[0])
	require.True(t, cancels)
	require.Len(t, b.asked, 2, "not asked again")
	require.Equal(t, db.PaymentStatusPending, s.payment(t, p.ID).Status)
	s.paymentFor(t, s.reserved(t, "other", order.Item{ProductID: mug, Quantity: 1}), "not asked for yet")
	unsettled, err := order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Equal(t, order.Unsettled{Payments: []order.Payment{p}, Refunds: []order.Refund{}}, unsettled)
	unsettled, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{After: 25 * time.Hour})
	require.NoError(t, err)
	require.Empty(t, unsettled.Payments)
	_, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{Limit: -1})
	require.ErrorIs(t, err, order.ErrInvalid)
	_, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{After: -1})
	require.ErrorIs(t, err, order.ErrInvalid)

	// Nobody has asked for it, though somebody should have long ago: its job is lost.
	forgotten := s.placed(t, s.user(t), "forgotten", order.Item{ProductID: mug, Quantity: 1})
	exec(t, s.admin, "update payments set created_at = now() - interval '24 hours' where order_id = $1", forgotten.OrderID)
	unsettled, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Len(t, unsettled.Payments, 2)
	require.Equal(t, forgotten.OrderID, unsettled.Payments[1].OrderID)
	require.NoError(t, order.RequestCharge(t.Context(), s.db, forgotten.OrderID))

	// Somebody has looked it up.
	_, err = order.RecordCharge(t.Context(), s.db, order.ChargeResult{PaymentID: p.ID, Reference: b.effects["pay"]})
	require.NoError(t, err)
	b.after = nil
	require.Empty(t, s.work(t, b))
	unsettled, err = order.FindUnsettled(t.Context(), s.db, order.UnsettledRequest{})
	require.NoError(t, err)
	require.Empty(t, unsettled.Payments)
}

// An order whose payment was declined is not paid any more: it gives its goods back.
func TestDeclinedOrderIsCancelled(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	place := func(key string) int64 {
		id := s.placed(t, s.user(t), key, order.Item{ProductID: mug, Quantity: 2}).OrderID
		b.declines[fmt.Sprintf("order-%d", id)] = "card_expired"
		require.NoError(t, order.RequestCharge(t.Context(), s.db, id))
		return id
	}
	id := place("declined")
	require.Empty(t, s.work(t, b))
	require.Equal(t, db.OrderStatusCancelled, s.order(t, id).Status)
	require.EqualValues(t, 10, s.stock(t, mug))
	require.Empty(t, b.letters)

	// Somebody accepts another one all the same, before the job is worked.
	id = place("accepted")
	charge := s.available(t)
	require.Len(t, charge, 1)
	require.NoError(t, s.workOne(t, b, charge[0]))
	exec(t, s.admin, "update river.river_job set state = 'completed', finalized_at = now() where id = $1", charge[0].id)
	s.set(t, "orders", id, "status = 'confirmed'")
	require.Equal(t, []string{fmt.Sprintf(`order.cancel_unpaid {"order_id": %d}`, id)}, s.jobs(t))
	require.Empty(t, s.work(t, b))
	require.Equal(t, db.OrderStatusConfirmed, s.order(t, id).Status)
	require.EqualValues(t, 8, s.stock(t, mug))
}

// What costs nothing moves no money.
func TestNothingToPay(t *testing.T) {
	s := setup(t, txn.Config{})
	gift, b := s.product(t, 0, 10), newOutside()
	_, _, p := s.confirmed(t, b, "cart", order.Item{ProductID: gift, Quantity: 1})
	require.Empty(t, b.asked)
	require.Equal(t, db.PaymentStatusCompleted, s.payment(t, p.ID).Status)
}

// The payment of an order that was placed without a reservation.
func TestChargeOfPlacedOrder(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	placed := s.placed(t, s.user(t), "cart", order.Item{ProductID: mug, Quantity: 2})
	for range 2 { // one job too many
		require.NoError(t, order.RequestCharge(t.Context(), s.db, placed.OrderID))
	}
	require.Empty(t, s.work(t, b))
	require.Len(t, b.effects, 1)
	require.Equal(t, db.OrderStatusPaid, s.order(t, placed.OrderID).Status)
	require.Len(t, b.letters, 1)
	err := order.RequestCharge(t.Context(), s.db, placed.OrderID)
	require.ErrorIs(t, err, order.ErrPaymentStatus)
	require.ErrorIs(t, order.RequestCharge(t.Context(), s.db, 1<<40), order.ErrUnknownPayment)

	// Cancelled while the provider charges.
	placed = s.placed(t, s.user(t), "cancelled", order.Item{ProductID: mug, Quantity: 2})
	require.NoError(t, order.RequestCharge(t.Context(), s.db, placed.OrderID))
	b.after = func(string) error {
		b.after = nil
		cancelled, err := order.Cancel(t.Context(), s.db, placed.OrderID)
		require.NoError(t, err)
		require.Zero(t, cancelled.Refund)
		return nil
	}
	require.Empty(t, s.work(t, b))
	require.Equal(t, "refunded", fromTable[string](t, s, "select status::text from payments where order_id = $1", placed.OrderID))
	require.Len(t, b.letters, 1)
}

// While the provider takes its time, nobody waits for a lock.
func TestProviderIsAskedOutsideOfTransactions(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{LockTimeout: 5 * time.Second}})
	mug, b := s.product(t, 500, 10), newOutside()
	r := s.reserved(t, "cart", order.Item{ProductID: mug, Quantity: 1})
	p := s.paymentFor(t, r, "pay")
	b.after = func(string) error {
		require.Zero(t, fromTable[int](t, s, `
			select count(*) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend' and xact_start is not null`))
		return pgx.BeginFunc(t.Context(), s.admin, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "select from payments, inventory_reservations r, products where payments.id = $1 for update nowait", p.ID)
			return err
		})
	}
	require.Empty(t, s.work(t, b))
}
