package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A Price is what one unit of a product is to cost.
type Price struct {
	ProductID int64
	Price     money.Minor // not negative
}

// A PriceChange is a price that was changed.
type PriceChange struct {
	ProductID int64
	Old, New  money.Minor // Old is what it was under the lock, whatever was read before
}

// SetPrice changes what a product costs from now on. Orders keep their prices.
//
// It locks the product FOR NO KEY UPDATE, and is right at each isolation level. Those who only
// refer to the product, such as the items of orders that were placed before, do not wait for it;
// others who change its price or its stock do, one after another: a lock that leaves the key alone
// still conflicts with itself, and a plain UPDATE takes the same one. It takes one round trip.
// Repeated, it sets the same price again.
//
// It is refused with ErrUnknownProduct or ErrInvalid.
func SetPrice(ctx context.Context, t txn.Transactor, r Price) (PriceChange, error) {
	const label = "order: set price"
	if r.Price < 0 {
		return PriceChange{}, &InvalidError{Field: "Price"}
	}
	opts := txn.Options{Label: label, FlushJoined: true} // the old price is in an answer
	lock, err := txn.WithTxValue(ctx, t, opts, func(_ context.Context, tx *txn.Tx) (*txn.Pending[[]db.Product], error) {
		q := db.New(tx).Queued()
		lock := q.LockProducts([]int64{r.ProductID})
		q.SetProductPrice(db.SetProductPriceParams{ID: r.ProductID, PriceMinor: r.Price}).OnError(func(err error) error {
			if _, none := errors.AsType[*txn.AffectedError](err); none {
				return &UnknownProductError{ProductID: r.ProductID}
			}
			return refused(err)
		})
		return lock, nil
	})
	if err != nil {
		return PriceChange{}, fmt.Errorf("set price: %w", err)
	}
	locked, err := lock.Value()
	if err != nil {
		return PriceChange{}, &txn.HookError{Label: label, Err: err} // the price is set
	}
	return PriceChange{ProductID: r.ProductID, Old: locked[0].PriceMinor, New: r.Price}, nil
}
