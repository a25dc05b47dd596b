package order_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestReserve(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, tray := s.product(t, 500, 10), s.product(t, 1200, 5)
	user := s.user(t)
	// Items of one product are added up, whatever their order.
	request := order.ReserveRequest{UserID: user, Key: "cart 1", Items: []order.Item{
		{ProductID: tray, Quantity: 1}, {ProductID: mug, Quantity: 2}, {ProductID: tray, Quantity: 3},
	}}
	r, err := order.Reserve(t.Context(), s.db, request)
	require.NoError(t, err)
	require.Equal(t, order.Reservation{
		ID: r.ID, UserID: user, Status: db.ReservationStatusActive, Total: 5800, ExpiresAt: r.ExpiresAt,
		Items: []order.ReservedItem{
			{ProductID: mug, ProductName: "Mug", Quantity: 2, UnitPrice: 500},
			{ProductID: tray, ProductName: "Mug", Quantity: 4, UnitPrice: 1200},
		},
	}, r)
	require.EqualValues(t, 8, s.stock(t, mug))
	require.EqualValues(t, 1, s.stock(t, tray))
	require.Equal(t, "00:15:00", fromTable[string](t, s, "select (expires_at - created_at)::text from inventory_reservations where id = $1", r.ID))
	require.Equal(t, r.ExpiresAt.UTC(), fromTable[time.Time](t, s, "select expires_at from inventory_reservations where id = $1", r.ID).UTC())

	// The price of then holds, whatever becomes of the product.
	s.set(t, "products", mug, "price_minor = 900, name = 'Cup', version = version + 1")
	again, err := order.Reserve(t.Context(), s.db, request)
	require.NoError(t, err)
	require.True(t, again.Replayed)
	again.Replayed = false
	require.Equal(t, r, again)
	require.Equal(t, r, s.reservation(t, r.ID))

	short, err := order.Reserve(t.Context(), s.db, order.ReserveRequest{
		UserID: user, Key: "cart 2", Items: []order.Item{{ProductID: mug, Quantity: 1}}, For: time.Minute,
	})
	require.NoError(t, err)
	require.Equal(t, "00:01:00", fromTable[string](t, s, "select (expires_at - created_at)::text from inventory_reservations where id = $1", short.ID))
}

// Nothing has changed after a refusal.
func TestReserveRefusals(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, gone, dear := s.product(t, 500, 10), s.product(t, 1, 10), s.product(t, math.MaxInt64/2, 10)
	s.set(t, "products", gone, "active = false")
	user, former := s.user(t), s.user(t)
	s.set(t, "users", former, "active = false")
	taken := s.reserved(t, "taken", order.Item{ProductID: mug, Quantity: 2})
	before := fromTable[string](t, s, checkoutSQL)
	const nobody = 1 << 40
	for name, c := range map[string]struct {
		request order.ReserveRequest
		want    error
	}{
		"no key":           {order.ReserveRequest{UserID: user, Items: []order.Item{{ProductID: mug, Quantity: 1}}}, &order.InvalidError{Field: "Key"}},
		"no items":         {order.ReserveRequest{UserID: user, Key: "k"}, &order.InvalidError{Field: "Items"}},
		"negative time":    {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 1}}, For: -1}, &order.InvalidError{Field: "For"}},
		"too long":         {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 1}}, For: 25 * time.Hour}, &order.InvalidError{Field: "For"}},
		"zero":             {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug}}}, &order.QuantityError{ProductID: mug}},
		"negative":         {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 3}, {ProductID: mug, Quantity: -1}}}, &order.QuantityError{ProductID: mug, Quantity: -1}},
		"too many":         {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 11}}}, &order.InsufficientStockError{ProductID: mug, Available: 8, Needed: 11}},
		"too many by two":  {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 5}, {ProductID: mug, Quantity: 6}}}, &order.InsufficientStockError{ProductID: mug, Available: 8, Needed: 11}},
		"unknown product":  {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 1}, {ProductID: nobody, Quantity: 1}}}, &order.UnknownProductError{ProductID: nobody}},
		"inactive product": {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: gone, Quantity: 1}}}, &order.InactiveProductError{ProductID: gone}},
		"overflow":         {order.ReserveRequest{UserID: user, Key: "k", Items: []order.Item{{ProductID: dear, Quantity: 3}}}, order.ErrTotalOverflow},
		"unknown user":     {order.ReserveRequest{UserID: nobody, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 1}}}, &order.UnknownUserError{UserID: nobody}},
		"inactive user":    {order.ReserveRequest{UserID: former, Key: "k", Items: []order.Item{{ProductID: mug, Quantity: 1}}}, &order.InactiveUserError{UserID: former}},
		"another quantity": {order.ReserveRequest{UserID: taken.UserID, Key: "taken", Items: []order.Item{{ProductID: mug, Quantity: 3}}}, order.ErrKeyReused},
		"another user":     {order.ReserveRequest{UserID: user, Key: "taken", Items: []order.Item{{ProductID: mug, Quantity: 2}}}, order.ErrKeyReused},
	} {
		r, err := order.Reserve(t.Context(), s.db, c.request)
		require.Zero(t, r, name)
		requireRefusal(t, c.want, err, name)
	}
	_, err := order.Reserve(t.Context(), s.db, order.ReserveRequest{
		UserID: user, Key: strings.Repeat("k", 201), Items: []order.Item{{ProductID: mug, Quantity: 1}},
	})
	require.ErrorIs(t, err, order.ErrInvalid)
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
}

