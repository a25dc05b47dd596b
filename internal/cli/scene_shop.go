package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/internal/invariant"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// shop is the scene in which users order the same products, whose prices change meanwhile.
type shop struct {
	size     int // how many users
	users    []account.SignedUp
	products []int64
}

// How many products there are, and how much of them. The first ones run out.
const (
	productCount = 30
	scarceCount  = 4
	plenty       = 1_000_000
	scarce       = 300
)

func (s *shop) open(ctx context.Context, d *txn.DB) (err error) {
	if s.users, err = signUp(ctx, d, "shop", s.size); err != nil {
		return err
	}
	for n := range productCount {
		stock := int64(plenty)
		if n < scarceCount {
			stock = scarce
		}
		product, err := db.Autocommit(d).CreateProduct(ctx, db.CreateProductParams{
			Name: fmt.Sprintf("Product %d", n+1), PriceMinor: money.Minor(100 + 10*n), Stock: stock,
		})
		if err != nil {
			return fmt.Errorf("product %d: %w", n+1, err)
		}
		s.products = append(s.products, product.ID)
	}
	return nil
}

// Shares of the requests, in percent. The rest are orders.
const (
	percentOrderTwice = 10 // an order that two clients send with one key
	percentGreedy     = 5  // an order of more than there ever was
	percentUndo       = 8  // an order that two clients cancel
	percentCheckout   = 15 // goods that are reserved, paid and ordered, some by two clients
	percentDeclined   = 3  // whose payment is declined
	percentGiveBack   = 7  // that are reserved, and given back by two clients
	percentEnd        = 8  // an order that one client ships and another one cancels
	percentPrice      = 10 // a new price
	percentNote       = 5  // an order whose note is changed
	percentProcess    = 4  // a credit for a user, and new prices of what the user has ordered
)

// What the keys of orders begin with.
const (
	orderKey  = "order"
	cartKey   = "cart" // what is ordered in order to do something with it
	undoKey   = "undo"
	noteKey   = "note"
	creditKey = "credit"
)

func (s *shop) requests(seed uint64) iter.Seq[request] {
	return func(yield func(request) bool) {
		rng := rand.New(rand.NewPCG(seed, 3))
		for n := 1; ; n++ {
			if !yield(s.request(rng, fmt.Sprintf("%d-%d", seed, n))) {
				return
			}
		}
	}
}

func (s *shop) request(rng *rand.Rand, name string) request {
	c := s.fill(rng, name)
	price := order.Price{ProductID: s.product(rng), Price: money.Minor(50 + rng.IntN(500))}
	switch throw := dice(rng.IntN(100)); {
	case throw.below(percentOrderTwice):
		return request{purchase{c}, purchase{c}}
	case throw.below(percentGreedy):
		c.items[0].Quantity = plenty + 1
		return request{purchase{c}}
	case throw.below(percentUndo):
		return request{undoing{c}, undoing{c}}
	case throw.below(percentCheckout):
		if rng.IntN(3) == 0 {
			return request{checkout{c, payKey}, checkout{c, payKey}}
		}
		return request{checkout{c, payKey}}
	case throw.below(percentDeclined):
		return request{checkout{c, declinedKey}}
	case throw.below(percentGiveBack):
		return request{givingBack{c}, givingBack{c}}
	case throw.below(percentEnd):
		return request{shipping{c}, cancelling{c}}
	case throw.below(percentPrice):
		return request{pricing(price)}
	case throw.below(percentNote):
		return request{annotation{c}}
	case throw.below(percentProcess):
		price.ProductID = c.items[0].ProductID
		return request{processing{c, price}}
	}
	return request{purchase{c}}
}

func (s *shop) product(rng *rand.Rand) int64 { return s.products[rng.IntN(len(s.products))] }

// A cart is what a user is going to order. Its items are in no order, and may name a product
// twice; those without a product are none.
type cart struct {
	name  string
	user  account.SignedUp
	items [4]order.Item
}

func (s *shop) fill(rng *rand.Rand, name string) cart {
	c := cart{name: name, user: s.users[rng.IntN(len(s.users))]}
	for i := range 1 + rng.IntN(len(c.items)) {
		c.items[i] = order.Item{ProductID: s.product(rng), Quantity: 1 + rng.Int64N(3)}
	}
	return c
}

// loyalty reads the user's orders under the locks of the one that is placed.
var loyalty = order.LoyaltyDiscount(10, 5)

// ordered are the items that are some.
func (c cart) ordered() (items []order.Item) {
	for _, item := range c.items {
		if item.ProductID != 0 {
			items = append(items, item)
		}
	}
	return items
}

var home = order.Address{Name: "User", Street: "1 Main Street", City: "Springfield", Country: "US"}

func (c cart) place(ctx context.Context, d *txn.DB, key string) (order.Placed, error) {
	return order.Place(ctx, d, loyalty, order.PlaceRequest{
		UserID: c.user.UserID, Key: key + "-" + c.name, Items: c.ordered(), Address: home, Method: db.PaymentMethodCard,
	})
}

