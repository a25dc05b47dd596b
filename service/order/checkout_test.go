package order_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// The order has what was reserved, at the prices of then, and is paid by what was charged.
func TestConfirm(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, tray, b := s.product(t, 500, 10), s.product(t, 1200, 5), newOutside()
	r, p := s.paid(t, b, "cart", order.Item{ProductID: mug, Quantity: 2}, order.Item{ProductID: tray, Quantity: 1})
	s.set(t, "products", mug, "price_minor = 900, name = 'Cup', active = false, version = version + 1")
	request := confirmRequest(r, p)
	request.Note = "ring twice"
	confirmed, err := order.Confirm(t.Context(), s.db, request)
	require.NoError(t, err)
	require.Equal(t, order.Confirmed{OrderID: confirmed.OrderID, Total: 2200}, confirmed)

	o := s.order(t, confirmed.OrderID)
	require.Equal(t, db.OrderStatusConfirmed, o.Status)
	require.Equal(t, r.UserID, o.UserID)
	require.Equal(t, money.Minor(2200), o.TotalMinor)
	require.Equal(t, "ring twice", o.Note)
	items, err := db.Autocommit(s.db).ListOrderItems(t.Context(), o.ID)
	require.NoError(t, err)
	require.Equal(t, []db.OrderItem{
		{OrderID: o.ID, ProductID: mug, ProductName: "Mug", Quantity: 2, UnitPriceMinor: 500, TotalMinor: 1000},
		{OrderID: o.ID, ProductID: tray, ProductName: "Mug", Quantity: 1, UnitPriceMinor: 1200, TotalMinor: 1200},
	}, items)
	reservation := s.reservation(t, r.ID)
	require.Equal(t, db.ReservationStatusConfirmed, reservation.Status)
	require.Equal(t, o.ID, reservation.OrderID)
	require.Equal(t, o.ID, s.payment(t, p.ID).OrderID)
	require.EqualValues(t, 8, s.stock(t, mug))
	require.Equal(t, []string{fmt.Sprintf(`order.send_confirmation {"order_id": %d}`, o.ID)}, s.jobs(t))

	again, err := order.Confirm(t.Context(), s.db, request)
	require.NoError(t, err)
	require.Equal(t, order.Confirmed{OrderID: o.ID, Total: 2200, Replayed: true}, again)
	require.Len(t, s.jobs(t), 1, "no second letter")
}

// A confirmation makes the order's key of the reservation's number, which anybody can guess: were
// it there for those who place orders, too, they could keep others from theirs.
func TestKeyOfConfirmationIsNotForOthers(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	r, p := s.paid(t, b, "cart", order.Item{ProductID: mug, Quantity: 2})
	_, err := order.Place(t.Context(), s.db, nil, request(s.user(t), fmt.Sprint("reservation ", r.ID), order.Item{ProductID: mug, Quantity: 1}))
	require.Equal(t, &order.InvalidError{Field: "Key"}, err)
	_, err = order.Confirm(t.Context(), s.db, confirmRequest(r, p))
	require.NoError(t, err)
}