// requireRefusal demands an error that is, or has in its chain, one that is equal to want.
func requireRefusal(t *testing.T, want, err error, name string) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if e == want || fmt.Sprintf("%#v", e) == fmt.Sprintf("%#v", want) {
			return
		}
	}
	require.ErrorIs(t, err, want, name)
}

// Who takes the products of a request in its own order meets somebody who has them the other
// way round; and a negative quantity puts goods into stock that were never there.
func TestReservationsDoNotDeadlock(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	naive := s.naiveCheckout(t)
	one, other := begin(t, naive), begin(t, naive)
	first, err := naiveReserve(t.Context(), one, order.Item{ProductID: 1, Quantity: 1})
	require.NoError(t, err)
	second, err := naiveReserve(t.Context(), other, order.Item{ProductID: 2, Quantity: 1})
	require.NoError(t, err)
	done := async(func() error { return naiveTake(t.Context(), one, first, order.Item{ProductID: 2, Quantity: 1}) })
	txntest.WaitBlocked(t, s.admin, int(one.Conn().PgConn().PID()))
	err = naiveTake(t.Context(), other, second, order.Item{ProductID: 1, Quantity: 1})
	require.ElementsMatch(t, []string{"", "40P01"}, []string{txn.SQLState(err), txn.SQLState(<-done)})
	require.NoError(t, one.Rollback(t.Context()))
	require.NoError(t, other.Rollback(t.Context()))
	tx := begin(t, naive)
	_, err = naiveReserve(t.Context(), tx, order.Item{ProductID: 1, Quantity: -5})
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.EqualValues(t, 15, s.naiveStock(t, 1), "five from nowhere")

	// Eight at once, half of them the other way round, no second attempt for any, and one more
	// than there is.
	mug, tray := s.product(t, 500, 7), s.product(t, 1200, 100)
	user := s.user(t)
	var calls []func() error
	for n := range 8 {
		items := []order.Item{{ProductID: mug, Quantity: 1}, {ProductID: tray, Quantity: 1}}
		if n%2 == 1 {
			items[0], items[1] = items[1], items[0]
		}
		calls = append(calls, func() error {
			_, err := order.Reserve(t.Context(), s.db, order.ReserveRequest{UserID: user, Key: fmt.Sprint("cart ", n), Items: items})
			return err
		})
	}
	refused := 0
	for _, err := range s.together(t, "products", []int64{mug, tray}, calls...) {
		if err != nil {
			requireRefusal(t, &order.InsufficientStockError{ProductID: mug, Available: 0, Needed: 1}, err, "")
			refused++
		}
	}
	require.Equal(t, 1, refused)
	require.Zero(t, s.stock(t, mug))
	require.EqualValues(t, 93, s.stock(t, tray))
}

