package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A Discount computes what a user need not pay of an order that costs subtotal without it: from
// zero to all of it. It reads by q, which is bound to the order's transaction, under the locks of
// the user and of the products; so it sees each order of the user that was made before this one,
// and none is made between what it sees and the order. It may be called more than once for a
// request, and must not ask anything outside of the database.
type Discount func(ctx context.Context, q db.ReadQuerier, user db.User, subtotal money.Minor) (money.Minor, error)

// LoyaltyDiscount takes a percentage off each every-th order of a user, rounded down.
func LoyaltyDiscount(every, percent int64) Discount {
	return func(ctx context.Context, q db.ReadQuerier, user db.User, subtotal money.Minor) (money.Minor, error) {
		counter, err := q.GetCustomerCounter(ctx, user.ID)
		if err != nil && !errors.Is(err, txn.ErrNotFound) {
			return 0, fmt.Errorf("loyalty discount: %w", err)
		}
		if every <= 0 || (counter.Orders+1)%every != 0 {
			return 0, nil
		}
		// In two parts, so that a large amount does not overflow.
		return subtotal/100*money.Minor(percent) + subtotal%100*money.Minor(percent)/100, nil
	}
}