func TestConfirmRefusals(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 100), newOutside()
	r, p := s.paid(t, b, "paid", order.Item{ProductID: mug, Quantity: 1})
	_, others := s.paid(t, b, "others", order.Item{ProductID: mug, Quantity: 1})
	confirmed, used, usedBy := s.confirmed(t, b, "used", order.Item{ProductID: mug, Quantity: 1})
	require.Empty(t, s.work(t, b))
	released, refunded := s.paid(t, b, "released", order.Item{ProductID: mug, Quantity: 1})
	_, err := order.Release(t.Context(), s.db, released.ID)
	require.NoError(t, err)
	unpaid := s.reserved(t, "unpaid", order.Item{ProductID: mug, Quantity: 1})
	pending := s.paymentFor(t, unpaid, "pay unpaid")
	before := fromTable[string](t, s, checkoutSQL)
	const nobody = 1 << 40
	elsewhere := order.Address{Name: "Ada", Street: "Side Street 2", City: "London", Country: "GB"}
	for name, c := range map[string]struct {
		request order.ConfirmRequest
		want    error
	}{
		"no address":          {order.ConfirmRequest{ReservationID: r.ID, PaymentID: p.ID}, order.ErrInvalid},
		"bad note":            {order.ConfirmRequest{ReservationID: r.ID, PaymentID: p.ID, Address: home, Note: "a\x00b"}, &order.InvalidError{Field: "Note"}},
		"long note":           {order.ConfirmRequest{ReservationID: r.ID, PaymentID: p.ID, Address: home, Note: strings.Repeat("n", 501)}, order.ErrInvalid},
		"unknown reservation": {order.ConfirmRequest{ReservationID: nobody, PaymentID: p.ID, Address: home}, &order.UnknownReservationError{ReservationID: nobody}},
		"unknown payment":     {order.ConfirmRequest{ReservationID: r.ID, PaymentID: nobody, Address: home}, &order.UnknownPaymentError{PaymentID: nobody}},
		"another's payment":   {order.ConfirmRequest{ReservationID: r.ID, PaymentID: others.ID, Address: home}, &order.UnknownPaymentError{PaymentID: others.ID}},
		"an order's payment":  {order.ConfirmRequest{ReservationID: r.ID, PaymentID: usedBy.ID, Address: home}, &order.UnknownPaymentError{PaymentID: usedBy.ID}},
		"not charged":         {order.ConfirmRequest{ReservationID: unpaid.ID, PaymentID: pending.ID, Address: home}, &order.PaymentStatusError{PaymentID: pending.ID, Status: db.PaymentStatusPending}},
		"released":            {order.ConfirmRequest{ReservationID: released.ID, PaymentID: refunded.ID, Address: home}, order.ErrReservationEnded},
		"used, other address": {order.ConfirmRequest{ReservationID: used.ID, PaymentID: usedBy.ID, Address: elsewhere}, order.ErrReservationEnded},
		"used, other payment": {order.ConfirmRequest{ReservationID: used.ID, PaymentID: p.ID, Address: home}, order.ErrReservationEnded},
		"used, no payment":    {order.ConfirmRequest{ReservationID: used.ID, PaymentID: nobody, Address: home}, order.ErrReservationEnded},
	} {
		got, err := order.Confirm(t.Context(), s.db, c.request)
		require.Zero(t, got, name)
		requireRefusal(t, c.want, err, name)
		if ended, ok := errors.AsType[*order.ReservationEndedError](err); ok && ended.ReservationID == used.ID {
			require.Equal(t, confirmed.OrderID, ended.OrderID, name)
		}
	}
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
	require.Empty(t, s.work(t, b))
}

// Nothing keeps a second order from the same goods and the same money, where each call writes
// one: after a lost answer, say.
func TestOneOrderOfAReservation(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naiveCheckout(t)
	for range 2 {
		exec(t, naive, "insert into naive_checkout.orders (reservation_id, payment_id) values (1, 1)")
	}
	require.EqualValues(t, 2, fromTable[int64](t, s, "select count(*) from naive_checkout.orders where payment_id = 1"))

	mug, b := s.product(t, 500, 100), newOutside()
	for _, level := range isolations {
		d := s.at(level)
		r, p := s.paid(t, b, level.String(), order.Item{ProductID: mug, Quantity: 1})
		var confirmed [3]order.Confirmed
		var calls []func() error
		for n := range confirmed {
			calls = append(calls, func() (err error) {
				confirmed[n], err = order.Confirm(t.Context(), d, confirmRequest(r, p))
				return err
			})
		}
		did := 0
		for n, err := range s.together(t, "inventory_reservations", []int64{r.ID}, calls...) {
			require.NoError(t, err, level)
			require.Equal(t, confirmed[0].OrderID, confirmed[n].OrderID, level)
			if !confirmed[n].Replayed {
				did++
			}
		}
		require.Equal(t, 1, did, level)
		require.Len(t, s.jobs(t), 1, level)
		require.Empty(t, s.work(t, b), level)
	}
}