// The same request twice at once, at each level, is one reservation.
func TestSameReservationAtOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	for _, level := range isolations {
		d := s.at(level)
		mug, user := s.product(t, 500, 3), s.user(t)
		var reservations [2]order.Reservation
		reserve := func(n int) func() error {
			return func() (err error) {
				reservations[n], err = order.Reserve(t.Context(), d, order.ReserveRequest{
					UserID: user, Key: level.String(), Items: []order.Item{{ProductID: mug, Quantity: 2}},
				})
				return err
			}
		}
		for _, err := range s.together(t, "products", []int64{mug}, reserve(0), reserve(1)) {
			require.NoError(t, err, level)
		}
		require.NotEqual(t, reservations[0].Replayed, reservations[1].Replayed, level)
		require.Equal(t, reservations[0].ID, reservations[1].ID, level)
		require.EqualValues(t, 1, s.stock(t, mug), level)
	}
}

// Two requests of one key that lock different products meet at the key.
func TestSameKeyForOtherGoodsAtOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	broke := errors.New("the caller changed its mind")
	for _, level := range isolations {
		for _, outcome := range []error{nil, broke} {
			d, name := s.at(level), fmt.Sprintf("%s, first one: %v", level, outcome)
			if level == txn.ReadCommitted {
				d = s.db // the second one needs a second attempt
			}
			mug, tray, user := s.product(t, 500, 3), s.product(t, 500, 3), s.user(t)
			reserve := func(ctx context.Context, in txn.Transactor, product int64) error {
				_, err := order.Reserve(ctx, in, order.ReserveRequest{UserID: user, Key: name, Items: []order.Item{{ProductID: product, Quantity: 1}}})
				return err
			}
			var second <-chan error
			err := txn.WithTx(t.Context(), d, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
				if err := reserve(ctx, tx, mug); err != nil {
					return err
				}
				if err := tx.Flush(ctx); err != nil {
					return err
				}
				second = async(func() error { return reserve(t.Context(), d, tray) })
				waitBlocked(t, s.admin, 1)
				return outcome
			})
			require.ErrorIs(t, err, outcome, name)
			if outcome == nil {
				require.ErrorIs(t, <-second, order.ErrKeyReused, name)
				require.EqualValues(t, 3, s.stock(t, tray), name)
			} else {
				require.NoError(t, <-second, name)
				require.EqualValues(t, 2, s.stock(t, tray), name)
			}
		}
	}
}