// A purchase is a call for an order.
type purchase struct{ cart }

func (c purchase) keys() []string { return []string{orderKey + "-" + c.name} }

func (c purchase) ask(ctx context.Context, d *txn.DB) (answer, error) {
	placed, err := c.place(ctx, d, orderKey)
	return replayed(placed.Replayed), err
}

// An annotation is a call for an order whose note is changed.
type annotation struct{ cart }

func (c annotation) keys() []string { return []string{noteKey + "-" + c.name} }

func (c annotation) ask(ctx context.Context, d *txn.DB) (answer, error) {
	placed, err := c.place(ctx, d, cartKey)
	if err != nil {
		return did, err
	}
	_, err = order.Update(ctx, d, order.UpdateRequest{OrderID: placed.OrderID, Note: &c.keys()[0]})
	return isDone, err
}

// A processing is a call for an order, and then for a credit and a price.
type processing struct {
	cart
	price order.Price
}

func (c processing) keys() []string { return []string{creditKey + "-" + c.name} }

func (c processing) ask(ctx context.Context, d *txn.DB) (answer, error) {
	if _, err := c.place(ctx, d, cartKey); err != nil {
		return did, err
	}
	processed, err := order.Process(ctx, d, c, order.ProcessRequest{
		Credit: order.Credit{UserID: c.user.UserID, Amount: 100, Key: c.keys()[0]},
		Prices: []order.Price{c.price},
	})
	return replayed(processed.Replayed), err
}

// Credit lets the accounts' service pay.
func (c cart) Credit(ctx context.Context, tx *txn.Tx, credit order.Credit) (wasPaid bool, err error) {
	receipt, err := account.Deposit(ctx, tx, account.DepositRequest{Account: c.user.AccountID, Amount: credit.Amount, Key: credit.Key})
	return receipt.Replayed, err
}

// A pricing is a call for a new price, which may be somebody else's a moment later.
type pricing order.Price

func (pricing) keys() []string { return nil }

func (c pricing) ask(ctx context.Context, d *txn.DB) (answer, error) {
	_, err := order.SetPrice(ctx, d, order.Price(c))
	return isDone, err
}

func (pricing) mayLackID() {}

// ruleEnded is what refuses who comes too late to end an order.
const ruleEnded = "order ended otherwise"

func (s *shop) rule(err error) string {
	for _, rule := range []struct {
		err  error
		name string
	}{
		{order.ErrInsufficientStock, "insufficient stock"},
		{order.ErrPaymentStatus, "payment declined"},
		{order.ErrStatus, ruleEnded},
	} {
		if errors.Is(err, rule.err) {
			return rule.name
		}
	}
	return ""
}

// storedOrdersSQL are the keys that the tables show to have been served.
const storedOrdersSQL = `
	select idempotency_key from orders where idempotency_key like 'order-%'
	union all
	select 'undo-' || substr(idempotency_key, 6) from orders where idempotency_key like 'cart-%' and status = 'cancelled'
	union all
	select note from orders where note like 'note-%'
	union all
	select idempotency_key from transfers where idempotency_key like 'credit-%'
	union all
	select r.idempotency_key || case when r.idempotency_key like 'end-%' then case o.status
			when 'shipped' then '-ship' when 'cancelled' then '-cancel' when 'refunded' then '-cancel' end else '' end
		from inventory_reservations r left join orders o on o.id = r.order_id
		where r.idempotency_key like 'checkout-%' and r.status = 'confirmed'
			or r.idempotency_key like 'giveback-%' and r.status = 'released'
			or r.idempotency_key like 'end-%' and o.status in ('shipped', 'cancelled', 'refunded')`

// chargeSums: what was paid for is there, and what is not there any more was paid back.
var chargeSums = []invariant.Invariant{
	{Name: "each order that came of a reservation is paid, or its money goes back", SQL: `
		select format('order %s (%s): payment %s', o.id, o.status, p.status)
		from inventory_reservations r join orders o on o.id = r.order_id left join payments p on p.order_id = o.id
		where p.status is distinct from 'completed' and (o.status not in ('cancelled', 'refunded') or p.status not in ('refunding', 'refunded'))`},
	{Name: "each order that came of a reservation has its letter, once", SQL: `
		select format('order %s: %s jobs', o.id, count(j.id))
		from inventory_reservations r join orders o on o.id = r.order_id
		left join river.river_job j on j.kind = 'order.send_confirmation' and (j.args->>'order_id')::bigint = o.id
		group by o.id having count(j.id) <> 1`},
}

func (s *shop) audit(ctx context.Context, tx pgx.Tx, told *tally) (audit, error) {
	stored, err := keysThere(ctx, tx, storedOrdersSQL)
	if err != nil {
		return audit{}, err
	}
	sums, err := invariantSums(ctx, tx, chargeSums)
	return audit{stored, append(sums, told.race("each order is shipped or cancelled, not both", endKey, ruleEnded, 1))}, err
}
