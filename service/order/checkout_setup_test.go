package order_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The outside is a payment provider that makes one effect of all requests with a key, and a post
// office.
type outside struct {
	mu       sync.Mutex
	asked    []string          // each request: "charge k", "refund k of charge-1"
	effects  map[string]string // reference, by key
	declines map[string]string // code, by key

	// after is called when a request has had its effect. Its error is what the caller gets
	// instead of the answer.
	after func(key string) error

	letters map[string]mail.Message // by key
	sent    int
}

func newOutside() *outside {
	return &outside{effects: map[string]string{}, declines: map[string]string{}, letters: map[string]mail.Message{}}
}

func (b *outside) do(what, key, request string) (order.ProviderReceipt, error) {
	b.mu.Lock()
	b.asked = append(b.asked, request)
	if code := b.declines[key]; code != "" {
		b.mu.Unlock()
		return order.ProviderReceipt{}, fmt.Errorf("%s: %w", what, &order.DeclinedError{Code: code})
	}
	reference, done := b.effects[key]
	if !done {
		reference = fmt.Sprintf("%s-%d", what, len(b.effects)+1)
		b.effects[key] = reference
	}
	after := b.after
	b.mu.Unlock()
	if after != nil {
		if err := after(key); err != nil {
			return order.ProviderReceipt{}, err
		}
	}
	return order.ProviderReceipt{Reference: reference}, nil
}

func (b *outside) Charge(_ context.Context, r order.ChargeRequest) (order.ProviderReceipt, error) {
	return b.do("charge", r.Key, fmt.Sprintf("charge %s: %s from %d by %s", r.Key, r.Amount, r.UserID, r.Method))
}

func (b *outside) Refund(_ context.Context, r order.ProviderRefund) (order.ProviderReceipt, error) {
	return b.do("refund", r.Key, fmt.Sprintf("refund %s: %s of %s", r.Key, r.Amount, r.Charge))
}

func (b *outside) Send(_ context.Context, m mail.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent++
	b.letters[m.Key] = m
	return nil
}

// A work is a job that is there to be worked.
type work struct {
	id   int64
	kind string
	args []byte
}

// jobs are those that are to be worked, oldest first: "order.charge {"payment_id": 1}".
func (s *shop) jobs(t *testing.T) (jobs []string) {
	t.Helper()
	for _, w := range s.available(t) {
		jobs = append(jobs, fmt.Sprintf("%s %s", w.kind, w.args))
	}
	return jobs
}

func (s *shop) available(t *testing.T) []work {
	t.Helper()
	rows, err := s.admin.Query(t.Context(), "select id, kind, args from river.river_job where state = 'available' order by id")
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w work, err error) {
		return w, row.Scan(&w.id, &w.kind, &w.args)
	})
	require.NoError(t, err)
	return found
}

// work has the workers work all jobs, and those that come of them. A job that fails stays, and
// its error is returned: River would work it again.
func (s *shop) work(t *testing.T, b *outside) (errs []error) {
	t.Helper()
	failed := map[int64]bool{}
	for {
		worked := 0
		for _, w := range s.available(t) {
			if failed[w.id] {
				continue
			}
			worked++
			if err := s.workOne(t, b, w); err != nil {
				errs = append(errs, err)
				failed[w.id] = true
				continue
			}
			exec(t, s.admin, "update river.river_job set state = 'completed', finalized_at = now() where id = $1", w.id)
		}
		if worked == 0 {
			return errs
		}
	}
}

