package order

import (
	"cmp"
	"math"
	"slices"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
)

// MaxItems is how many different products an order can have.
const MaxItems = 200

// An Item is a quantity of a product. Items of the same product are added up.
type Item struct {
	ProductID int64
	Quantity  int64 // more than zero: a negative one would put goods into stock
}

// merged are the items with each product once, in the order of their ids: that in which they are
// locked.
func merged(items []Item) ([]Item, error) {
	all := make([]Item, 0, len(items))
	for _, i := range items {
		if i.Quantity <= 0 {
			return nil, &QuantityError{ProductID: i.ProductID, Quantity: i.Quantity}
		}
		at, found := slices.BinarySearchFunc(all, i.ProductID, func(a Item, id int64) int { return cmp.Compare(a.ProductID, id) })
		switch {
		case !found:
			all = slices.Insert(all, at, i)
		case all[at].Quantity > math.MaxInt64-i.Quantity:
			return nil, &QuantityError{ProductID: i.ProductID, Quantity: i.Quantity}
		default:
			all[at].Quantity += i.Quantity
		}
	}
	if len(all) == 0 || len(all) > MaxItems {
		return nil, &InvalidError{Field: "Items"}
	}
	return all, nil
}

// column is one field of each of many.
func column[T, V any](all []T, field func(T) V) []V {
	values := make([]V, len(all))
	for i, a := range all {
		values[i] = field(a)
	}
	return values
}

func productOf(i Item) int64  { return i.ProductID }
func quantityOf(i Item) int64 { return i.Quantity }

// A line is an item with its product as it is under its lock.
type line struct {
	Item
	product db.Product
}

// lines puts items and products together, both in the order of ids. It refuses what cannot be
// had.
func lines(items []Item, locked []db.Product) ([]line, error) {
	all := make([]line, len(items))
	for i, item := range items {
		at, found := slices.BinarySearchFunc(locked, item.ProductID, func(p db.Product, id int64) int { return cmp.Compare(p.ID, id) })
		if !found {
			return nil, &UnknownProductError{ProductID: item.ProductID}
		}
		p := locked[at]
		switch {
		case !p.Active:
			return nil, &InactiveProductError{ProductID: p.ID}
		case p.Stock < item.Quantity:
			return nil, &InsufficientStockError{ProductID: p.ID, Available: p.Stock, Needed: item.Quantity}
		}
		all[i] = line{Item: item, product: p}
	}
	return all, nil
}

// subtotal is what the lines cost together, at the prices under the locks.
func subtotal(all []line) (money.Minor, error) {
	var sum money.Minor
	for _, l := range all {
		price, quantity := l.product.PriceMinor, money.Minor(l.Quantity)
		if price > math.MaxInt64/quantity || sum > math.MaxInt64-price*quantity {
			return 0, ErrTotalOverflow
		}
		sum += price * quantity
	}
	return sum, nil
}