// Who confirms and who gives back meet at the reservation: the goods are one's or the other's.
func TestConfirmOrRelease(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 100), newOutside()
	ends := map[string]func(*txn.DB, order.Reservation) error{
		"release": func(d *txn.DB, r order.Reservation) error {
			_, err := order.Release(t.Context(), d, r.ID)
			return err
		},
		"expire": func(d *txn.DB, _ order.Reservation) error {
			_, err := order.ReleaseExpired(t.Context(), d, 10)
			return err
		},
	}
	for _, level := range isolations {
		for how, end := range ends {
			d, name := s.at(level), fmt.Sprint(level, how)
			before := s.stock(t, mug)
			r, p := s.paid(t, b, name, order.Item{ProductID: mug, Quantity: 1})
			s.age(t, r.ID)
			// The one that ends it takes the product's lock first, and waits there; the other one
			// goes on.
			var confirmed order.Confirmed
			holder := begin(t, s.admin)
			exec(t, holder, "select from products where id = $1 for no key update", mug)
			ending := async(func() error { return end(d, r) })
			waitBlocked(t, s.admin, 1)
			confirmed, err := order.Confirm(t.Context(), d, confirmRequest(r, p))
			require.NoError(t, err, "%s: the time is over, but the goods are still there", name)
			require.NoError(t, holder.Commit(t.Context()))
			err = <-ending
			if how == "release" {
				require.ErrorIs(t, err, order.ErrReservationEnded, name)
			} else {
				require.NoError(t, err, name)
			}
			require.Equal(t, db.ReservationStatusConfirmed, s.reservation(t, r.ID).Status, name)
			require.Equal(t, db.OrderStatusConfirmed, s.order(t, confirmed.OrderID).Status, name)
			require.Equal(t, before-1, s.stock(t, mug), name)

			// The other way round: the goods have gone back, and the money follows.
			r, p = s.paid(t, b, "ended "+name, order.Item{ProductID: mug, Quantity: 1})
			s.age(t, r.ID)
			require.NoError(t, end(d, r), name)
			_, err = order.Confirm(t.Context(), d, confirmRequest(r, p))
			require.ErrorIs(t, err, order.ErrReservationEnded, name)
			require.Equal(t, before-1, s.stock(t, mug), name)
			require.Empty(t, s.work(t, b), name)
			require.Equal(t, db.PaymentStatusRefunded, s.payment(t, p.ID).Status, name)
		}
	}
}

// A confirmation that is a part of a larger transaction leaves nothing when that is rolled back:
// no order, and no letter.
func TestConfirmIsUndoneWithItsTransaction(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	r, p := s.paid(t, b, "cart", order.Item{ProductID: mug, Quantity: 1})
	before := fromTable[string](t, s, checkoutSQL)
	broke := errors.New("the caller changed its mind")
	err := txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: outer"}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := order.Confirm(ctx, tx, confirmRequest(r, p)); err != nil {
			return err
		}
		return broke
	})
	require.ErrorIs(t, err, broke)
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
	require.Empty(t, s.work(t, b))
	require.Zero(t, b.sent)
}

// All of it in one go, as a saga would: forward, and back again from each step. Each step is
// called twice.
func TestCheckoutForwardAndBack(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 500, 10), newOutside()
	user := s.user(t)
	for last := 1; last <= 4; last++ {
		key := fmt.Sprint("checkout ", last)
		var reservation order.Reservation
		var payment order.Payment
		var confirmed order.Confirmed
		steps := []func() error{
			func() (err error) {
				reservation, err = order.Reserve(t.Context(), s.db, order.ReserveRequest{
					UserID: user, Key: key, Items: []order.Item{{ProductID: mug, Quantity: 2}},
				})
				return err
			},
			func() (err error) {
				payment, err = order.RequestPayment(t.Context(), s.db, order.PaymentRequest{
					ReservationID: reservation.ID, Method: db.PaymentMethodCard, Key: key,
				})
				return errors.Join(append(s.work(t, b), err)...)
			},
			func() (err error) {
				confirmed, err = order.Confirm(t.Context(), s.db, confirmRequest(reservation, payment))
				return err
			},
			func() error { return errors.Join(s.work(t, b)...) },
		}
		back := []func() error{
			func() error {
				_, err := order.Release(t.Context(), s.db, reservation.ID)
				if confirmed.OrderID != 0 { // it is the order's
					require.ErrorIs(t, err, order.ErrReservationEnded)
					return nil
				}
				return err
			},
			func() error {
				_, err := order.RequestRefund(t.Context(), s.db, order.RefundRequest{PaymentID: payment.ID, Reason: "the checkout failed"})
				return err
			},
			func() error {
				_, err := order.Cancel(t.Context(), s.db, confirmed.OrderID)
				return err
			},
			func() error { return nil },
		}
		for _, step := range steps[:last] {
			require.NoError(t, step(), key)
			require.NoError(t, step(), key)
		}
		require.EqualValues(t, 8, s.stock(t, mug), key)
		for n := last - 1; n >= 0; n-- {
			require.NoError(t, back[n](), key)
			require.NoError(t, back[n](), key)
		}
		require.Empty(t, s.work(t, b), key)
		require.EqualValues(t, 10, s.stock(t, mug), key)
		if last > 1 {
			require.Equal(t, db.PaymentStatusRefunded, s.payment(t, payment.ID).Status, key)
		}
	}
	require.Len(t, b.effects, 3+3, "three were charged, and three have it back")
	require.Len(t, b.letters, 1)
}
