package order

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A Crediter puts money into a user's account. The account service does it; who puts the
// application together hands it over.
type Crediter interface {
	// Credit moves money into the user's account within tx, once for each key, by the rules of
	// the books. It locks accounts, and nothing that comes before them. It reports whether an
	// earlier call with the key had moved the money.
	Credit(ctx context.Context, tx *txn.Tx, c Credit) (replayed bool, err error)
}

// A Credit is money for a user.
type Credit struct {
	UserID int64
	Amount money.Minor // more than zero
	Key    string      // 1 to 200 characters, unique among all movements of money
}

// A ProcessRequest credits a user, and changes prices of what the user has ordered.
type ProcessRequest struct {
	Credit Credit  // its key names the request, see the package documentation
	Prices []Price // of products in the user's orders, each once; up to MaxItems
}

// A Processed says what Process found and did.
type Processed struct {
	Orders []db.Order    // all of the user's, as they were kept, oldest first
	Prices []PriceChange // in the order of the products' ids

	// Replayed is true when an earlier call with the same key had done it all, and this one
	// changed nothing. The rest is empty then.
	Replayed bool
}

// Process credits a user, and changes the prices of products in its orders, while these orders
// stay as they are: all of it or nothing, once for each key. The key is the credit's: a call with a
// key that has credited is taken for the same request, whatever its prices are, and sets none.
//
// It locks the user FOR NO KEY UPDATE, which keeps new orders out; the account, as the Crediter
// does; then the products, those that change FOR NO KEY UPDATE first, all others in the user's
// orders FOR KEY SHARE; and the orders FOR SHARE. Each of these is taken in the strength that is
// needed in the end, and in the order of ids: a weak lock that is made stronger later waits for
// another one who does the same. What is written comes from the rows as they are under the locks.
// It is right at each isolation level. The more orders a user has, the more it locks.
//
// It is refused with ErrInvalid, ErrUnknownUser, ErrNoOrders or ErrNotOrdered, or with the error
// of the Crediter.
func Process(ctx context.Context, t txn.Transactor, c Crediter, r ProcessRequest) (Processed, error) {
	prices, err := r.prepare()
	if err != nil {
		return Processed{}, err
	}
	return txn.WithTxValue(ctx, t, txn.Options{Label: "order: process"}, func(ctx context.Context, tx *txn.Tx) (Processed, error) {
		done, err := process(ctx, tx, c, r.Credit, prices)
		if err != nil {
			return Processed{}, fmt.Errorf("process: %w", err)
		}
		return done, nil
	})
}

// prepare refuses what can never be right, and sorts the prices by product.
func (r ProcessRequest) prepare() ([]Price, error) {
	switch {
	case r.Credit.Key == "":
		return nil, &InvalidError{Field: "Credit.Key"}
	case r.Credit.Amount <= 0:
		return nil, &InvalidError{Field: "Credit.Amount"}
	case len(r.Prices) > MaxItems:
		return nil, &InvalidError{Field: "Prices"}
	}
	prices := slices.SortedFunc(slices.Values(r.Prices), func(a, b Price) int { return cmp.Compare(a.ProductID, b.ProductID) })
	for i, p := range prices {
		if p.Price < 0 || i > 0 && p.ProductID == prices[i-1].ProductID {
			return nil, &InvalidError{Field: "Prices"}
		}
	}
	return prices, nil
}

func process(ctx context.Context, tx *txn.Tx, c Crediter, credit Credit, prices []Price) (Processed, error) {
	q := db.New(tx)
	userLock := q.Queued().LockUser(credit.UserID) // travels with what the Crediter sends
	replayed, err := c.Credit(ctx, tx, credit)
	if _, unknown := userLock.Value(); errors.Is(unknown, txn.ErrNotFound) {
		return Processed{}, &UnknownUserError{UserID: credit.UserID}
	}
	if err != nil || replayed {
		return Processed{Replayed: replayed}, err
	}
	ids := column(prices, func(p Price) int64 { return p.ProductID })
	changing := q.Queued().LockProducts(ids)
	keeping := q.Queued().LockOrderedProductsForKeyShare(credit.UserID)
	orders, err := q.LockOrdersOfUserForShare(ctx, credit.UserID)
	if err != nil {
		return Processed{}, err
	}
	if _, err := userLock.Value(); errors.Is(err, txn.ErrNotFound) { // the Crediter sent nothing
		return Processed{}, &UnknownUserError{UserID: credit.UserID}
	}
	if len(orders) == 0 {
		return Processed{}, &NoOrdersError{UserID: credit.UserID}
	}
	changes, err := changes(prices, credit.UserID, changing, keeping)
	if err != nil {
		return Processed{}, err
	}
	if len(changes) > 0 {
		q.Queued().SetProductPrices(db.SetProductPricesParams{Ids: ids, Prices: column(prices, func(p Price) int64 { return int64(p.Price) })})
	}
	return Processed{Orders: orders, Prices: changes}, nil
}

// changes are the prices beside what they were under the locks. Products that are not in the
// user's orders are refused.
func changes(prices []Price, user int64, changing, keeping *txn.Pending[[]db.Product]) ([]PriceChange, error) {
	locked, err := changing.Value()
	if err != nil {
		return nil, err
	}
	ordered, err := keeping.Value()
	if err != nil {
		return nil, err
	}
	all := make([]PriceChange, len(prices))
	for i, p := range prices {
		is := func(o db.Product) bool { return o.ID == p.ProductID }
		at := slices.IndexFunc(locked, is)
		if at < 0 || !slices.ContainsFunc(ordered, is) {
			return nil, &NotOrderedError{UserID: user, ProductID: p.ProductID}
		}
		all[i] = PriceChange{ProductID: p.ProductID, Old: locked[at].PriceMinor, New: p.Price}
	}
	return all, nil
}