func (s *shop) workOne(t *testing.T, b *outside, w work) error {
	t.Helper()
	switch w.kind {
	case order.ChargeArgs{}.Kind():
		return (&order.ChargeWorker{DB: s.db, Provider: b}).Work(t.Context(), jobOf[order.ChargeArgs](t, w))
	case order.RefundArgs{}.Kind():
		return (&order.RefundWorker{DB: s.db, Provider: b}).Work(t.Context(), jobOf[order.RefundArgs](t, w))
	case order.ConfirmationArgs{}.Kind():
		return (&order.ConfirmationWorker{DB: s.db, Mail: b}).Work(t.Context(), jobOf[order.ConfirmationArgs](t, w))
	case order.CancelUnpaidArgs{}.Kind():
		return (&order.CancelUnpaidWorker{DB: s.db}).Work(t.Context(), jobOf[order.CancelUnpaidArgs](t, w))
	}
	t.Fatalf("nobody works %s", w.kind)
	return nil
}

func jobOf[A river.JobArgs](t *testing.T, w work) *river.Job[A] {
	t.Helper()
	job := &river.Job[A]{JobRow: &rivertype.JobRow{ID: w.id, Kind: w.kind, EncodedArgs: w.args}}
	require.NoError(t, json.Unmarshal(w.args, &job.Args))
	return job
}

// reserved keeps goods for a new user.
func (s *shop) reserved(t *testing.T, key string, items ...order.Item) order.Reservation {
	t.Helper()
	r, err := order.Reserve(t.Context(), s.db, order.ReserveRequest{UserID: s.user(t), Key: key, Items: items})
	require.NoError(t, err)
	require.False(t, r.Replayed)
	return r
}

// paymentFor asks for a reservation to be paid.
func (s *shop) paymentFor(t *testing.T, r order.Reservation, key string) order.Payment {
	t.Helper()
	p, err := order.RequestPayment(t.Context(), s.db, order.PaymentRequest{ReservationID: r.ID, Method: db.PaymentMethodCard, Key: key})
	require.NoError(t, err)
	require.False(t, p.Replayed)
	return p
}

// paid keeps goods, and has them paid.
func (s *shop) paid(t *testing.T, b *outside, key string, items ...order.Item) (order.Reservation, order.Payment) {
	t.Helper()
	r := s.reserved(t, key, items...)
	p := s.paymentFor(t, r, "pay "+key)
	require.Empty(t, s.work(t, b))
	require.Equal(t, db.PaymentStatusCompleted, s.payment(t, p.ID).Status)
	return r, p
}

// confirmed makes an order of goods that are kept and paid.
func (s *shop) confirmed(t *testing.T, b *outside, key string, items ...order.Item) (order.Confirmed, order.Reservation, order.Payment) {
	t.Helper()
	r, p := s.paid(t, b, key, items...)
	c, err := order.Confirm(t.Context(), s.db, confirmRequest(r, p))
	require.NoError(t, err)
	require.False(t, c.Replayed)
	return c, r, p
}

func confirmRequest(r order.Reservation, p order.Payment) order.ConfirmRequest {
	return order.ConfirmRequest{ReservationID: r.ID, PaymentID: p.ID, Address: home}
}

func (s *shop) payment(t *testing.T, id int64) order.Payment {
	t.Helper()
	p, err := order.FindPayment(t.Context(), s.db, id)
	require.NoError(t, err)
	return p
}

func (s *shop) reservation(t *testing.T, id int64) order.Reservation {
	t.Helper()
	r, err := order.FindReservation(t.Context(), s.db, id)
	require.NoError(t, err)
	return r
}

// refund is the latest one of a payment.
func (s *shop) refund(t *testing.T, payment int64) order.Refund {
	t.Helper()
	r, err := order.FindRefund(t.Context(), s.db, payment)
	require.NoError(t, err)
	return r
}

func (s *shop) stock(t *testing.T, product int64) int64 {
	t.Helper()
	return s.get(t, product).Stock
}

// age lets the time of a reservation be over.
func (s *shop) age(t *testing.T, reservation int64) {
	t.Helper()
	s.set(t, "inventory_reservations", reservation, "created_at = created_at - interval '1 hour', expires_at = expires_at - interval '1 hour'")
}

