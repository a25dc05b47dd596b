package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// What the keys of reservations begin with.
const (
	checkoutKey = "checkout" // until there is an order
	giveBackKey = "giveback" // of what was reserved
	endKey      = "end"      // of an order, by one who ships it or one who cancels it
)

// The last parts of the keys of ends.
const (
	shipEnd   = "ship"
	cancelEnd = "cancel"
)

func (c cart) reserve(ctx context.Context, d *txn.DB, key string) (order.Reservation, error) {
	return order.Reserve(ctx, d, order.ReserveRequest{UserID: c.user.UserID, Key: key + "-" + c.name, Items: c.ordered()})
}

// buy goes all the way from the cart to the order, or finds how far others have gone. The payment is
// charged as a worker does it, which may be another one's doing, too.
func (c cart) buy(ctx context.Context, d *txn.DB, key, paymentKey string) (order.Confirmed, error) {
	reserved, err := c.reserve(ctx, d, key)
	if err != nil {
		return order.Confirmed{}, err
	}
	payment, err := order.RequestPayment(ctx, d, order.PaymentRequest{
		ReservationID: reserved.ID, Method: db.PaymentMethodCard, Key: paymentKey + "-" + c.name,
	})
	if err != nil {
		return order.Confirmed{}, err
	}
	worker := order.ChargeWorker{DB: d, Provider: bank{}}
	if err := worker.Work(ctx, &river.Job[order.ChargeArgs]{Args: order.ChargeArgs{PaymentID: payment.ID}}); err != nil {
		return order.Confirmed{}, err
	}
	return order.Confirm(ctx, d, order.ConfirmRequest{ReservationID: reserved.ID, PaymentID: payment.ID, Address: home})
}

// What the keys of payments begin with.
const (
	payKey      = "pay"
	declinedKey = "declined"
)

// bank is a payment provider that answers each key in one way.
type bank struct{}

func (bank) Charge(_ context.Context, r order.ChargeRequest) (order.ProviderReceipt, error) {
	if strings.HasPrefix(r.Key, declinedKey+"-") {
		return order.ProviderReceipt{}, &order.DeclinedError{Code: "card_declined"}
	}
	return order.ProviderReceipt{Reference: "charge of " + r.Key}, nil
}

func (bank) Refund(_ context.Context, r order.ProviderRefund) (order.ProviderReceipt, error) {
	return order.ProviderReceipt{Reference: "refund of " + r.Key}, nil
}

// mayLackID: that the provider is being asked is noted in one flush.
func (cart) mayLackID() {}

// A checkout is a call for an order of goods that are reserved and paid.
type checkout struct {
	cart
	payment string // payKey or declinedKey
}

func (c checkout) keys() []string { return []string{checkoutKey + "-" + c.name} }

func (c checkout) ask(ctx context.Context, d *txn.DB) (answer, error) {
	confirmed, err := c.buy(ctx, d, checkoutKey, c.payment)
	return replayed(confirmed.Replayed), err
}

// A givingBack is a call that reserves goods and gives them back.
type givingBack struct{ cart }

func (c givingBack) keys() []string { return []string{giveBackKey + "-" + c.name} }

func (c givingBack) ask(ctx context.Context, d *txn.DB) (answer, error) {
	reserved, err := c.reserve(ctx, d, giveBackKey)
	if err != nil {
		return did, err
	}
	released, err := order.Release(ctx, d, reserved.ID)
	return replayed(released.Replayed), err
}

// A shipping is a call that ships an order, which somebody else may be cancelling.
type shipping struct{ cart }

func (c shipping) keys() []string { return []string{endKey + "-" + c.name + "-" + shipEnd} }

func (c shipping) ask(ctx context.Context, d *txn.DB) (answer, error) {
	confirmed, err := c.buy(ctx, d, endKey, payKey)
	if err != nil {
		return did, err
	}
	err = order.Ship(ctx, d, confirmed.OrderID)
	if status, ok := errors.AsType[*order.StatusError](err); ok && status.From == db.OrderStatusShipped {
		return wasDone, nil // by this client, who has not heard of it
	}
	return did, err
}

// A cancelling is a call that cancels an order, which somebody else may be shipping.
type cancelling struct{ cart }

func (c cancelling) keys() []string { return []string{endKey + "-" + c.name + "-" + cancelEnd} }

func (c cancelling) ask(ctx context.Context, d *txn.DB) (answer, error) {
	confirmed, err := c.buy(ctx, d, endKey, payKey)
	if err != nil {
		return did, err
	}
	cancelled, err := order.Cancel(ctx, d, confirmed.OrderID)
	return replayed(cancelled.Replayed), err
}

// An undoing is a call for an order that is cancelled at once.
type undoing struct{ cart }

func (c undoing) keys() []string { return []string{undoKey + "-" + c.name} }

func (c undoing) ask(ctx context.Context, d *txn.DB) (answer, error) {
	placed, err := c.place(ctx, d, cartKey)
	if err != nil {
		return did, err
	}
	cancelled, err := order.Cancel(ctx, d, placed.OrderID)
	return replayed(cancelled.Replayed), err
}
