package payment_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/internal/payment"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// A provider is a payment provider that makes one effect of all requests with a key.
type provider struct {
	mu       sync.Mutex
	requests []string       // path and key of each
	effects  map[string]int // what was charged or given back, by path and key

	// before is called when a request has had its effect, and before it is answered.
	before func(path string)
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Amount int `json:"amount_minor"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request := r.URL.Path + " " + r.Header.Get("Idempotency-Key")
	p.mu.Lock()
	p.requests = append(p.requests, request)
	p.effects[request] = body.Amount
	before := p.before
	p.mu.Unlock()
	if before != nil {
		before(r.URL.Path)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"reference": "ref " + request, "amount_minor": body.Amount})
}

// startWorkers has River work the jobs of package order until the test ends, or stop is called.
func startWorkers(t *testing.T, pool *pgxpool.Pool, p order.PaymentProvider) (stop func()) {
	t.Helper()
	workers := river.NewWorkers()
	order.AddWorkers(workers, txn.New(pool, txn.Config{}), p, nil)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: jobs.Schema, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
		FetchCooldown: 10 * time.Millisecond, FetchPollInterval: 10 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, client.Start(t.Context()))
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		_ = client.StopAndCancel(ctx)
	})
	t.Cleanup(stop)
	return stop
}

// A worker is gone with all its connections after the provider has charged, or given back, and
// before that is written down, as after SIGKILL. Another one works the job again: with the same
// key, which is the same charge.
func TestWorkerIsKilledBetweenChargeAndRecord(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	admin := database.Admin(t)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	outside := &provider{effects: map[string]int{}}
	server := httptest.NewServer(outside)
	t.Cleanup(server.Close)
	client, err := payment.NewClient(payment.Config{URL: server.URL, Currency: "EUR"})
	require.NoError(t, err)

	var user int64
	require.NoError(t, admin.QueryRow(t.Context(), "insert into users (email, name) values ('ada@example.com', 'Ada') returning id").Scan(&user))
	product, err := db.Autocommit(d).CreateProduct(t.Context(), db.CreateProductParams{Name: "Mug", PriceMinor: 500, Stock: 10})
	require.NoError(t, err)
	r, err := order.Reserve(t.Context(), d, order.ReserveRequest{
		UserID: user, Key: "cart", Items: []order.Item{{ProductID: product.ID, Quantity: 2}},
	})
	require.NoError(t, err)
	p, err := order.RequestPayment(t.Context(), d, order.PaymentRequest{ReservationID: r.ID, Method: db.PaymentMethodCard, Key: "pay"})
	require.NoError(t, err)

	// kill lets a worker ask for path, and takes it away when the provider has done that.
	kill := func(path string) {
		t.Helper()
		proxy := txntest.NewProxy(t, database.AppURL())
		pool, err := pgxpool.New(t.Context(), proxy.URL())
		require.NoError(t, err)
		done, gone := make(chan struct{}), make(chan struct{})
		outside.mu.Lock()
		outside.before = func(asked string) {
			if asked == path {
				close(done)
				<-gone
			}
		}
		outside.mu.Unlock()
		stop := startWorkers(t, pool, client)
		<-done
		proxy.Close()
		outside.mu.Lock()
		outside.before = nil
		outside.mu.Unlock()
		close(gone)
		stop()
		pool.Close()
	}
	// rescue is what River does with a job whose worker has not been heard of for long.
	rescue := func() {
		t.Helper()
		tag, err := admin.Exec(t.Context(), "update river.river_job set state = 'available', scheduled_at = now() where state = 'running'")
		require.NoError(t, err)
		require.EqualValues(t, 1, tag.RowsAffected())
	}
	status := func() string {
		t.Helper()
		found, err := order.FindPayment(t.Context(), d, p.ID)
		require.NoError(t, err)
		return string(found.Status)
	}

	kill("/charges")
	require.Equal(t, "pending", status(), "nobody has written down that it was charged")
	rescue()
	stop := startWorkers(t, database.Pool(t), client)
	require.Eventually(t, func() bool { return status() == "completed" }, 30*time.Second, 10*time.Millisecond)
	stop()
	require.Equal(t, []string{"/charges pay", "/charges pay"}, outside.requests, "asked twice")
	require.Equal(t, map[string]int{"/charges pay": 1000}, outside.effects, "charged once")

	_, err = order.RequestRefund(t.Context(), d, order.RefundRequest{PaymentID: p.ID, Reason: "test"})
	require.NoError(t, err)
	kill("/refunds")
	require.Equal(t, "refunding", status())
	rescue()
	startWorkers(t, database.Pool(t), client)
	require.Eventually(t, func() bool { return status() == "refunded" }, 30*time.Second, 10*time.Millisecond)
	refund := fmt.Sprintf("/refunds refund %d/1", p.ID)
	require.Equal(t, []string{"/charges pay", "/charges pay", refund, refund}, outside.requests)
	require.Equal(t, map[string]int{"/charges pay": 1000, refund: 1000}, outside.effects)
}
