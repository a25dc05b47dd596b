package order_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// What was ordered stays ordered, and is found again: when it is sold out, when the price has
// changed, and when the address was corrected meanwhile.
func TestPlaceAgain(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 3)
	r := request(user, "cart-1", order.Item{ProductID: mug, Quantity: 1}, order.Item{ProductID: mug, Quantity: 2})
	first, err := order.Place(t.Context(), s.db, order.LoyaltyDiscount(1, 10), r)
	require.NoError(t, err)
	require.False(t, first.Replayed)
	_, err = order.SetPrice(t.Context(), s.db, order.Price{ProductID: mug, Price: 900})
	require.NoError(t, err)
	moved := home
	moved.City = "Paris"
	_, err = order.Update(t.Context(), s.db, order.UpdateRequest{OrderID: first.OrderID, Address: &moved})
	require.NoError(t, err)

	before := fromTable[string](t, s, shopSQL)
	same := r
	same.Items = []order.Item{{ProductID: mug, Quantity: 3}} // what it comes to
	for _, r := range []order.PlaceRequest{r, same} {
		again, err := order.Place(t.Context(), s.db, nil, r)
		require.NoError(t, err)
		require.True(t, again.Replayed)
		again.Replayed = false
		require.Equal(t, first, again)
	}
	for name, change := range map[string]func(*order.PlaceRequest){
		"quantity": func(r *order.PlaceRequest) { r.Items = []order.Item{{ProductID: mug, Quantity: 2}} },
		"address":  func(r *order.PlaceRequest) { r.Address = moved },
		"method":   func(r *order.PlaceRequest) { r.Method = db.PaymentMethodWallet },
		"note":     func(r *order.PlaceRequest) { r.Note = "quick" },
		"user":     func(r *order.PlaceRequest) { r.UserID = s.user(t) },
	} {
		other := r
		change(&other)
		placed, err := order.Place(t.Context(), s.db, nil, other)
		require.ErrorIs(t, err, order.ErrKeyReused, name)
		require.Zero(t, placed, name)
	}
	require.Equal(t, before, fromTable[string](t, s, shopSQL), "nothing was done")
}

// A request without a name that is sent twice is two orders.
func TestSameOrderAtOnce(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	for range 2 {
		require.NoError(t, pgx.BeginFunc(t.Context(), naive, func(tx pgx.Tx) error {
			exec(t, tx, "update naive.products set stock = stock - 3 where id = 1")
			exec(t, tx, "insert into naive.orders (user_id, product_id) values (2, 1)")
			return nil
		}))
	}
	require.EqualValues(t, 2, fromTable[int64](t, s, "select count(*) from naive.orders where user_id = 2"), "ordered twice")

	for _, level := range isolations {
		d, name := s.at(level), level.String()
		user, mug := s.user(t), s.product(t, 500, 3) // enough for one of the two
		r := request(user, name, order.Item{ProductID: mug, Quantity: 3})
		var placed [2]order.Placed
		send := func(n int) func() error {
			return func() (err error) {
				placed[n], err = order.Place(t.Context(), d, nil, r)
				return err
			}
		}
		for _, err := range s.together(t, "users", []int64{user}, send(0), send(1)) {
			require.NoError(t, err, name)
		}
		require.NotEqual(t, placed[0].Replayed, placed[1].Replayed, "%s: one of them made the order", name)
		placed[0].Replayed, placed[1].Replayed = false, false
		require.Equal(t, placed[0], placed[1], name)
		require.Zero(t, s.get(t, mug).Stock, name)
	}
}

// Two users who chose one key meet at it: the second one waits for what becomes of the first, and
// finds the key taken, or free.
func TestSameKeyOfAnotherUserAtOnce(t *testing.T) {
	broke := errors.New("the caller changed its mind")
	s := setup(t, txn.Config{})
	mug := s.product(t, 500, 100)
	for _, outcome := range []error{nil, broke} {
		key := fmt.Sprint("first one: ", outcome)
		one, other := s.user(t), s.user(t)
		var second <-chan error
		err := txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
			// Of another product, so that the two meet nowhere else.
			_, err := order.Place(ctx, tx, nil, request(one, key, order.Item{ProductID: s.product(t, 500, 1), Quantity: 1}))
			if err != nil {
				return err
			}
			if err := tx.Flush(ctx); err != nil {
				return err
			}
			second = async(func() error {
				_, err := order.Place(t.Context(), s.db, nil, request(other, key, order.Item{ProductID: mug, Quantity: 1}))
				return err
			})
			waitBlocked(t, s.admin, 1)
			return outcome
		})
		require.ErrorIs(t, err, outcome)
		if outcome == nil {
			require.ErrorIs(t, <-second, order.ErrKeyReused)
		} else {
			require.NoError(t, <-second)
		}
	}
}

// Where nobody asks what became of a COMMIT whose answer was lost, the caller sends the request
// again, and there is one order.
func TestLostCommit(t *testing.T) {
	s := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, s.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{ResolveCommits: txn.ResolveNever}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	user, mug := s.user(t), s.product(t, 500, 10)
	for moment, lost := range map[string]faultproxy.Fault{
		"before": {SQL: "^commit$", Do: faultproxy.Cut{}},
		"after":  {SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}},
	} {
		r := request(user, moment, order.Item{ProductID: mug, Quantity: 2})
		cut := proxy.Arm(lost)
		placed, err := order.Place(t.Context(), d, nil, r)
		require.NoError(t, cut.WaitSession(t.Context()))
		_, unknown := errors.AsType[*txn.CommitUnknownError](err)
		require.True(t, unknown, "%s: %v", moment, err)
		require.Zero(t, placed, moment)

		placed, err = order.Place(t.Context(), d, nil, r)
		require.NoError(t, err, moment)
		require.Equal(t, moment == "after", placed.Replayed, moment)
	}
	require.EqualValues(t, 6, s.get(t, mug).Stock)
}

