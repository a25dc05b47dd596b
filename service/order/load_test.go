package order_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// refusals are what may come of a call that meets others.
var refusals = []error{
	order.ErrInsufficientStock, order.ErrUnknownOrder, order.ErrStatus, order.ErrNotChangeable, order.ErrNoOrders,
	order.ErrNotOrdered, order.ErrUnknownReservation, order.ErrReservationEnded, order.ErrUnknownPayment,
	order.ErrPaymentExists, order.ErrPaymentStatus,
}

// Few users and products, and many who do everything with them at once: no call deadlocks, for
// which there is no second attempt, and at the end the invariants hold.
func TestEverythingAtOnce(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1, LockTimeout: 30 * time.Second}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var users, products []int64
	for range 3 {
		users = append(users, s.user(t))
	}
	for range 5 {
		products = append(products, s.product(t, 500, 60))
	}
	const workers, calls = 8, 20
	failed := make([]error, workers)
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			some := func() int64 { return 1 + random.Int64N(60) } // an order, reservation or payment
			for n := range calls {
				user, key := users[random.IntN(len(users))], fmt.Sprintf("%d-%d", w, n)
				var items []order.Item
				for range 1 + random.IntN(3) {
					items = append(items, order.Item{ProductID: products[random.IntN(len(products))], Quantity: 1 + random.Int64N(2)})
				}
				var err error
				switch random.IntN(12) {
				case 0, 1, 2:
					_, err = order.Place(t.Context(), s.db, order.LoyaltyDiscount(2, 10), request(user, key, items...))
				case 3:
					_, err = order.SetPrice(t.Context(), s.db, order.Price{ProductID: items[0].ProductID, Price: money.Minor(random.IntN(1000))})
				case 4:
					_, err = order.Update(t.Context(), s.db, order.UpdateRequest{OrderID: some(), Note: &key})
				case 5:
					_, err = order.Process(t.Context(), s.db, bank{}, order.ProcessRequest{
						Credit: credit(user, key), Prices: []order.Price{{ProductID: items[0].ProductID, Price: 400}},
					})
				case 6:
					err = order.Ship(t.Context(), s.db, some())
				case 7:
					_, err = order.Cancel(t.Context(), s.db, some())
				case 8:
					_, err = order.Release(t.Context(), s.db, some())
				case 9:
					err = s.charge(t, some(), key)
				default:
					err = s.checkout(t, user, key, items)
				}
				if err != nil && !slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) }) {
					failed[w] = err
					return
				}
			}
		})
	}
	running.Wait()
	require.NoError(t, errors.Join(failed...), "seed %d", seed)
	for _, status := range []db.OrderStatus{db.OrderStatusPending, db.OrderStatusConfirmed, db.OrderStatusPaid, db.OrderStatusCancelled} {
		require.Positive(t, fromTable[int](t, s, "select count(*) from orders where status = $1", status), "%s, seed %d", status, seed)
	}
}

// checkout goes the other way to an order: reserve, pay, confirm.
func (s *shop) checkout(t *testing.T, user int64, key string, items []order.Item) error {
	r, err := s.ready(t, user, key, items)
	if err == nil {
		_, err = order.Confirm(t.Context(), s.db, r)
	}
	return err
}

// ready reserves and pays, and returns what is to be confirmed.
func (s *shop) ready(t *testing.T, user int64, key string, items []order.Item) (order.ConfirmRequest, error) {
	reservation, err := order.Reserve(t.Context(), s.db, order.ReserveRequest{UserID: user, Key: key, Items: items})
	if err != nil {
		return order.ConfirmRequest{}, err
	}
	payment, err := order.RequestPayment(t.Context(), s.db, order.PaymentRequest{
		ReservationID: reservation.ID, Method: db.PaymentMethodCard, Key: key,
	})
	if err != nil {
		return order.ConfirmRequest{}, err
	}
	return order.ConfirmRequest{ReservationID: reservation.ID, PaymentID: payment.ID, Address: home}, s.charge(t, payment.ID, key)
}

// charge is what the worker of a charge does when the provider agrees.
func (s *shop) charge(t *testing.T, payment int64, reference string) error {
	_, err := db.Autocommit(s.db).BeginCharge(t.Context(), db.BeginChargeParams{ID: payment, MaxAgeMs: time.Hour.Milliseconds()})
	if errors.Is(err, txn.ErrNotFound) {
		return nil // not pending
	}
	if err == nil {
		_, err = order.RecordCharge(t.Context(), s.db, order.ChargeResult{PaymentID: payment, Reference: reference})
	}
	return err
}
