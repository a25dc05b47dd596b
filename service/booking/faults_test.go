package booking_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The tests of this file first run code as it is often written, and show what goes wrong with
// it; then the same case through this package. What goes wrong is no theory: if it went right
// one day, the test would fail and could go.

// naiveSQL makes tables as such code has them: what is free is a column, and nothing else
// keeps a seat from being booked twice.
const naiveSQL = `
	create schema naive;
	grant usage on schema naive to ` + pgserver.AppRole + `;
	create table naive.seats (id bigint generated always as identity primary key, seat_number text,
		is_available boolean not null default true, reserved_by bigint, reserved_at timestamptz);
	create table naive.bookings (seat_id bigint references naive.seats (id), user_id bigint, status text);
	insert into naive.seats (seat_number) values ('A1'), ('A2'), ('A3')`

// naive makes those tables and returns a pool to use them by, as the ordinary role.
func (h *hall) naive(t *testing.T) *pgxpool.Pool {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), h.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, naiveSQL)
	return h.Pool(t)
}

var errNotAvailable = errors.New("seat not available")

// naiveLock is the first half of such a booking, and naiveTake the second.
func naiveLock(ctx context.Context, tx pgx.Tx, where string) (seat int64, err error) {
	err = tx.QueryRow(ctx, "select id from naive.seats where is_available and "+where+" for update").Scan(&seat)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errNotAvailable
	}
	return seat, err
}

func naiveTake(ctx context.Context, tx pgx.Tx, seat, user int64) error {
	if _, err := tx.Exec(ctx, "update naive.seats set is_available = false, reserved_by = $2, reserved_at = now() where id = $1", seat, user); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "insert into naive.bookings values ($1, $2, 'confirmed')", seat, user); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// Two book one seat. At SERIALIZABLE, which such code asks for in order to be safe, the loser
// does not hear that the seat is taken, but of a serialization failure, and nobody runs it
// again. At READ COMMITTED the same code waits, and then finds no row.
func TestLoserHearsThatTheSeatIsTaken(t *testing.T) {
	h := setup(t, txn.Config{})
	naive := h.naive(t)
	for seat, c := range []struct {
		level pgx.TxIsoLevel
		check func(error)
	}{
		{pgx.Serializable, func(err error) { require.Equal(t, "40001", txn.SQLState(err), "%v", err) }},
		{pgx.RepeatableRead, func(err error) { require.Equal(t, "40001", txn.SQLState(err), "%v", err) }},
		{pgx.ReadCommitted, func(err error) { require.Equal(t, errNotAvailable, err) }},
	} {
		where := fmt.Sprintf("seat_number = 'A%d'", seat+1)
		first, second := begin(t, naive, pgx.TxOptions{IsoLevel: c.level}), begin(t, naive, pgx.TxOptions{IsoLevel: c.level})
		id, err := naiveLock(t.Context(), first, where)
		require.NoError(t, err)
		lost := async(func() error {
			_, err := naiveLock(t.Context(), second, where)
			return err
		})
		waitBlocked(t, h.admin, 1)
		require.NoError(t, naiveTake(t.Context(), first, id, 1))
		c.check(<-lost)
	}

	for _, level := range isolations {
		event, ada, bob := h.event(t, 1, "A1"), h.user(t), h.user(t)
		var lost <-chan error
		require.NoError(t, txn.WithTx(t.Context(), h.at(level), txn.Options{
			Label: "test: first", Locks: []txn.Key{booking.UserKey(ada)},
		}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := booking.Book(ctx, tx, booking.BookRequest{Event: event, User: ada, Seat: "A1"}); err != nil {
				return err
			}
			lost = async(func() error {
				_, err := booking.Book(t.Context(), h.at(level), booking.BookRequest{Event: event, User: bob, Seat: "A1"})
				return err
			})
			waitBlocked(t, h.admin, 1)
			return nil
		}))
		require.Equal(t, &booking.TakenError{EventID: event, Seat: "A1"}, <-lost, level)
	}
}
