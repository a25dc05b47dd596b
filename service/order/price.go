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
	answer, err := txn.WithTxValue(ctx, t, opts, func(_ context.Context, tx *txn.Tx) (*txn.Pending[db.SetProductPriceRow], error) {
		return db.New(tx).Queued().SetProductPrice(db.SetProductPriceParams{ID: r.ProductID, PriceMinor: int64(r.Price)}), nil
	})
	if err != nil {
		return PriceChange{}, fmt.Errorf("set price: %w", err)
	}
	row, err := answer.Value()
	if errors.Is(err, txn.ErrNotFound) {
		return PriceChange{}, &UnknownProductError{ProductID: r.ProductID}
	}
	if err != nil {
		return PriceChange{}, &txn.HookError{Label: label, Err: err} // the price is set
	}
	return PriceChange{ProductID: row.ID, Old: row.OldPriceMinor, New: row.PriceMinor}, nil
}
