package order_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestSetPrice(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 10)
	id := s.placed(t, user, "k", order.Item{ProductID: mug, Quantity: 1}).OrderID
	change, err := order.SetPrice(t.Context(), s.db, order.Price{ProductID: mug, Price: 700})
	require.NoError(t, err)
	require.Equal(t, order.PriceChange{ProductID: mug, Old: 500, New: 700}, change)
	p := s.get(t, mug)
	require.Equal(t, money.Minor(700), p.PriceMinor)
	require.EqualValues(t, 9, p.Stock)
	require.Equal(t, money.Minor(500), s.order(t, id).TotalMinor, "what was ordered keeps its price")

	const nothing = 1 << 40
	for _, test := range []struct {
		r    order.Price
		want error
	}{
		{order.Price{ProductID: mug, Price: -1}, &order.InvalidError{Field: "Price"}},
		{order.Price{ProductID: nothing, Price: 1}, &order.UnknownProductError{ProductID: nothing}},
	} {
		change, err := order.SetPrice(t.Context(), s.db, test.r)
		require.True(t, holds(err, test.want), "%v", err)
		require.Zero(t, change)
	}
	require.Equal(t, p, s.get(t, mug))
}

// A lock that leaves the key alone is said to let others change what is no key. It does not: it
// conflicts with itself and with FOR SHARE, and a plain UPDATE takes it, too. What it lets pass is
// who refers to the row.
func TestPriceWritersWaitForOneAnother(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	const lock = "select from naive.products where id = 1 for no key update"
	first, second := begin(t, naive), begin(t, naive)
	exec(t, first, lock)
	waiting := async(func() error {
		_, err := second.Exec(t.Context(), lock)
		return err
	})
	txntest.WaitBlocked(t, s.admin, int(second.Conn().PgConn().PID()))
	s.waits(t, "select from naive.products where id = 1 for share")
	s.waits(t, "update naive.products set price = 1 where id = 1")
	s.passes(t, "select from naive.products where id = 1 for key share")
	require.NoError(t, first.Commit(t.Context()))
	require.NoError(t, <-waiting)
	require.NoError(t, second.Rollback(t.Context()))

	user := s.user(t)
	for _, level := range isolations {
		d, mug := s.at(level), s.product(t, 500, 10)
		id := s.placed(t, user, level.String(), order.Item{ProductID: mug, Quantity: 1}).OrderID
		var other order.PriceChange
		var later <-chan error
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: first"}, func(ctx context.Context, tx *txn.Tx) error {
			change, err := order.SetPrice(ctx, tx, order.Price{ProductID: mug, Price: 600})
			if err != nil {
				return err
			}
			require.Equal(t, money.Minor(500), change.Old)
			later = async(func() (err error) {
				other, err = order.SetPrice(t.Context(), d, order.Price{ProductID: mug, Price: 700})
				return err
			})
			waitBlocked(t, s.admin, 1)
			s.passes(t, "select from products where id = $1 for key share", mug)
			s.passes(t, "update orders set note = 'meanwhile' where id = $1", id)
			return nil
		}), level)
		require.NoError(t, <-later, level)
		require.Equal(t, order.PriceChange{ProductID: mug, Old: 600, New: 700}, other,
			"%s: what the first one has set, not what was there when the second one began", level)
	}
}

// An order that waits for a price takes the one that was set.
func TestOrderTakesThePriceUnderTheLock(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 10)
	holder := begin(t, s.admin)
	exec(t, holder, "update products set price_minor = 600, stock = 4 where id = $1", mug)
	var placed order.Placed
	waiting := async(func() (err error) {
		placed, err = order.Place(t.Context(), s.db, nil, request(user, "k", order.Item{ProductID: mug, Quantity: 4}))
		return err
	})
	waitBlocked(t, s.admin, 1)
	exec(t, holder, "update products set received = 4 where id = $1", mug) // for the invariants
	require.NoError(t, holder.Commit(t.Context()))
	require.NoError(t, <-waiting)
	require.Equal(t, money.Minor(2400), placed.Total)
	require.Zero(t, s.get(t, mug).Stock)
}
