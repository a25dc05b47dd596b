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
// Nothing outside of the database is asked in a transaction. Place notes a payment that is
// intended, in table payments, with the key that every request to the provider will carry;
// whoever charges it does so afterwards.
//
// # Locks
//
// Rows are locked FOR NO KEY UPDATE where they change, and those of one table in the order of
// their keys. Across tables the order is users, accounts, products, orders, payments, and then
// counters and the activity log. The functions say which of them they lock. Calls that are put
// together in one transaction lock in the order of the calls: they may deadlock with one
// another, and are then repeated as txn.Options says.
package order
