package order

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// How long goods are kept, if a request does not say, and at most.
const (
	DefaultReservation = 15 * time.Minute
	MaxReservation     = 24 * time.Hour
)

// A ReserveRequest asks for goods to be kept for a user who is about to pay.
type ReserveRequest struct {
	UserID int64
	Key    string // names the request, see the package documentation; 1 to 200 characters
	Items  []Item // at least one; several of one product are added up

	// For is how long the goods are kept, by the server's clock, in whole milliseconds. Zero is
	// DefaultReservation; more than MaxReservation is refused.
	For time.Duration
}

// A Reservation is goods that are kept, or were.
type Reservation struct {
	ID        int64
	UserID    int64
	Status    db.ReservationStatus
	Items     []ReservedItem // by product
	Total     money.Minor    // what the order will cost
	OrderID   int64          // the order that came of it; zero if there is none
	ExpiresAt time.Time      // when they may be given to others

	// Replayed is true when an earlier call had done what this one asks for, and this one
	// did nothing.
	Replayed bool
}

// A ReservedItem is a product in a reservation, as it was offered then.
type ReservedItem struct {
	ProductID   int64
	ProductName string
	Quantity    int64
	UnitPrice   money.Minor
}

// Reserve takes goods out of stock and keeps them for a user, all of them or none, once for each
// key. The prices are those of this moment: the order will have them, too. Goods that are
// neither ordered (Confirm) nor given back (Release) in time go back by themselves, see
// ReleaseExpired.
//
// It locks the products FOR NO KEY UPDATE, in the order of their ids, and READ COMMITTED is
// enough; only a key that is taken at the same time makes it run again. It takes two round trips.
// It is refused with ErrInvalid, ErrQuantity, ErrUnknownUser, ErrInactiveUser, ErrUnknownProduct,
// ErrInactiveProduct, ErrInsufficientStock, ErrTotalOverflow, ErrKeyReused or ErrLocked.
func Reserve(ctx context.Context, t txn.Transactor, r ReserveRequest) (Reservation, error) {
	wanted, err := r.check()
	if err != nil {
		return Reservation{}, err
	}
	opts := txn.Options{
		Label: "order: reserve",
		// A request that takes the same key at the same time is not seen, but met in the key. The
		// next attempt sees it.
		RetryAlso: []string{stateUniqueViolation},
	}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (Reservation, error) {
		q := db.New(tx)
		ids, quantities := column(wanted, productOf), column(wanted, quantityOf)
		locking := q.Queued().LockProducts(ids)
		asked := q.Queued().GetUser(r.UserID)
		next := q.Queued().NextReservation(r.For.Milliseconds())
		itemsBefore := q.Queued().ListReservationItemsByKey(r.Key)
		// After the locks: what another call with the key did under them is seen here.
		before, err := q.FindReservationByKey(ctx, r.Key)
		if err == nil {
			return r.replay(before, itemsBefore, wanted)
		}
		if !errors.Is(err, txn.ErrNotFound) {
			return Reservation{}, fmt.Errorf("reserve: %w", refused(err))
		}
		if _, err := orderer(asked, r.UserID); err != nil {
			return Reservation{}, fmt.Errorf("reserve: %w", err)
		}
		products, err := locking.Value()
		if err != nil {
			return Reservation{}, fmt.Errorf("reserve: %w", err)
		}
		offered, err := lines(wanted, products)
		if err != nil {
			return Reservation{}, fmt.Errorf("reserve: %w", err)
		}
		total, err := subtotal(offered)
		if err != nil {
			return Reservation{}, fmt.Errorf("reserve: %w", err)
		}
		number, err := next.Value()
		if err != nil {
			return Reservation{}, fmt.Errorf("reserve: %w", err)
		}
		q.Queued().CreateReservation(db.CreateReservationParams{
			ID: number.ID, UserID: r.UserID, IdempotencyKey: r.Key, TotalMinor: total, ExpiresAt: number.ExpiresAt,
		}).OnError(refused)
		q.Queued().CreateReservationItems(db.CreateReservationItemsParams{
			ReservationID: number.ID,
			ProductIds:    ids,
			ProductNames:  column(offered, func(l line) string { return l.product.Name }),
			Quantities:    quantities,
			UnitPrices:    column(offered, func(l line) int64 { return int64(l.product.PriceMinor) }),
		})
		q.Queued().TakeStock(db.TakeStockParams{Ids: ids, Quantities: quantities})
		return Reservation{
			ID: number.ID, UserID: r.UserID, Status: db.ReservationStatusActive, Items: reserved(offered), Total: total,
			ExpiresAt: number.ExpiresAt,
		}, nil
	})
}

