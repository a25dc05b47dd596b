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
	percentPrice      = 10 // a new price
	percentNote       = 7  // an order whose note is changed
	percentProcess    = 5  // a credit for a user, and new prices of what the user has ordered
)

// What the keys of orders begin with.
const (
	orderKey  = "order"
	cartKey   = "cart" // what is ordered in order to do something with it
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

func (c cart) place(ctx context.Context, d *txn.DB, key string) (order.Placed, error) {
	r := order.PlaceRequest{
		UserID: c.user.UserID, Key: key + "-" + c.name, Method: db.PaymentMethodCard,
		Address: order.Address{Name: "User", Street: "1 Main Street", City: "Springfield", Country: "US"},
	}
	for _, item := range c.items {
		if item.ProductID != 0 {
			r.Items = append(r.Items, item)
		}
	}
	return order.Place(ctx, d, loyalty, r)
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

func (s *shop) rule(err error) string {
	if errors.Is(err, order.ErrInsufficientStock) {
		return "insufficient stock"
	}
	return ""
}

// storedOrdersSQL are the keys that the tables show to have been served.
const storedOrdersSQL = `
	select idempotency_key from orders where idempotency_key like 'order-%'
	union all
	select note from orders where note like 'note-%'
	union all
	select idempotency_key from transfers where idempotency_key like 'credit-%'`

func (s *shop) audit(ctx context.Context, tx pgx.Tx, _ *tally) (audit, error) {
	stored, err := keysThere(ctx, tx, storedOrdersSQL)
	return audit{stored, nil}, err
}
