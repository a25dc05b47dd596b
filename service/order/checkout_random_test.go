package order_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// Customers, workers whose answers get lost, a sweeper and people who change prices, all at once
// and at all isolation levels, with one attempt at READ COMMITTED: none of them deadlocks, and in
// the end the provider has the money of the orders that there are, no more and no less. The
// invariants of the database are asked then, too.
func TestCheckoutAtRandom(t *testing.T) {
	s := setup(t, txn.Config{})
	var levels []*txn.DB
	for _, level := range isolations {
		levels = append(levels, s.at(level))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := newOutside()
	products := []int64{s.product(t, 500, 12), s.product(t, 1200, 8), s.product(t, 0, 6)}
	var running sync.WaitGroup
	errs := make([]error, 6)
	var family *cart
	for n := range errs {
		if n%3 == 0 { // of three
			family = &cart{user: s.user(t)}
		}
		c := &customer{
			Rand: rand.New(rand.NewPCG(seed, uint64(n))), levels: levels, outside: b, products: products, cart: family, name: fmt.Sprint("customer ", n),
		}
		running.Go(func() {
			for range 40 {
				if err := c.anything(t.Context()); !expected(err) {
					errs[n] = fmt.Errorf("seed %d, %s, call %d: %w", seed, c.name, c.calls, err)
					return
				}
			}
		})
	}
	running.Wait()
	require.NoError(t, errors.Join(errs...))

	// The provider answers again, and what has its job is brought to its end.
	b.after = nil
	require.Empty(t, s.work(t, b))
	require.Zero(t, fromTable[int](t, s, "select count(*) from payments where status = 'refunding' or status = 'pending' and asked_at is not null"))
	moved := slices.Collect(maps.Values(b.effects))
	taken := fromTable[int](t, s, "select count(*) from payments where charge_reference = any ($1)", moved)
	returned := fromTable[int](t, s, "select count(*) from refunds where refund_reference = any ($1)", moved)
	require.Equal(t, len(moved), taken+returned, "each movement of money is written down")
	require.Equal(t, fromTable[int](t, s, "select count(*) from payments where status = 'completed' and amount_minor > 0"), taken-returned)
	require.Greater(t, fromTable[int](t, s, "select count(distinct status) from inventory_reservations"), 2, "of seed %d", seed)
	require.Positive(t, returned, "of seed %d", seed)
}

// expected says whether an error is nil, or a refusal that somebody else was the reason of.
func expected(err error) bool {
	for _, refusal := range []error{
		nil, order.ErrInsufficientStock, order.ErrReservationEnded, order.ErrPaymentExists, order.ErrPaymentStatus,
		order.ErrPaymentInUse, order.ErrStatus, errLost,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

var errLost = errors.New("the provider's answer was lost")

// A customer does at random what can be done in a shop, to products or to what came of earlier
// calls.
type customer struct {
	*rand.Rand
	*cart
	levels   []*txn.DB
	outside  *outside
	products []int64
	name     string
	calls    int
}

// A cart is what several customers act on.
type cart struct {
	user int64

	mu           sync.Mutex
	reservations []order.Reservation
	payments     []order.Payment
	orders       []int64
}

// add puts something into a list of the cart.
func add[T any](c *cart, list *[]T, one T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, one)
}

// pick returns one of the last things in a list of the cart.
func pick[T any](c *customer, list *[]T) (one T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(*list) == 0 {
		return one, false
	}
	return (*list)[len(*list)-1-c.IntN(min(4, len(*list)))], true
}

func (c *customer) anything(ctx context.Context) error {
	c.calls++
	key, d := fmt.Sprint(c.name, " ", c.calls), c.levels[c.IntN(3)]
	items := []order.Item{
		{ProductID: c.products[c.IntN(3)], Quantity: 1 + c.Int64N(2)}, {ProductID: c.products[c.IntN(3)], Quantity: 1},
	}
	switch n := c.IntN(12); {
	case n < 3:
		r, err := order.Reserve(ctx, d, order.ReserveRequest{UserID: c.user, Key: key, Items: items, For: time.Duration(1+c.IntN(400)) * time.Millisecond})
		if err == nil {
			add(c.cart, &c.reservations, r)
		}
		return err
	case n == 3:
		_, err := order.ReleaseExpired(ctx, d, 1+c.IntN(3))
		return err
	case n == 4:
		_, err := order.SetPrice(ctx, d, order.Price{ProductID: c.products[c.IntN(2)], Price: money.Minor(100 + c.IntN(1000))})
		return err
	case n == 5:
		placed, err := order.Place(ctx, d, nil, order.PlaceRequest{UserID: c.user, Key: key, Items: items, Address: home, Method: db.PaymentMethodCard})
		if err != nil {
			return err
		}
		add(c.cart, &c.orders, placed.OrderID)
		return order.RequestCharge(ctx, d, placed.OrderID)
	case n == 6:
		if id, ok := pick(c, &c.orders); ok {
			_, err := order.Cancel(ctx, d, id)
			return err
		}
	case n == 7:
		if p, ok := pick(c, &c.payments); ok {
			_, err := order.RequestRefund(ctx, d, order.RefundRequest{PaymentID: p.ID, Reason: "at random"})
			return err
		}
	case n == 8:
		if id, ok := pick(c, &c.orders); ok && c.IntN(3) == 0 {
			return order.Ship(ctx, d, id)
		}
	default:
		if r, ok := pick(c, &c.reservations); ok {
			return c.goOn(ctx, r, key)
		}
	}
	return nil
}

// goOn pays a reservation, and then confirms or releases it, with a worker for the customer alone.
func (c *customer) goOn(ctx context.Context, r order.Reservation, key string) error {
	d := c.levels[c.IntN(3)]
	if c.IntN(4) == 0 {
		_, err := order.Release(ctx, d, r.ID)
		return err
	}
	p, err := order.RequestPayment(ctx, d, order.PaymentRequest{ReservationID: r.ID, Method: db.PaymentMethodCard, Key: key})
	if err != nil {
		return err
	}
	add(c.cart, &c.payments, p)
	provider := &unreliable{c.outside, c.Rand}
	w := &order.ChargeWorker{DB: d, Provider: provider}
	if err := w.Work(ctx, chargeJob(p.ID)); err != nil {
		return err
	}
	if c.IntN(3) == 0 {
		return nil // the customer has gone
	}
	confirmed, err := order.Confirm(ctx, d, confirmRequest(r, p))
	if err == nil {
		add(c.cart, &c.orders, confirmed.OrderID)
	}
	return err
}

// An unreliable provider does what it is asked for, and its answer gets lost now and then; or it
// declines.
type unreliable struct {
	*outside
	random *rand.Rand
}

func (u *unreliable) Charge(ctx context.Context, r order.ChargeRequest) (order.ProviderReceipt, error) {
	n := u.random.IntN(5)
	if n == 0 {
		return order.ProviderReceipt{}, &order.DeclinedError{Code: "no"}
	}
	receipt, err := u.outside.Charge(ctx, r)
	if n == 1 {
		return order.ProviderReceipt{}, errLost
	}
	return receipt, err
}
