package order_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

func TestUpdate(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 10)
	id := s.placed(t, user, "k", order.Item{ProductID: mug, Quantity: 1}).OrderID
	moved, note, long, zero := home, "ring twice", strings.Repeat("n", 501), "\x00"
	moved.City = "Paris"
	for _, r := range []order.UpdateRequest{
		{OrderID: id, Address: &moved},
		{OrderID: id, Note: &note},
		{OrderID: id},
	} {
		before := s.order(t, id)
		got, err := order.Update(t.Context(), s.db, r)
		require.NoError(t, err)
		after := s.order(t, id)
		require.Equal(t, before.Version+1, after.Version)
		require.JSONEq(t, string(after.ShippingAddress), string(got.ShippingAddress))
		got.ShippingAddress = after.ShippingAddress // the server writes it in a form of its own
		require.Equal(t, after, got)
	}
	o := s.order(t, id)
	require.Equal(t, note, o.Note)
	require.Contains(t, string(o.ShippingAddress), "Paris")

	const nobodys = 1 << 40
	for name, test := range map[string]struct {
		r    order.UpdateRequest
		want error
	}{
		"unknown order":    {order.UpdateRequest{OrderID: nobodys}, &order.UnknownOrderError{OrderID: nobodys}},
		"negative wait":    {order.UpdateRequest{OrderID: id, Wait: -1}, &order.InvalidError{Field: "Wait"}},
		"long note":        {order.UpdateRequest{OrderID: id, Note: &long}, order.ErrInvalid},
		"note with a zero": {order.UpdateRequest{OrderID: id, Note: &zero}, &order.InvalidError{Field: "Note"}},
		"no address":       {order.UpdateRequest{OrderID: id, Address: &order.Address{}}, order.ErrInvalid},
	} {
		before := fromTable[string](t, s, shopSQL)
		got, err := order.Update(t.Context(), s.db, test.r)
		require.True(t, holds(err, test.want), "%s: %v", name, err)
		require.Zero(t, got, name)
		require.Equal(t, before, fromTable[string](t, s, shopSQL), name)
	}
	for _, status := range []db.OrderStatus{db.OrderStatusPaid, db.OrderStatusShipped, db.OrderStatusRefunded} {
		require.NoError(t, s.setStatus(t, id, status))
		_, err := order.Update(t.Context(), s.db, order.UpdateRequest{OrderID: id, Note: &note})
		if status == db.OrderStatusPaid {
			require.NoError(t, err)
		} else {
			require.True(t, holds(err, &order.NotChangeableError{OrderID: id, Status: status}), "%s: %v", status, err)
		}
	}
}

// A limit that is SET stays with the connection: whoever borrows it next has it, too.
func TestLockTimeoutEndsWithTheTransaction(t *testing.T) {
	s := setup(t, txn.Config{})
	s.naive(t)
	alone := s.Pool(t, onlyOne)
	limit := func() (limit string) {
		require.NoError(t, alone.QueryRow(t.Context(), "show lock_timeout").Scan(&limit))
		return limit
	}
	require.NoError(t, pgx.BeginFunc(t.Context(), alone, func(tx pgx.Tx) error {
		exec(t, tx, "set lock_timeout = 5000")
		exec(t, tx, "update naive.orders set note = 'n' where id = 1")
		return nil
	}))
	require.Equal(t, "5s", limit(), "for whoever comes next")
	exec(t, alone, "reset lock_timeout")

	user, mug := s.user(t), s.product(t, 500, 10)
	id := s.placed(t, user, "k", order.Item{ProductID: mug, Quantity: 1}).OrderID
	d := txn.New(alone, watched(txn.Config{}))
	update := func(in txn.Transactor, ctx context.Context) error {
		_, err := order.Update(ctx, in, order.UpdateRequest{OrderID: id, Wait: 20 * time.Millisecond})
		return err
	}
	session := fromPool[int](t, alone, "select pg_backend_pid()")
	require.NoError(t, update(d, t.Context()))
	require.Equal(t, "0", limit())

	holder := begin(t, s.admin)
	exec(t, holder, "select from orders where id = $1 for update", id)
	require.ErrorIs(t, update(d, t.Context()), order.ErrLocked)
	require.Equal(t, "0", limit())
	require.NoError(t, holder.Rollback(t.Context()))

	// In a transaction that goes on, the limit is the outer one's again.
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "test: outer", LockTimeout: time.Hour}, func(ctx context.Context, tx *txn.Tx) error {
		if err := update(tx, ctx); err != nil {
			return err
		}
		var inside string
		if err := tx.QueryRow(ctx, "show lock_timeout").Scan(&inside); err != nil {
			return err
		}
		require.Equal(t, "1h", inside)
		return nil
	}))
	require.Equal(t, "0", limit())
	require.Equal(t, session, fromPool[int](t, alone, "select pg_backend_pid()"), "all of it on one connection")
}

// An order that somebody holds is given up after a while, with an error that says so, and once.
func TestUpdateOfALockedOrder(t *testing.T) {
	retries := 0
	s := setup(t, txn.Config{Options: txn.Options{OnRetry: func(context.Context, txn.Retry) { retries++ }}})
	user, mug := s.user(t), s.product(t, 500, 10)
	id := s.placed(t, user, "k", order.Item{ProductID: mug, Quantity: 1}).OrderID
	note := "n"
	holder := begin(t, s.admin)
	exec(t, holder, "update orders set note = 'theirs' where id = $1", id)
	_, err := order.Update(t.Context(), s.db, order.UpdateRequest{OrderID: id, Note: &note, Wait: 20 * time.Millisecond})
	require.ErrorIs(t, err, order.ErrLocked)
	require.ErrorIs(t, err, txn.ErrLockNotAvailable)
	require.Equal(t, "55P03", txn.SQLState(err))
	require.Zero(t, retries)

	// Who waits longer gets it.
	done := async(func() error {
		_, err := order.Update(t.Context(), s.db, order.UpdateRequest{OrderID: id, Note: &note})
		return err
	})
	waitBlocked(t, s.admin, 1)
	require.NoError(t, holder.Commit(t.Context()))
	require.NoError(t, <-done)
	require.Equal(t, note, s.order(t, id).Note)
}

// The limit is one for each lock: who needs two of them waits for longer, in all.
func TestLockTimeoutIsPerLock(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug := s.user(t), s.product(t, 500, 10)
	item := order.Item{ProductID: mug, Quantity: 1}
	ids := []int64{s.placed(t, user, "first", item).OrderID, s.placed(t, user, "second", item).OrderID}
	var holders []pgx.Tx
	for _, id := range ids {
		holder := begin(t, s.admin)
		exec(t, holder, "select from orders where id = $1 for update", id)
		holders = append(holders, holder)
	}
	const limit, each = 3 * time.Second, 1600 * time.Millisecond
	began := time.Now()
	done := async(func() error {
		return txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: both"}, func(ctx context.Context, tx *txn.Tx) error {
			for _, id := range ids {
				if _, err := order.Update(ctx, tx, order.UpdateRequest{OrderID: id, Wait: limit}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	for _, holder := range holders {
		waitBlocked(t, s.admin, 1)
		exec(t, s.admin, "select pg_sleep($1)", each.Seconds())
		require.NoError(t, holder.Commit(t.Context()))
	}
	require.NoError(t, <-done)
	require.Greater(t, time.Since(began), limit)
}
