package order_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// bank credits accounts by the rules of the books, as the account service does.
type bank struct{ err error }

func (b bank) Credit(ctx context.Context, tx *txn.Tx, c order.Credit) (replayed bool, err error) {
	if b.err != nil {
		return false, b.err
	}
	q := db.New(tx)
	external := q.Queued().GetSystemAccount("external")
	accounts, err := q.ListAccountsOfUser(ctx, c.UserID)
	if err != nil {
		return false, err
	}
	if len(accounts) == 0 {
		return false, errors.New("the user has no account")
	}
	from, err := external.Value()
	if err != nil {
		return false, err
	}
	locked := q.Queued().LockAccounts([]int64{accounts[0].ID})
	_, err = q.FindTransferByKey(ctx, c.Key)
	if !errors.Is(err, txn.ErrNotFound) {
		return true, err
	}
	if _, err := locked.Value(); err != nil {
		return false, err
	}
	q.Queued().RecordTransfer(db.RecordTransferParams{
		Kind: db.TransferKindDeposit, IdempotencyKey: &c.Key, FromAccount: from.ID, ToAccount: accounts[0].ID, AmountMinor: c.Amount,
	})
	return false, nil
}

// balance is what a user has.
func (s *shop) balance(t *testing.T, user int64) int64 {
	t.Helper()
	return fromTable[int64](t, s, "select sum(balance_minor)::bigint from accounts where user_id = $1", user)
}

func credit(user int64, key string) order.Credit {
	return order.Credit{UserID: user, Amount: 700, Key: key}
}

func TestProcess(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug, tray, vase := s.user(t), s.product(t, 500, 10), s.product(t, 1200, 10), s.product(t, 900, 10)
	first := s.placed(t, user, "first", order.Item{ProductID: tray, Quantity: 1}, order.Item{ProductID: mug, Quantity: 2}).OrderID
	second := s.placed(t, user, "second", order.Item{ProductID: mug, Quantity: 1}).OrderID
	r := order.ProcessRequest{Credit: credit(user, "k"), Prices: []order.Price{{ProductID: tray, Price: 1000}, {ProductID: mug, Price: 0}}}
	done, err := order.Process(t.Context(), s.db, bank{}, r)
	require.NoError(t, err)
	require.Equal(t, []order.PriceChange{{ProductID: mug, Old: 500, New: 0}, {ProductID: tray, Old: 1200, New: 1000}}, done.Prices)
	require.Equal(t, []db.Order{s.order(t, first), s.order(t, second)}, done.Orders)
	require.False(t, done.Replayed)
	require.EqualValues(t, 700, s.balance(t, user))
	require.Equal(t, money.Minor(1000), s.get(t, tray).PriceMinor)
	require.EqualValues(t, 7, s.get(t, mug).Stock)

	_, err = order.SetPrice(t.Context(), s.db, order.Price{ProductID: mug, Price: 550})
	require.NoError(t, err)
	again, err := order.Process(t.Context(), s.db, bank{}, r)
	require.NoError(t, err)
	require.Equal(t, order.Processed{Replayed: true}, again)
	require.EqualValues(t, 700, s.balance(t, user))
	require.Equal(t, money.Minor(550), s.get(t, mug).PriceMinor, "what came after it stays")

	poor, broken := s.user(t), errors.New("the bank is closed")
	const nobody = 1 << 40
	price := func(product int64, p money.Minor) []order.Price {
		return []order.Price{{ProductID: mug, Price: 1}, {ProductID: product, Price: p}}
	}
	for name, test := range map[string]struct {
		r    order.ProcessRequest
		bank bank
		want error
	}{
		"no key":          {order.ProcessRequest{Credit: credit(user, "")}, bank{}, &order.InvalidError{Field: "Credit.Key"}},
		"no amount":       {order.ProcessRequest{Credit: order.Credit{UserID: user, Key: "x"}}, bank{}, &order.InvalidError{Field: "Credit.Amount"}},
		"negative price":  {order.ProcessRequest{Credit: credit(user, "x"), Prices: price(tray, -1)}, bank{}, &order.InvalidError{Field: "Prices"}},
		"two prices":      {order.ProcessRequest{Credit: credit(user, "x"), Prices: price(mug, 2)}, bank{}, &order.InvalidError{Field: "Prices"}},
		"unknown user":    {order.ProcessRequest{Credit: credit(nobody, "x")}, bank{}, &order.UnknownUserError{UserID: nobody}},
		"no orders":       {order.ProcessRequest{Credit: credit(poor, "x")}, bank{}, &order.NoOrdersError{UserID: poor}},
		"other product":   {order.ProcessRequest{Credit: credit(user, "x"), Prices: price(vase, 2)}, bank{}, &order.NotOrderedError{UserID: user, ProductID: vase}},
		"unknown product": {order.ProcessRequest{Credit: credit(user, "x"), Prices: price(nobody, 2)}, bank{}, &order.NotOrderedError{UserID: user, ProductID: nobody}},
		"no bank":         {order.ProcessRequest{Credit: credit(user, "x"), Prices: price(tray, 2)}, bank{broken}, broken},
	} {
		before, balance := fromTable[string](t, s, shopSQL), s.balance(t, user)
		done, err := order.Process(t.Context(), s.db, test.bank, test.r)
		require.True(t, holds(err, test.want), "%s: %v", name, err)
		require.Zero(t, done, name)
		require.Equal(t, before, fromTable[string](t, s, shopSQL), name)
		require.Equal(t, balance, s.balance(t, user), name)
	}
}