// check refuses what can never be right, before anything is sent, and returns what is wanted of
// each product, by product.
func (r *ReserveRequest) check() ([]Item, error) {
	switch {
	case r.Key == "" || !storable(r.Key):
		return nil, &InvalidError{Field: "Key"}
	case r.For < 0 || r.For > MaxReservation:
		return nil, &InvalidError{Field: "For"}
	case r.For == 0:
		r.For = DefaultReservation
	}
	r.For = max(r.For, time.Millisecond)
	return merged(r.Items)
}

// reserved are the lines of a reservation.
func reserved(all []line) []ReservedItem {
	return column(all, func(l line) ReservedItem {
		return ReservedItem{ProductID: l.ProductID, ProductName: l.product.Name, Quantity: l.Quantity, UnitPrice: l.product.PriceMinor}
	})
}

// replay answers with what the request's key did before, if that was the same request.
func (r ReserveRequest) replay(before db.InventoryReservation, listed *txn.Pending[[]db.ReservationItem], wanted []Item) (Reservation, error) {
	rows, err := listed.Value()
	if err != nil {
		return Reservation{}, fmt.Errorf("reserve: %w", err)
	}
	reservation := reservationOf(before, rows)
	same := slices.EqualFunc(reservation.Items, wanted, func(a ReservedItem, b Item) bool {
		return a.ProductID == b.ProductID && a.Quantity == b.Quantity
	})
	if !same || before.UserID != r.UserID {
		return Reservation{}, fmt.Errorf("%w: key %q", ErrKeyReused, r.Key)
	}
	reservation.Replayed = true
	return reservation, nil
}

func reservationOf(row db.InventoryReservation, items []db.ReservationItem) Reservation {
	return Reservation{
		ID: row.ID, UserID: row.UserID, Status: row.Status, Total: row.TotalMinor, OrderID: value(row.OrderID),
		ExpiresAt: row.ExpiresAt,
		Items: column(items, func(i db.ReservationItem) ReservedItem {
			return ReservedItem{ProductID: i.ProductID, ProductName: i.ProductName, Quantity: i.Quantity, UnitPrice: i.UnitPriceMinor}
		}),
	}
}

// Release puts the goods of a reservation back into stock, once: a second call finds it released,
// or expired, and returns it with Replayed set. Its payment ends with it: one that the provider
// was not asked for is cancelled, and money that was taken goes back; of one without an answer
// yet that is decided when the answer comes.
//
// It locks the products of the reservation, the reservation and its payments FOR NO KEY UPDATE,
// in this order, and needs no more than READ COMMITTED. It is refused with ErrUnknownReservation,
// ErrLocked, or, if an order has come of the reservation, ErrReservationEnded.
func Release(ctx context.Context, t txn.Transactor, reservation int64) (Reservation, error) {
	return txn.WithTxValue(ctx, t, txn.Options{Label: "order: release"}, func(ctx context.Context, tx *txn.Tx) (Reservation, error) {
		q := db.New(tx)
		ids := []int64{reservation}
		q.Queued().LockProductsOfReservations(ids)
		releasing := q.Queued().ReleaseReservation(reservation)
		listing := q.Queued().ListReservationItems(reservation)
		q.Queued().LockPaymentsOfReservations(ids)
		givingUp := q.Queued().GiveUpPayments(ids)
		row, err := q.GetReservation(ctx, reservation)
		if errors.Is(err, txn.ErrNotFound) {
			return Reservation{}, &UnknownReservationError{ReservationID: reservation}
		}
		if err != nil {
			return Reservation{}, fmt.Errorf("release: %w", refused(err))
		}
		if row.Status == db.ReservationStatusConfirmed {
			return Reservation{}, ended(row)
		}
		items, err := listing.Value()
		if err != nil {
			return Reservation{}, fmt.Errorf("release: %w", err)
		}
		released := reservationOf(row, items)
		switch _, err := releasing.Value(); {
		case errors.Is(err, txn.ErrNotFound):
			released.Replayed = true
			return released, nil
		case err != nil:
			return Reservation{}, fmt.Errorf("release: %w", err)
		}
		refunds, err := givingUp.Value()
		if err != nil {
			return Reservation{}, fmt.Errorf("release: %w", err)
		}
		return released, requestRefunds(ctx, tx, refunds)
	})
}