// What is put back before anybody looks at the status is put back as often as somebody asks.
func TestReleaseOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naiveCheckout(t)
	tx := begin(t, naive)
	id, err := naiveReserve(t.Context(), tx, order.Item{ProductID: 1, Quantity: 4})
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.EqualValues(t, 6, s.naiveStock(t, 1))
	for range 2 {
		require.NoError(t, pgx.BeginFunc(t.Context(), naive, func(tx pgx.Tx) error { return naiveRelease(t.Context(), tx, id) }))
	}
	require.EqualValues(t, 14, s.naiveStock(t, 1), "of ten")

	mug, tray := s.product(t, 500, 10), s.product(t, 1200, 5)
	r := s.reserved(t, "one after another", order.Item{ProductID: mug, Quantity: 4}, order.Item{ProductID: tray, Quantity: 1})
	require.EqualValues(t, 6, s.stock(t, mug))
	for n := range 2 {
		released, err := order.Release(t.Context(), s.db, r.ID)
		require.NoError(t, err)
		require.Equal(t, db.ReservationStatusReleased, released.Status)
		require.Equal(t, r.Items, released.Items)
		require.Equal(t, n == 1, released.Replayed)
		require.EqualValues(t, 10, s.stock(t, mug))
		require.EqualValues(t, 5, s.stock(t, tray))
	}

	for _, level := range isolations {
		d := s.at(level)
		r := s.reserved(t, level.String(), order.Item{ProductID: tray, Quantity: 2}, order.Item{ProductID: mug, Quantity: 4})
		var released [3]order.Reservation
		var calls []func() error
		for n := range released {
			calls = append(calls, func() (err error) {
				released[n], err = order.Release(t.Context(), d, r.ID)
				return err
			})
		}
		did := 0
		for n, err := range s.together(t, "products", []int64{mug}, calls...) {
			require.NoError(t, err, level)
			require.Equal(t, db.ReservationStatusReleased, released[n].Status, level)
			if !released[n].Replayed {
				did++
			}
		}
		require.Equal(t, 1, did, level)
		require.EqualValues(t, 10, s.stock(t, mug), level)
		require.EqualValues(t, 5, s.stock(t, tray), level)
	}

	const nobody = 1 << 40
	_, err = order.Release(t.Context(), s.db, nobody)
	require.Equal(t, &order.UnknownReservationError{ReservationID: nobody}, err)
	_, err = order.FindReservation(t.Context(), s.db, nobody)
	require.Equal(t, &order.UnknownReservationError{ReservationID: nobody}, err)
}

// A reservation that an order came of is not released: the order is cancelled instead.
func TestConfirmedIsNotReleased(t *testing.T) {
	s := setup(t, txn.Config{})
	mug := s.product(t, 500, 10)
	confirmed, r, _ := s.confirmed(t, newOutside(), "cart", order.Item{ProductID: mug, Quantity: 3})
	before := fromTable[string](t, s, checkoutSQL)
	_, err := order.Release(t.Context(), s.db, r.ID)
	require.ErrorIs(t, err, order.ErrReservationEnded)
	ended, ok := errors.AsType[*order.ReservationEndedError](err)
	require.True(t, ok)
	require.Equal(t, db.ReservationStatusConfirmed, ended.Status)
	require.Equal(t, confirmed.OrderID, ended.OrderID)
	require.Equal(t, before, fromTable[string](t, s, checkoutSQL))
	require.EqualValues(t, 7, s.stock(t, mug))
}

func TestReleaseExpired(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, tray := s.product(t, 500, 10), s.product(t, 1200, 10)
	var reservations []order.Reservation
	for n := range 5 {
		reservations = append(reservations, s.reserved(t, fmt.Sprint("cart ", n),
			order.Item{ProductID: mug, Quantity: 1}, order.Item{ProductID: tray, Quantity: 2}))
	}
	released, err := order.ReleaseExpired(t.Context(), s.db, 10)
	require.NoError(t, err)
	require.Zero(t, released)

	for _, r := range reservations[:4] {
		s.age(t, r.ID)
	}
	released, err = order.ReleaseExpired(t.Context(), s.db, 3)
	require.NoError(t, err)
	require.Equal(t, 3, released)
	require.EqualValues(t, 8, s.stock(t, mug))
	require.EqualValues(t, 6, s.stock(t, tray))
	released, err = order.ReleaseExpired(t.Context(), s.db, 3)
	require.NoError(t, err)
	require.Equal(t, 1, released)
	require.EqualValues(t, 9, s.stock(t, mug))
	for n, r := range reservations {
		want := db.ReservationStatusExpired
		if n == 4 {
			want = db.ReservationStatusActive
		}
		require.Equal(t, want, s.reservation(t, r.ID).Status)
	}

	// Who releases what has expired does nothing more.
	again, err := order.Release(t.Context(), s.db, reservations[0].ID)
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, db.ReservationStatusExpired, again.Status)
	require.EqualValues(t, 9, s.stock(t, mug))

	_, err = order.ReleaseExpired(t.Context(), s.db, 0)
	require.ErrorIs(t, err, order.ErrInvalid)
}

