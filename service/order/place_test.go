package order_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestPlace(t *testing.T) {
	s := setup(t, txn.Config{})
	user, mug, tray := s.user(t), s.product(t, 500, 10), s.product(t, 1200, 5)
	r := request(user, "cart-1", order.Item{ProductID: tray, Quantity: 1}, order.Item{ProductID: mug, Quantity: 2}, order.Item{ProductID: tray, Quantity: 2})
	r.Note = "ring twice"
	discount := func(context.Context, db.ReadQuerier, db.User, money.Minor) (money.Minor, error) { return 600, nil }
	placed, err := order.Place(t.Context(), s.db, discount, r)
	require.NoError(t, err)
	require.Equal(t, order.Placed{OrderID: placed.OrderID, Subtotal: 4600, Discount: 600, Total: 4000, At: placed.At}, placed)
	require.EqualValues(t, 8, s.get(t, mug).Stock)
	require.EqualValues(t, 2, s.get(t, tray).Stock, "both items of the tray")

	o := s.order(t, placed.OrderID)
	require.Equal(t, db.OrderStatusPending, o.Status)
	require.Equal(t, placed.At, o.CreatedAt)
	require.Equal(t, "ring twice", o.Note)
	var address order.Address
	require.NoError(t, json.Unmarshal(o.ShippingAddress, &address))
	require.Equal(t, home, address)
	items, err := db.Autocommit(s.db).ListOrderItems(t.Context(), o.ID)
	require.NoError(t, err)
	require.Equal(t, []db.OrderItem{
		{OrderID: o.ID, ProductID: mug, ProductName: "Mug", Quantity: 2, UnitPriceMinor: 500, TotalMinor: 1000},
		{OrderID: o.ID, ProductID: tray, ProductName: "Mug", Quantity: 3, UnitPriceMinor: 1200, TotalMinor: 3600},
	}, items)
	payment, err := db.Autocommit(s.db).FindPaymentOfOrder(t.Context(), o.ID)
	require.NoError(t, err)
	require.Equal(t, db.PaymentStatusPending, payment.Status)
	require.Equal(t, money.Minor(4000), payment.AmountMinor)
	require.Equal(t, fmt.Sprintf("order-%d", o.ID), payment.ProviderKey)
	require.EqualValues(t, 1, fromTable[int64](t, s, "select orders from customer_counters where user_id = $1", user))
	require.Equal(t, fmt.Sprintf("place_order orders:%d 2", o.ID),
		fromTable[string](t, s, "select concat_ws(' ', action, entity, details ->> 'items') from activity_log where user_id = $1", user))
}