// A row that was read before its lock may be another one under it. Whoever writes what has
// changed since the read, and forgets the row under the lock, overlooks what others did.
func TestProcessWritesWhatIsUnderTheLock(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	tx := begin(t, naive)
	var read, wanted int64 = 0, 500
	require.NoError(t, tx.QueryRow(t.Context(), "select price from naive.products where id = 1 for key share").Scan(&read))
	exec(t, naive, "update naive.products set price = 800 where id = 1") // KEY SHARE lets it pass
	exec(t, tx, "select from naive.products where id = 1 for no key update")
	if read != wanted { // as an object does that knows which of its fields have changed
		exec(t, tx, "update naive.products set price = $1 where id = 1", wanted)
	}
	require.NoError(t, tx.Commit(t.Context()))
	require.EqualValues(t, 800, fromTable[int64](t, s, "select price from naive.products where id = 1"), "it was to cost 500")

	for _, level := range isolations {
		d, user, mug := s.at(level), s.user(t), s.product(t, 500, 10)
		s.placed(t, user, level.String(), order.Item{ProductID: mug, Quantity: 1})
		holder := begin(t, s.admin)
		exec(t, holder, "update products set price_minor = 800, stock = 4, received = 5 where id = $1", mug)
		var done order.Processed
		waiting := async(func() (err error) {
			done, err = order.Process(t.Context(), d, bank{}, order.ProcessRequest{
				Credit: credit(user, level.String()), Prices: []order.Price{{ProductID: mug, Price: 500}},
			})
			return err
		})
		waitBlocked(t, s.admin, 1)
		require.NoError(t, holder.Commit(t.Context()))
		require.NoError(t, <-waiting, level)
		require.Equal(t, []order.PriceChange{{ProductID: mug, Old: 800, New: 500}}, done.Prices, level)
		require.Equal(t, money.Minor(500), s.get(t, mug).PriceMinor, level)
		require.EqualValues(t, 4, s.get(t, mug).Stock, level)
		require.EqualValues(t, 700, s.balance(t, user), level)
	}
}