// Sweepers at once share the work, and pass over what somebody holds.
func TestSweepersAtOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	for _, level := range isolations {
		d := s.at(level)
		mug := s.product(t, 500, 10)
		var reservations []order.Reservation
		for n := range 4 {
			reservations = append(reservations, s.reserved(t, fmt.Sprint(level, n), order.Item{ProductID: mug, Quantity: 1}))
			s.age(t, reservations[n].ID)
		}
		var released [3]int
		var calls []func() error
		for n := range released {
			calls = append(calls, func() (err error) {
				released[n], err = order.ReleaseExpired(t.Context(), d, 10)
				return err
			})
		}
		for _, err := range s.together(t, "products", []int64{mug}, calls...) {
			require.NoError(t, err, level)
		}
		require.Equal(t, 4, released[0]+released[1]+released[2], level)
		require.EqualValues(t, 10, s.stock(t, mug), level)
	}

	mug := s.product(t, 500, 10)
	held, free := s.reserved(t, "held", order.Item{ProductID: mug, Quantity: 1}), s.reserved(t, "free", order.Item{ProductID: mug, Quantity: 1})
	s.paymentFor(t, held, "pay held")
	s.age(t, held.ID)
	s.age(t, free.ID)
	holder := begin(t, s.admin) // as Confirm does
	exec(t, holder, "select from inventory_reservations where id = $1 for no key update", held.ID)
	exec(t, holder, "select from payments where reservation_id = $1 for no key update", held.ID)
	released, err := order.ReleaseExpired(t.Context(), s.impatient(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, released)
	require.Equal(t, db.ReservationStatusActive, s.reservation(t, held.ID).Status)
	require.NoError(t, holder.Rollback(t.Context()))
}

// A worker of the periodic job ends when there is nothing left.
func TestExpiryWorker(t *testing.T) {
	s := setup(t, txn.Config{})
	mug := s.product(t, 500, 10)
	for n := range 5 {
		s.age(t, s.reserved(t, fmt.Sprint("cart ", n), order.Item{ProductID: mug, Quantity: 1}).ID)
	}
	require.NoError(t, (&order.ExpiryWorker{DB: s.db, Batch: 2}).Work(t.Context(), nil))
	require.EqualValues(t, 10, s.stock(t, mug))
	require.Len(t, order.PeriodicJobs(), 1)
}

// Money that was taken goes back with the goods; what the provider was not asked for never is.
func TestPaymentsEndWithTheirReservation(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *shop, order.Reservation){
		"released": func(t *testing.T, s *shop, r order.Reservation) {
			_, err := order.Release(t.Context(), s.db, r.ID)
			require.NoError(t, err)
		},
		"expired": func(t *testing.T, s *shop, r order.Reservation) {
			s.age(t, r.ID)
			released, err := order.ReleaseExpired(t.Context(), s.db, 10)
			require.NoError(t, err)
			require.Equal(t, 1, released)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t, txn.Config{})
			mug, b := s.product(t, 500, 10), newOutside()
			charged, payment := s.paid(t, b, "charged", order.Item{ProductID: mug, Quantity: 1})
			end(t, s, charged)
			require.Equal(t, db.PaymentStatusRefunding, s.payment(t, payment.ID).Status)
			require.Empty(t, s.work(t, b))
			require.Equal(t, db.PaymentStatusRefunded, s.payment(t, payment.ID).Status)
			require.Equal(t, db.RefundStatusCompleted, s.refund(t, payment.ID).Status)
			require.Equal(t, money.Minor(500), s.refund(t, payment.ID).Amount)

			asked := len(b.asked)
			unasked := s.reserved(t, "unasked", order.Item{ProductID: mug, Quantity: 1})
			payment = s.paymentFor(t, unasked, "pay unasked")
			end(t, s, unasked)
			require.Equal(t, db.PaymentStatusCancelled, s.payment(t, payment.ID).Status)
			require.Empty(t, s.work(t, b))
			require.Len(t, b.asked, asked, "nobody asks for it any more")
			require.EqualValues(t, 10, s.stock(t, mug))
		})
	}
}