// Where the outcome is asked, the first call says what it made, although no answer came.
func TestAnswerLostWithCommit(t *testing.T) {
	s := setup(t, txn.Config{})
	proxy := txntest.NewProxy(t, s.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), watched(txn.Config{}))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	user, mug := s.user(t), s.product(t, 500, 10)
	_, err = order.Place(t.Context(), d, nil, request(user, "warm", order.Item{ProductID: mug, Quantity: 1}))
	require.NoError(t, err) // so that the next flush is one message
	for _, lost := range []string{"^commit", "CreateOrder "} {
		r := request(user, lost, order.Item{ProductID: mug, Quantity: 1})
		cut := proxy.Arm(faultproxy.Fault{SQL: lost, Answer: true, Do: faultproxy.Cut{}})
		placed, err := order.Place(t.Context(), d, nil, r)
		require.NoError(t, err, lost)
		require.NoError(t, cut.WaitSession(t.Context()))
		require.False(t, placed.Replayed, lost)
		o := s.order(t, placed.OrderID)
		require.Equal(t, lost, o.IdempotencyKey)
		require.Equal(t, o.CreatedAt, placed.At)
	}
}

// A discount that is looked up outside of the transaction does not see the order that another
// call is making: what is given once is given twice.
func TestDiscountIsComputedInside(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	looked := txntest.NewBarrier(2)
	naiveOrder := func() error {
		return pgx.BeginFunc(t.Context(), naive, func(tx pgx.Tx) error {
			var count, discount int64 // the count is read on another connection
			if err := naive.QueryRow(t.Context(), "select order_count from naive.users where id = 2").Scan(&count); err != nil {
				return err
			}
			if count == 0 {
				discount = 50
			}
			if err := looked.Wait(t.Context()); err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), "insert into naive.orders (user_id, discount) values (2, $1)", discount); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "update naive.users set order_count = order_count + 1 where id = 2")
			return err
		})
	}
	one, other := async(naiveOrder), async(naiveOrder)
	require.NoError(t, <-one)
	require.NoError(t, <-other)
	require.EqualValues(t, 2, fromTable[int64](t, s, "select count(*) from naive.orders where discount = 50"), "two first orders")

	first := func(ctx context.Context, q db.ReadQuerier, user db.User, _ money.Minor) (money.Minor, error) {
		counter, err := q.GetCustomerCounter(ctx, user.ID)
		if errors.Is(err, txn.ErrNotFound) {
			return 50, nil
		}
		if err == nil && counter.Orders == 0 {
			err = errors.New("a counter begins with the first order")
		}
		return 0, err
	}
	for _, level := range isolations {
		d, user := s.at(level), s.user(t)
		var calls []func() error
		for n := range 4 {
			mug := s.product(t, 500, 100) // another one each, so that they meet at the user alone
			calls = append(calls, func() error {
				_, err := order.Place(t.Context(), d, first, request(user, fmt.Sprint(level, n), order.Item{ProductID: mug, Quantity: 1}))
				return err
			})
		}
		for _, err := range s.together(t, "users", []int64{user}, calls...) {
			require.NoError(t, err, level)
		}
		require.EqualValues(t, 50, fromTable[int64](t, s, "select sum(discount_minor)::bigint from orders where user_id = $1", user), level)
	}

	// It reads within the transaction: also what that one has done, and nobody else sees.
	user, mug := s.user(t), s.product(t, 500, 100)
	require.NoError(t, txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: two orders"}, func(ctx context.Context, tx *txn.Tx) error {
		for n, want := range []money.Minor{0, 100} {
			placed, err := order.Place(ctx, tx, order.LoyaltyDiscount(2, 20), request(user, fmt.Sprint("both ", n), order.Item{ProductID: mug, Quantity: 1}))
			if err != nil {
				return err
			}
			require.Equal(t, want, placed.Discount, n)
		}
		return nil
	}))
}

func TestLoyaltyDiscount(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 999, 100)
	for n, want := range []money.Minor{0, 0, 149, 0, 0, 149} { // 15 per cent of 999 are 149.85
		placed, err := order.Place(t.Context(), s.db, order.LoyaltyDiscount(3, 15), request(user, fmt.Sprint(n), order.Item{ProductID: mug, Quantity: 1}))
		require.NoError(t, err)
		require.Equal(t, want, placed.Discount, n)
		require.Equal(t, 999-want, placed.Total, n)
	}
}

// A user who was looked at is locked, too: nobody is turned away between the look and the order.
func TestUserStaysActive(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 10)
	require.NoError(t, txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: place"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := order.Place(ctx, tx, nil, request(user, "k", order.Item{ProductID: mug, Quantity: 1}))
		if err != nil {
			return err
		}
		s.waits(t, "update users set active = false where id = $1", user)
		// What only refers to the user or to the product goes on.
		s.passes(t, "insert into activity_log (user_id, action, entity) values ($1, 'look', 'products:1')", user)
		return nil
	}))
}