// checkoutSQL is a fingerprint of everything that a checkout touches.
const checkoutSQL = `
	select md5(coalesce((select string_agg(p::text, ',' order by id) from products p), '')
		|| coalesce((select string_agg(r::text, ',' order by id) from inventory_reservations r), '')
		|| coalesce((select string_agg(i::text, ',' order by reservation_id, product_id) from reservation_items i), '')
		|| coalesce((select string_agg(o::text, ',' order by id) from orders o), '')
		|| coalesce((select string_agg(i::text, ',' order by order_id, product_id) from order_items i), '')
		|| coalesce((select string_agg(p::text, ',' order by id) from payments p), '')
		|| coalesce((select string_agg(f::text, ',' order by id) from refunds f), '')
		|| coalesce((select string_agg(c::text, ',' order by user_id) from customer_counters c), '')
		|| coalesce((select string_agg(j.args::text, ',' order by id) from river.river_job j), ''))`

// naiveCheckoutSQL makes tables for a checkout as it is often written: a status is whatever the
// last one wrote.
const naiveCheckoutSQL = `
	create schema naive_checkout;
	grant usage on schema naive_checkout to ` + pgserver.AppRole + `;
	create table naive_checkout.products (id bigint primary key, stock bigint not null default 10);
	create table naive_checkout.reservations (id bigint generated always as identity primary key, status text not null default 'active');
	create table naive_checkout.items (reservation_id bigint, product_id bigint, quantity bigint);
	create table naive_checkout.payments (id bigint generated always as identity primary key, amount bigint, status text not null default 'completed');
	create table naive_checkout.orders (id bigint generated always as identity primary key, reservation_id bigint, payment_id bigint,
		status text not null default 'confirmed');
	insert into naive_checkout.products (id) values (1), (2)`

// naiveCheckout makes those tables and returns a pool to use them by, as the ordinary role.
// Products 1 and 2 are there 10 times.
func (s *shop) naiveCheckout(t *testing.T) *pgxpool.Pool {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), s.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, naiveCheckoutSQL)
	return s.Pool(t)
}

func (s *shop) naiveStock(t *testing.T, product int64) int64 {
	t.Helper()
	return fromTable[int64](t, s, "select stock from naive_checkout.products where id = $1", product)
}

// naiveReserve reserves product by product, in the order of the request.
func naiveReserve(ctx context.Context, tx pgx.Tx, items ...order.Item) (id int64, err error) {
	if err := tx.QueryRow(ctx, "insert into naive_checkout.reservations default values returning id").Scan(&id); err != nil {
		return 0, err
	}
	for _, item := range items {
		if err := naiveTake(ctx, tx, id, item); err != nil {
			return 0, err
		}
	}
	return id, nil
}

func naiveTake(ctx context.Context, tx pgx.Tx, reservation int64, item order.Item) error {
	var stock int64
	if err := tx.QueryRow(ctx, "select stock from naive_checkout.products where id = $1 for update", item.ProductID).Scan(&stock); err != nil {
		return err
	}
	if stock < item.Quantity {
		return fmt.Errorf("insufficient stock for product %d", item.ProductID)
	}
	if _, err := tx.Exec(ctx, "update naive_checkout.products set stock = stock - $2 where id = $1", item.ProductID, item.Quantity); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "insert into naive_checkout.items values ($1, $2, $3)", reservation, item.ProductID, item.Quantity)
	return err
}

// naiveRelease puts back what was reserved, and then notes that.
func naiveRelease(ctx context.Context, tx pgx.Tx, reservation int64) error {
	_, err := tx.Exec(ctx, `
		update naive_checkout.products p set stock = stock + i.quantity
		from naive_checkout.items i where i.product_id = p.id and i.reservation_id = $1`, reservation)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "update naive_checkout.reservations set status = 'released' where id = $1", reservation)
	return err
}

// chargeJob is the job that asks for a payment.
func chargeJob(payment int64) *river.Job[order.ChargeArgs] {
	return &river.Job[order.ChargeArgs]{JobRow: &rivertype.JobRow{}, Args: order.ChargeArgs{PaymentID: payment}}
}