func TestPlaceRefusals(t *testing.T) {
	s := setup(t, txn.Config{})
	user, gone, mug, withdrawn, dear := s.user(t), s.user(t), s.product(t, 500, 10), s.product(t, 500, 10), s.product(t, math.MaxInt64/2, 10)
	s.set(t, "users", gone, "active = false")
	s.set(t, "products", withdrawn, "active = false")
	const nobody = 1 << 40
	one := order.Item{ProductID: mug, Quantity: 1}
	broken := errors.New("the discount could not be computed")
	var many []order.Item
	for n := range order.MaxItems + 1 {
		many = append(many, order.Item{ProductID: int64(n + 1), Quantity: 1})
	}
	discounts := func(d money.Minor, err error) order.Discount {
		return func(context.Context, db.ReadQuerier, db.User, money.Minor) (money.Minor, error) { return d, err }
	}
	with := func(change func(*order.PlaceRequest)) order.PlaceRequest {
		r := request(user, "", one)
		change(&r)
		return r
	}
	for name, test := range map[string]struct {
		r        order.PlaceRequest
		discount order.Discount
		want     error
	}{
		"no items":           {request(user, ""), nil, &order.InvalidError{Field: "Items"}},
		"too many items":     {request(user, "", many...), nil, &order.InvalidError{Field: "Items"}},
		"no quantity":        {request(user, "", one, order.Item{ProductID: mug}), nil, &order.QuantityError{ProductID: mug}},
		"negative quantity":  {request(user, "", one, order.Item{ProductID: mug, Quantity: -1}), nil, &order.QuantityError{ProductID: mug, Quantity: -1}},
		"smallest quantity":  {request(user, "", order.Item{ProductID: mug, Quantity: math.MinInt64}), nil, &order.QuantityError{ProductID: mug, Quantity: math.MinInt64}},
		"sum too large":      {request(user, "", one, order.Item{ProductID: mug, Quantity: math.MaxInt64}), nil, &order.QuantityError{ProductID: mug, Quantity: math.MaxInt64}},
		"unknown user":       {request(nobody, "", one), nil, &order.UnknownUserError{UserID: nobody}},
		"inactive user":      {request(gone, "", one), nil, &order.InactiveUserError{UserID: gone}},
		"unknown product":    {request(user, "", one, order.Item{ProductID: nobody, Quantity: 1}), nil, &order.UnknownProductError{ProductID: nobody}},
		"inactive product":   {request(user, "", one, order.Item{ProductID: withdrawn, Quantity: 1}), nil, &order.InactiveProductError{ProductID: withdrawn}},
		"too little":         {request(user, "", order.Item{ProductID: mug, Quantity: 11}), nil, &order.InsufficientStockError{ProductID: mug, Available: 10, Needed: 11}},
		"too little in sum":  {request(user, "", order.Item{ProductID: mug, Quantity: 6}, order.Item{ProductID: mug, Quantity: 5}), nil, &order.InsufficientStockError{ProductID: mug, Available: 10, Needed: 11}},
		"largest quantity":   {request(user, "", order.Item{ProductID: mug, Quantity: math.MaxInt64}), nil, &order.InsufficientStockError{ProductID: mug, Available: 10, Needed: math.MaxInt64}},
		"price too large":    {request(user, "", order.Item{ProductID: dear, Quantity: 3}), nil, order.ErrTotalOverflow},
		"total too large":    {request(user, "", order.Item{ProductID: dear, Quantity: 2}, one), nil, order.ErrTotalOverflow},
		"negative discount":  {request(user, "", one), discounts(-1, nil), &order.DiscountError{Discount: -1, Subtotal: 500}},
		"discount too large": {request(user, "", one), discounts(501, nil), &order.DiscountError{Discount: 501, Subtotal: 500}},
		"broken discount":    {request(user, "", one), discounts(0, broken), broken},
		"no method":          {with(func(r *order.PlaceRequest) { r.Method = "" }), nil, &order.InvalidError{Field: "Method"}},
		"other method":       {with(func(r *order.PlaceRequest) { r.Method = "barter" }), nil, &order.InvalidError{Field: "Method"}},
		"no street":          {with(func(r *order.PlaceRequest) { r.Address.Street = "" }), nil, &order.InvalidError{Field: "Address.Street"}},
		"city with a zero":   {with(func(r *order.PlaceRequest) { r.Address.City = "a\x00" }), nil, &order.InvalidError{Field: "Address.City"}},
		"code of no letters": {with(func(r *order.PlaceRequest) { r.Address.PostalCode = "\xff" }), nil, &order.InvalidError{Field: "Address.PostalCode"}},
		"country's name":     {with(func(r *order.PlaceRequest) { r.Address.Country = "Great Britain" }), nil, &order.InvalidError{Field: "Address.Country"}},
		"long name":          {with(func(r *order.PlaceRequest) { r.Address.Name = strings.Repeat("n", 4000) }), nil, order.ErrInvalid},
		"long note":          {with(func(r *order.PlaceRequest) { r.Note = strings.Repeat("n", 501) }), nil, order.ErrInvalid},
		"note with a zero":   {with(func(r *order.PlaceRequest) { r.Note = "\x00" }), nil, &order.InvalidError{Field: "Note"}},
		"long key":           {with(func(r *order.PlaceRequest) { r.Key = strings.Repeat("k", 201) }), nil, order.ErrInvalid},
		"key with a zero":    {with(func(r *order.PlaceRequest) { r.Key = "k\x00" }), nil, &order.InvalidError{Field: "Key"}},
	} {
		if test.r.Key == "" {
			test.r.Key = name
		}
		before := fromTable[string](t, s, shopSQL)
		placed, err := order.Place(t.Context(), s.db, test.discount, test.r)
		require.Zero(t, placed, name)
		require.Error(t, err, name)
		require.False(t, txn.IsRetryable(err), name)
		require.True(t, holds(err, test.want), "%s: %v", name, err)
		require.Equal(t, before, fromTable[string](t, s, shopSQL), "%s: nothing changes", name)
	}
	_, err := order.Place(t.Context(), s.db, nil, request(user, "", one))
	require.Equal(t, &order.InvalidError{Field: "Key"}, err)
}

// holds reports whether a chain has an error that is want, or equal to it.
func holds(err, want error) bool {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if reflect.DeepEqual(inner, want) {
			return true
		}
	}
	return errors.Is(err, want)
}

// The sentinels answer errors.Is also for their structs.
func TestErrorsAnswerIs(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]error{
		{&order.InvalidError{Field: "Key"}, order.ErrInvalid},
		{&order.QuantityError{}, order.ErrQuantity},
		{&order.UnknownUserError{}, order.ErrUnknownUser},
		{&order.InactiveUserError{}, order.ErrInactiveUser},
		{&order.UnknownProductError{}, order.ErrUnknownProduct},
		{&order.InactiveProductError{}, order.ErrInactiveProduct},
		{&order.InsufficientStockError{}, order.ErrInsufficientStock},
		{&order.DiscountError{}, order.ErrDiscount},
		{&order.UnknownOrderError{}, order.ErrUnknownOrder},
		{&order.NoOrdersError{}, order.ErrNoOrders},
		{&order.NotOrderedError{}, order.ErrNotOrdered},
		{&order.StatusError{}, order.ErrStatus},
		{&order.NotChangeableError{}, order.ErrNotChangeable},
	} {
		require.ErrorIs(t, pair[0], pair[1])
		require.NotErrorIs(t, pair[0], order.ErrKeyReused)
	}
	require.EqualError(t, &order.InsufficientStockError{ProductID: 7, Available: 1, Needed: 3},
		"order: insufficient stock: 1 of product 7 are there, needed 3")
}

