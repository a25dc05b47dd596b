package order_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// FOR KEY SHARE keeps keys, and those are what a foreign key can refer to: a column that refers
// to something else is none. It blocks DELETE, too, and it keeps out no new rows.
func TestOrdersKeepingKeys(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	holder := begin(t, naive)
	exec(t, holder, "select from naive.orders where user_id = 1 order by id for key share")
	s.passes(t, "update naive.orders set status = 'paid' where id = 1")
	s.passes(t, "update naive.orders set user_id = 2 where id = 1") // another user's order all of a sudden
	s.passes(t, "insert into naive.orders (user_id) values (1)")
	s.waits(t, "update naive.orders set id = 100 where id = 1")
	s.waits(t, "delete from naive.orders where id = 1")
	require.NoError(t, holder.Rollback(t.Context()))

	user, other, mug := s.user(t), s.user(t), s.product(t, 500, 10)
	item := order.Item{ProductID: mug, Quantity: 1}
	first, second := s.placed(t, user, "first", item).OrderID, s.placed(t, user, "second", item).OrderID
	theirs := s.placed(t, other, "other", item).OrderID
	note := "n"
	require.NoError(t, txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: keep"}, func(ctx context.Context, tx *txn.Tx) error {
		orders, err := order.OrdersKeepingKeys(ctx, tx, user)
		if err != nil {
			return err
		}
		require.Len(t, orders, 2)
		require.Equal(t, []int64{first, second}, []int64{orders[0].ID, orders[1].ID})

		// Everything else goes on.
		outside, d := txn.Detach(ctx), s.impatient()
		_, err = order.Update(outside, d, order.UpdateRequest{OrderID: first, Address: &home, Note: &note})
		require.NoError(t, err)
		s.passes(t, "update orders set status = 'paid' where id = $1", second)
		s.passes(t, "delete from payments where order_id = $1", first) // who refers to it
		s.waits(t, "update orders set idempotency_key = 'other' where id = $1", first)
		s.waits(t, "delete from orders where id = $1", first)
		// The owner and the total are part of a key here: payments refer to them.
		s.waits(t, "update orders set user_id = $2 where id = $1", first, other)
		s.waits(t, "update orders set discount_minor = 1, total_minor = 499 where id = $1", first)
		require.Equal(t, "23503", txn.SQLState(s.try(t, "delete from orders where id = $1", theirs)), "it does not wait: it is refused")

		_, err = order.Place(outside, d, nil, request(user, "third", item))
		require.NoError(t, err)
		again, err := order.OrdersKeepingKeys(ctx, tx, user)
		if err != nil {
			return err
		}
		require.Len(t, again, 3, "new orders are not kept out")
		return nil
	}))
}
