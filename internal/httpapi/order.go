package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// Problems of package order. Those of users are others' as well.
var (
	unknownUser = &problemType{name: "unknown-user", status: http.StatusNotFound,
		title: "There is no such user"}
	userInactive = &problemType{name: "user-inactive", status: http.StatusConflict,
		title: "The user may not order any more"}
	unknownProduct = &problemType{name: "unknown-product", status: http.StatusNotFound,
		title: "There is no such product"}
	productInactive = &problemType{name: "product-inactive", status: http.StatusConflict,
		title: "The product cannot be ordered any more"}
	impossibleQuantity = &problemType{name: "quantity-not-possible", status: http.StatusUnprocessableEntity,
		title: "The quantity is not possible"}
	insufficientStock = &problemType{name: "insufficient-stock", status: http.StatusConflict,
		title: "There is less of the product than the request takes"}
	totalOverflow = &problemType{name: "total-overflow", status: http.StatusUnprocessableEntity,
		title: "The order would cost more than an amount can express"}
	unknownOrder = &problemType{name: "unknown-order", status: http.StatusNotFound,
		title: "There is no such order"}
	orderNotChangeable = &problemType{name: "order-not-changeable", status: http.StatusConflict,
		title: "The order has gone too far to be changed"}
	orderState = &problemType{name: "order-state", status: http.StatusConflict,
		title: "The order is in a state in which this is not possible"}

	orderProblems = []*problemType{
		unknownUser, userInactive, unknownProduct, productInactive, impossibleQuantity, insufficientStock, totalOverflow,
		unknownOrder, orderNotChangeable, orderState,
	}
)

// orderProblem says what a refusal of package order is for a client, or nil.
func orderProblem(err error) *problem {
	if e, ok := errors.AsType[*order.InsufficientStockError](err); ok {
		return because(insufficientStock, err, extension{"product": e.ProductID, "available": e.Available, "needed": e.Needed})
	}
	if e, ok := errors.AsType[*order.QuantityError](err); ok {
		return because(impossibleQuantity, err, extension{"product": e.ProductID, "quantity": e.Quantity})
	}
	if e, ok := errors.AsType[*order.UnknownUserError](err); ok {
		return because(unknownUser, err, extension{"user": e.UserID})
	}
	if e, ok := errors.AsType[*order.InactiveUserError](err); ok {
		return because(userInactive, err, extension{"user": e.UserID})
	}
	if e, ok := errors.AsType[*order.UnknownProductError](err); ok {
		return because(unknownProduct, err, extension{"product": e.ProductID})
	}
	if e, ok := errors.AsType[*order.InactiveProductError](err); ok {
		return because(productInactive, err, extension{"product": e.ProductID})
	}
	if e, ok := errors.AsType[*order.UnknownOrderError](err); ok {
		return because(unknownOrder, err, extension{"order": e.OrderID})
	}
	if e, ok := errors.AsType[*order.NotChangeableError](err); ok {
		return because(orderNotChangeable, err, extension{"order": e.OrderID, "order_status": e.Status})
	}
	if e, ok := errors.AsType[*order.StatusError](err); ok {
		return because(orderState, err, extension{"order": e.OrderID, "order_status": e.From})
	}
	if e, ok := errors.AsType[*order.InvalidError](err); ok {
		return invalidOf(e.Field, err)
	}
	return among(orderRefusals, err)
}

var orderRefusals = []refusal{
	{order.ErrTotalOverflow, totalOverflow},
	{order.ErrKeyReused, keyReused},
}

func (a *API) orders() {
	a.handle("POST /orders", a.placeOrder)
	a.handle("PATCH /orders/{order}", a.updateOrder)
	a.handle("DELETE /orders/{order}", a.cancelOrder)
}

// loyalty is the discount of this shop: each tenth order of a user is 5 % cheaper.
var loyalty = order.LoyaltyDiscount(10, 5)

func (a *API) placeOrder(r *http.Request) (answer, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return answer{}, err
	}
	var in struct {
		User  int64 `json:"user"`
		Items []struct {
			Product  int64 `json:"product"`
			Quantity int64 `json:"quantity"`
		} `json:"items"`
		Address order.Address `json:"address"`
		Method  string        `json:"method"`
		Note    string        `json:"note"`
	}
	if err := decode(r, &in, "user", "items", "address", "method"); err != nil {
		return answer{}, err
	}
	items := make([]order.Item, len(in.Items))
	for i, item := range in.Items {
		items[i] = order.Item{ProductID: item.Product, Quantity: item.Quantity}
	}
	wanted := order.PlaceRequest{
		UserID: in.User, Key: key, Items: items, Address: in.Address, Method: db.PaymentMethod(in.Method), Note: in.Note,
	}
	opts := txn.Options{Label: "http: place an order"}
	// Goods are not kept for an order that nobody is asked to pay.
	placed, err := txn.WithTxValue(r.Context(), a.db, opts, func(ctx context.Context, tx *txn.Tx) (order.Placed, error) {
		placed, err := order.Place(ctx, tx, loyalty, wanted)
		if err != nil || placed.Replayed {
			return placed, err
		}
		return placed, order.RequestCharge(ctx, tx, placed.OrderID)
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: struct {
		Order    int64       `json:"order"`
		Subtotal money.Minor `json:"subtotal_minor"`
		Discount money.Minor `json:"discount_minor"`
		Total    money.Minor `json:"total_minor"`
		At       time.Time   `json:"at"`
		Replayed bool        `json:"replayed"` // an earlier request with the key had made it
	}{placed.OrderID, placed.Subtotal, placed.Discount, placed.Total, placed.At, placed.Replayed}}, nil
}

func (a *API) updateOrder(r *http.Request) (answer, error) {
	id, err := pathID(r, "order")
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Address *order.Address `json:"address"`
		Note    *string        `json:"note"`
	}
	if err := decode(r, &in); err != nil {
		return answer{}, err
	}
	whenRepeated(r, "To set the same values again does no harm, unless somebody else has set others since.")
	updated, err := order.Update(r.Context(), a.db, order.UpdateRequest{OrderID: id, Address: in.Address, Note: in.Note})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: struct {
		Order   int64  `json:"order"`
		Status  string `json:"status"`
		Version int64  `json:"version"`
	}{updated.ID, string(updated.Status), updated.Version}}, nil
}

// cancelOrder needs no key: an order ends once.
func (a *API) cancelOrder(r *http.Request) (answer, error) {
	id, err := pathID(r, "order")
	if err != nil {
		return answer{}, err
	}
	whenRepeated(r, "An order that has ended stays so.")
	cancelled, err := order.Cancel(r.Context(), a.db, id)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: struct {
		Order    int64  `json:"order"`
		Status   string `json:"status"`   // cancelled, or refunded if it was paid
		Replayed bool   `json:"replayed"` // it had ended before
	}{cancelled.OrderID, string(cancelled.Status), cancelled.Replayed}}, nil
}