// Prices that are set one after another, in the order in which they were asked for.
func TestOppositeProcessesDoNotDeadlock(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	naive := s.naive(t)
	const set = "update naive.products set price = price + 1 where id = $1"
	one, other := begin(t, naive), begin(t, naive)
	exec(t, one, set, 1)
	exec(t, other, set, 2)
	waiting := async(func() error {
		_, err := one.Exec(t.Context(), set, 2)
		return err
	})
	txntest.WaitBlocked(t, s.admin, int(one.Conn().PgConn().PID()))
	_, err := other.Exec(t.Context(), set, 1)
	require.ElementsMatch(t, []string{"", "40P01"}, []string{txn.SQLState(err), txn.SQLState(<-waiting)})
	require.NoError(t, one.Rollback(t.Context()))
	require.NoError(t, other.Rollback(t.Context()))

	mug, tray := s.product(t, 500, 100), s.product(t, 1200, 100)
	var calls []func() error
	for n := range 4 {
		user := s.user(t)
		both := []order.Item{{ProductID: mug, Quantity: 1}, {ProductID: tray, Quantity: 1}}
		s.placed(t, user, fmt.Sprint("cart ", user), both...)
		prices := []order.Price{{ProductID: mug, Price: money.Minor(n)}, {ProductID: tray, Price: money.Minor(n)}}
		if n%2 == 1 {
			prices[0], prices[1] = prices[1], prices[0]
		}
		calls = append(calls, func() error {
			_, err := order.Process(t.Context(), s.db, bank{}, order.ProcessRequest{Credit: credit(user, fmt.Sprint(n)), Prices: prices})
			return err
		}, func() error {
			_, err := order.Place(t.Context(), s.db, nil, request(user, fmt.Sprint("more ", n), both...))
			return err
		})
	}
	for _, err := range s.together(t, "products", []int64{mug, tray}, calls...) {
		require.NoError(t, err)
	}
	require.Equal(t, s.get(t, mug).PriceMinor, s.get(t, tray).PriceMinor, "both of one call")
}

// What Process keeps while its transaction is open, and what goes on.
func TestProcessKeeps(t *testing.T) {
	s := setup(t, txn.Config{})
	user, other, mug, tray := s.user(t), s.user(t), s.product(t, 500, 10), s.product(t, 1200, 10)
	id := s.placed(t, user, "k", order.Item{ProductID: mug, Quantity: 1}, order.Item{ProductID: tray, Quantity: 1}).OrderID
	paid, err := s.ready(t, user, "paid", []order.Item{{ProductID: tray, Quantity: 1}})
	require.NoError(t, err)
	require.NoError(t, txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: process"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := order.Process(ctx, tx, bank{}, order.ProcessRequest{Credit: credit(user, "k"), Prices: []order.Price{{ProductID: mug, Price: 1}}})
		if err != nil {
			return err
		}
		ctx, d := txn.Detach(ctx), s.impatient()
		locked := func(err error) { t.Helper(); require.ErrorIs(t, err, txn.ErrLockNotAvailable) }
		_, err = order.Place(ctx, d, nil, request(user, "new", order.Item{ProductID: tray, Quantity: 1}))
		locked(err)
		_, err = order.Confirm(ctx, d, paid) // an order of the user, too
		locked(err)
		_, err = order.Place(ctx, d, nil, request(other, "new", order.Item{ProductID: mug, Quantity: 1}))
		locked(err)
		_, err = order.Update(ctx, d, order.UpdateRequest{OrderID: id})
		locked(err)
		locked(order.Ship(ctx, d, id))
		_, err = order.SetPrice(ctx, d, order.Price{ProductID: mug, Price: 2})
		locked(err)
		s.waits(t, "delete from products where id = $1", tray)

		_, err = order.SetPrice(ctx, d, order.Price{ProductID: tray, Price: 2})
		require.NoError(t, err)
		_, err = order.Place(ctx, d, nil, request(other, "new", order.Item{ProductID: tray, Quantity: 1}))
		require.NoError(t, err)
		return nil
	}))
}