// ended is the error for a reservation that is not what a request needs.
func ended(r db.InventoryReservation) error {
	return &ReservationEndedError{ReservationID: r.ID, Status: r.Status, OrderID: value(r.OrderID), ExpiresAt: r.ExpiresAt}
}

// ReleaseExpired puts the goods of reservations whose time is over back into stock, those first
// that are overdue for longest, at most limit of them, and returns how many. Their payments end
// as by Release. It passes over those that somebody is just confirming or releasing. Several may
// run at once. The periodic job of PeriodicJobs calls it until there are none.
//
// It locks the products of the reservations, the reservations and their payments FOR NO KEY
// UPDATE, in this order, those of each table by id, and needs no more than READ COMMITTED. It is
// refused with ErrInvalid if the limit is not positive, or ErrLocked.
func ReleaseExpired(ctx context.Context, t txn.Transactor, limit int) (released int, err error) {
	if limit <= 0 {
		return 0, &InvalidError{Field: "limit"}
	}
	return txn.WithTxValue(ctx, t, txn.Options{Label: "order: release expired"}, func(ctx context.Context, tx *txn.Tx) (int, error) {
		q := db.New(tx)
		overdue, err := q.ListExpiredReservations(ctx, int64(limit))
		if err != nil {
			return 0, fmt.Errorf("release expired: %w", err)
		}
		if len(overdue) == 0 {
			return 0, nil
		}
		// What the list says may be over by now; under the locks it is asked again.
		q.Queued().LockProductsOfReservations(overdue)
		expiring := q.Queued().ExpireReservations(db.ExpireReservationsParams{Ids: overdue, MaxRows: int64(limit)})
		q.Queued().LockPaymentsOfReservations(overdue)
		refunds, err := q.GiveUpPayments(ctx, overdue)
		if err != nil {
			return 0, fmt.Errorf("release expired: %w", refused(err))
		}
		expired, err := expiring.Value()
		if err != nil {
			return 0, fmt.Errorf("release expired: %w", err)
		}
		return len(expired), requestRefunds(ctx, tx, refunds)
	})
}

// FindReservation returns a reservation as it was last committed, by its id.
//
// It locks nothing, and needs no more than READ COMMITTED. It is refused with ErrUnknownReservation.
func FindReservation(ctx context.Context, t txn.ReadTransactor, reservation int64) (Reservation, error) {
	opts := txn.Options{Label: "order: find a reservation"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (Reservation, error) {
		q := db.NewRead(rx)
		listing := q.Queued().ListReservationItems(reservation)
		row, err := q.GetReservation(ctx, reservation)
		if errors.Is(err, txn.ErrNotFound) {
			return Reservation{}, &UnknownReservationError{ReservationID: reservation}
		}
		if err != nil {
			return Reservation{}, fmt.Errorf("find a reservation: %w", err)
		}
		items, err := listing.Value()
		if err != nil {
			return Reservation{}, fmt.Errorf("find a reservation: %w", err)
		}
		return reservationOf(row, items), nil
	})
}
