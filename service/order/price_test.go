package order_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
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

// One statement that locks a row, waits, and then changes it, finds the row as it was before the
// wait. Where somebody refers to that version still, and the next one queues at it for the lock,
// the two wait for each other.
func TestPriceIsSetAfterItsLock(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	naive := s.naive(t)
	// meet runs writer and then locker against a row that refer refers to, and change has changed.
	meet := func(refer, change pgx.Tx, referSQL, changeSQL string, writer, locker func() error) []string {
		exec(t, refer, referSQL)
		exec(t, change, changeSQL)
		writing := async(writer)
		waitBlocked(t, s.admin, 1)
		locking := async(locker)
		waitBlocked(t, s.admin, 2)
		require.NoError(t, change.Commit(t.Context()))
		states := []string{txn.SQLState(<-writing), txn.SQLState(<-locking)}
		require.NoError(t, refer.Commit(t.Context()))
		return states
	}
	naively := func(sql string) func() error {
		return func() error { _, err := naive.Exec(t.Context(), sql); return err }
	}
	states := meet(begin(t, naive), begin(t, naive),
		"select from naive.products where id = 1 for key share",
		"update naive.products set stock = stock - 1 where id = 1",
		naively(`with locked as (select id from naive.products where id = 1 for no key update)
			update naive.products p set price = 600 from locked where p.id = locked.id`),
		naively("select from naive.products where id = 1 for no key update"))
	require.ElementsMatch(t, []string{"", "40P01"}, states)

	user, mug := s.user(t), s.product(t, 500, 10)
	states = meet(begin(t, s.admin), begin(t, s.admin),
		fmt.Sprintf("select from products where id = %d for key share", mug),
		fmt.Sprintf("update products set price_minor = 550 where id = %d", mug),
		func() error {
			change, err := order.SetPrice(t.Context(), s.db, order.Price{ProductID: mug, Price: 600})
			require.Equal(t, money.Minor(550), change.Old)
			return err
		},
		func() error {
			_, err := order.Place(t.Context(), s.db, nil, request(user, "k", order.Item{ProductID: mug, Quantity: 1}))
			return err
		})
	require.Equal(t, []string{"", ""}, states)
	require.Equal(t, money.Minor(600), fromTable[money.Minor](t, s, "select total_minor from orders"))
}
