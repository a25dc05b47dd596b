// Package order sells products: it takes orders, and keeps stock, prices and counters right
// under any number of them at once.
//
//	placed, err := order.Place(ctx, d, order.LoyaltyDiscount(10, 5), order.PlaceRequest{
//		UserID: user, Key: "cart-7",
//		Items:   []order.Item{{ProductID: mug, Quantity: 2}, {ProductID: tray, Quantity: 1}},
//		Address: address, Method: db.PaymentMethodCard,
//	})
//
// Each function is one transaction of the handle it is given: on a *txn.DB it begins one, on
// a *txn.Tx it joins that one, and then it is done when the outer transaction commits.
//
// # Requests that are sent twice
//
// Whoever orders chooses a key for the request, and sends the same key again when it does not
// know what became of the first. There is one order then; the second call returns it, with
// Replayed set, even if it would be refused by now. A key that comes back with another content
// is ErrKeyReused. Keys are unique among all requests, so begin them with a name of your own.
//
// # What is refused
//
// Refusals are the errors of this package; see errors.go. Nothing has changed after one. If
// the function had joined a transaction, that one can only be rolled back: to go on in spite
// of a refusal, call it inside Tx.Savepoint.
//
// # Money and goods
//
// Nothing outside of the database is asked in a transaction. Place and RequestPayment note a
// payment that is intended, in table payments, with the key that every request to the provider
// will carry. A worker charges it afterwards (AddWorkers): RequestPayment leaves it to one, and
// after Place whoever placed the order does, by RequestCharge, best in the same transaction; until
// then the order keeps its goods. The worker may be killed at any moment: the next one asks with
// the same key, and RecordCharge writes the answer down once.
//
// # Checkout
//
// Goods can be kept while their buyer pays:
//
//	reservation, err := order.Reserve(ctx, d, order.ReserveRequest{UserID: user, Key: "cart-7", Items: items})
//	…
//	payment, err := order.RequestPayment(ctx, d, order.PaymentRequest{
//		ReservationID: reservation.ID, Method: db.PaymentMethodCard, Key: "cart-7",
//	})
//	… // until FindPayment says that it is completed
//	confirmed, err := order.Confirm(ctx, d, order.ConfirmRequest{
//		ReservationID: reservation.ID, PaymentID: payment.ID, Address: address,
//	})
//
// Each step can be called again, and has its reverse: Release, RequestRefund and Cancel. At any
// moment what was charged is for an order, or for goods that are kept, or goes back: a
// reservation that is released, or not confirmed in time, takes its payment along, and so does an
// order that is cancelled; money that is charged after that goes back when the charge is recorded.
//
// # Locks
//
// Rows are locked FOR NO KEY UPDATE where they change, and those of one table in the order of
// their keys. Across tables the order is users, accounts, products, reservations, orders, payments,
// refunds, and then counters and the activity log. The functions say which of them they lock. Calls
// that are put together in one transaction lock in the order of the calls: they may deadlock with
// one another, and are then repeated as txn.Options says.
package order
