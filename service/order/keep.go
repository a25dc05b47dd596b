package order

import (
	"context"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// OrdersKeepingKeys returns the orders of a user, and keeps each from being deleted, and from
// becoming another user's or costing something else, until the transaction ends: for whoever
// writes down where no foreign key sees it that the user has these orders, such as in a document
// or in the activity log. It makes nobody wait who changes status, address or note, and nobody who
// refers to the orders; it does not keep new ones out, for which the user would have to be locked.
//
// It locks the orders FOR KEY SHARE, in the order of their ids, and needs no more than READ
// COMMITTED; the status in the result may be another one by now. A user without orders has none,
// which is no error. Its errors are the server's.
func OrdersKeepingKeys(ctx context.Context, tx *txn.Tx, user int64) ([]db.Order, error) {
	orders, err := db.New(tx).LockOrdersOfUserForKeyShare(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("keep orders: %w", refused(err))
	}
	return orders, nil
}