// A negative quantity is a delivery that nobody made; two items of one product are looked at one
// by one, each against what is there.
func TestNegativeQuantityAddsNoStock(t *testing.T) {
	s := setup(t, txn.Config{})
	naive := s.naive(t)
	naiveOrder := func(product, quantity int64) {
		require.NoError(t, pgx.BeginFunc(t.Context(), naive, func(tx pgx.Tx) error {
			var stock int64
			if err := tx.QueryRow(t.Context(), "select stock from naive.products where id = $1 for update", product).Scan(&stock); err != nil {
				return err
			}
			if stock < quantity {
				return errors.New("insufficient stock")
			}
			_, err := tx.Exec(t.Context(), "update naive.products set stock = stock - $2 where id = $1", product, quantity)
			return err
		}))
	}
	naiveOrder(1, -5)
	require.EqualValues(t, 15, fromTable[int64](t, s, "select stock from naive.products where id = 1"), "goods from nowhere")

	user, mug := s.user(t), s.product(t, 500, 10)
	for _, quantities := range [][]int64{{-5}, {8, -5}, {-5, 8}} {
		var items []order.Item
		for _, q := range quantities {
			items = append(items, order.Item{ProductID: mug, Quantity: q})
		}
		_, err := order.Place(t.Context(), s.db, nil, request(user, fmt.Sprint(quantities), items...))
		require.ErrorIs(t, err, order.ErrQuantity)
		require.EqualValues(t, 10, s.get(t, mug).Stock)
	}
	// Nor could it be written: not by somebody who forgets to look, either.
	for _, quantity := range []int64{-5, 11} {
		_, err := db.Autocommit(s.db).TakeStock(t.Context(), db.TakeStockParams{Ids: []int64{mug}, Quantities: []int64{quantity}})
		require.Equal(t, "23514", txn.SQLState(err), quantity)
	}
	_, err := db.Autocommit(s.db).TakeStock(t.Context(), db.TakeStockParams{Ids: []int64{mug, 1 << 40}, Quantities: []int64{1, 1}})
	require.Equal(t, "cardinal_number_domain_check", txn.ConstraintName(err), "a product that is not there")
	require.EqualValues(t, 10, s.get(t, mug).Stock)
}

// Two orders of the same products in opposite orders, each locking one product after the other.
func TestOppositeOrdersDoNotDeadlock(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}})
	naive := s.naive(t)
	const take = "update naive.products set stock = stock - 1 where id = $1"
	one, other := begin(t, naive), begin(t, naive)
	exec(t, one, take, 1)
	exec(t, other, take, 2)
	waiting := async(func() error {
		_, err := one.Exec(t.Context(), take, 2)
		return err
	})
	txntest.WaitBlocked(t, s.admin, int(one.Conn().PgConn().PID()))
	_, err := other.Exec(t.Context(), take, 1)
	states := []string{txn.SQLState(err), txn.SQLState(<-waiting)}
	require.ElementsMatch(t, []string{"", "40P01"}, states)
	require.NoError(t, one.Rollback(t.Context()))
	require.NoError(t, other.Rollback(t.Context()))

	// Users with overlapping products, in all directions, until nothing is left. Nobody has a
	// second attempt.
	products := []int64{s.product(t, 100, 30), s.product(t, 200, 30), s.product(t, 300, 30), s.product(t, 400, 17)}
	var calls []func() error
	for n := range 24 {
		user := s.user(t)
		var items []order.Item
		for i := range 3 {
			items = append(items, order.Item{ProductID: products[(n+i*(1+n%3))%len(products)], Quantity: int64(1 + n%2)})
		}
		calls = append(calls, func() error {
			_, err := order.Place(t.Context(), s.db, order.LoyaltyDiscount(1, 10), request(user, fmt.Sprint("cart ", n), items...))
			return err
		})
	}
	sold, refused := 0, 0
	for _, err := range s.together(t, "products", products, calls...) {
		switch {
		case err == nil:
			sold++
		case errors.Is(err, order.ErrInsufficientStock):
			refused++
		default:
			require.NoError(t, err)
		}
	}
	require.Equal(t, len(calls), sold+refused)
	require.NotZero(t, refused, "there is not enough for all")
	for _, p := range products {
		require.GreaterOrEqual(t, s.get(t, p).Stock, int64(0))
	}
	// That stock, items, totals and counters agree is among the invariants.
	require.EqualValues(t, sold, fromTable[int64](t, s, "select count(*) from orders"))
}
