package booking_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) {
	allow := func(reason string, queries ...string) {
		for _, first := range queries {
			for _, second := range queries {
				lockOrder.Allow(first, second, reason)
			}
		}
	}
	allow("calls that a caller puts together lock in the order of the calls; one that deadlocks runs again",
		"LockSeat", "LockSeatOfBooking")
	allow("bookings are changed by whoever holds their seat, and these have locked it", "BookSeat", "BookAnySeat", "ConfirmBooking", "EndBooking")
	os.Exit(lockOrder.Run(m))
}

// watched is the configuration with lockOrder.
func watched(cfg txn.Config) txn.Config {
	cfg.Observers = append(cfg.Observers, lockOrder)
	return cfg
}

// isolations are the levels that a program may have chosen for all its transactions.
var isolations = []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable}

// A hall is a database of the test's own. Its invariants are checked at the test's end.
type hall struct {
	*txntest.Database
	db            *txn.DB       // as the ordinary role
	admin         *pgxpool.Pool // to inject faults and to look
	users, events atomic.Int64
}

func setup(t *testing.T, cfg txn.Config) *hall {
	t.Helper()
	t.Parallel()
	database := testschema.NewDatabase(t)
	return &hall{Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), watched(cfg)), admin: database.Admin(t)}
}

// at returns a DB on the test's database whose transactions are of that level, if they do not
// ask for another.
func (h *hall) at(level txn.Isolation) *txn.DB {
	return txn.New(h.db.Pool(), watched(txn.Config{Options: txn.Options{Isolation: level}}))
}

// event makes an event with those seats.
func (h *hall) event(t *testing.T, seatsPerUser int32, seats ...string) int64 {
	t.Helper()
	code := fmt.Sprint("event ", h.events.Add(1))
	id, err := booking.CreateEvent(t.Context(), h.db, booking.CreateEventRequest{
		Code: code, Name: "Gala", SeatsPerUser: seatsPerUser, Seats: seats,
	})
	require.NoError(t, err)
	return id
}

func (h *hall) user(t *testing.T) int64 {
	t.Helper()
	return fromTable[int64](t, h, "insert into users (email, name) values (format('user-%s@example.com', $1::int), 'User') returning id", h.users.Add(1))
}

// seats says what is on the seats of an event: "A1 free, A2 held by 7, A3 booked by 8".
func (h *hall) seats(t *testing.T, event int64) string {
	t.Helper()
	return fromTable[string](t, h, `
		select string_agg(s.label || ' ' || s.status || coalesce(' by ' || b.user_id, ''), ', ' order by s.id)
		from seats s left join bookings b on b.seat_id = s.id and b.live where s.event_id = $1`, event)
}

// bookings says what became of the bookings of a seat, the oldest first: "7 expired, 8 held".
func (h *hall) bookings(t *testing.T, seat int64) string {
	t.Helper()
	return fromTable[string](t, h, `
		select coalesce(string_agg(user_id || ' ' || status, ', ' order by id), '') from bookings where seat_id = $1`, seat)
}

// pass lets the time of holds go by.
func (h *hall) pass(t *testing.T, tickets ...booking.Ticket) {
	t.Helper()
	for _, ticket := range tickets {
		exec(t, h.admin, `
			with earlier as (
				update bookings set created_at = created_at - interval '2 days', expires_at = expires_at - interval '2 days'
				where id = $1 and status = 'held' returning seat_id, expires_at
			)
			update seats set held_until = earlier.expires_at from earlier where id = earlier.seat_id`, ticket.BookingID)
	}
}

// fromTable returns a query's single value, as the superuser sees it.
func fromTable[T any](t *testing.T, h *hall, sql string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, h.admin.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// waitBlocked returns when n sessions of the database wait for locks.
func waitBlocked(t *testing.T, admin *pgxpool.Pool, n int) {
	t.Helper()
	// The sleep stands outside: beside an empty table it would not be done.
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		var blocked int
		require.NoError(t, admin.QueryRow(t.Context(), `
			select (select count(*) from pg_stat_activity
				where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)
			from pg_sleep(0.01)`).Scan(&blocked))
		if blocked == n {
			return
		}
	}
	t.Fatalf("there were never %d sessions waiting for locks", n)
}

// together makes calls run into one another: it holds a seat until each of the calls waits,
// for it or for one another, and lets all go at once. It returns their errors.
func (h *hall) together(t *testing.T, seat int64, calls ...func() error) []error {
	t.Helper()
	errs := make([]error, len(calls))
	var running sync.WaitGroup
	defer running.Wait() // also when the test fails here, and then after the lock is gone
	holder := begin(t, h.admin)
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	exec(t, holder, "select from seats where id = $1 for update", seat)
	for i, call := range calls {
		running.Go(func() { errs[i] = call() })
	}
	waitBlocked(t, h.admin, len(calls))
	require.NoError(t, holder.Commit(t.Context()))
	running.Wait()
	return errs
}

// seatOf returns the id of a seat.
func (h *hall) seatOf(t *testing.T, event int64, label string) int64 {
	t.Helper()
	return fromTable[int64](t, h, "select id from seats where event_id = $1 and label = $2", event, label)
}

// async starts call and returns where its error will be.
func async(call func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

// begin begins a transaction of plain pgx, rolled back at the test's end at the latest.
func begin(t *testing.T, pool *pgxpool.Pool, opts ...pgx.TxOptions) pgx.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), append(opts, pgx.TxOptions{})[0])
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

// exec runs a statement of plain pgx, on a pool, a connection or a transaction.
func exec(t *testing.T, on interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, sql string, args ...any) {
	t.Helper()
	_, err := on.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}
