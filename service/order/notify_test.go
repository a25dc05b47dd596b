package order_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// The letter follows the order. Sent again, it has the same key, and is one letter.
func TestConfirmationIsOneLetter(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 1250, 10), newOutside()
	confirmed, r, _ := s.confirmed(t, b, "cart", order.Item{ProductID: mug, Quantity: 2})
	require.Zero(t, b.sent, "not before COMMIT, and not in it")
	job := jobOf[order.ConfirmationArgs](t, s.available(t)[0])
	for range 2 {
		require.NoError(t, (&order.ConfirmationWorker{DB: s.db, Mail: b}).Work(t.Context(), job))
	}
	require.Equal(t, 2, b.sent)
	key := fmt.Sprintf("order.send_confirmation/%d", confirmed.OrderID)
	require.Equal(t, map[string]mail.Message{key: {
		Key:     key,
		To:      fromTable[string](t, s, "select email from users where id = $1", r.UserID),
		Subject: fmt.Sprintf("Your order %d", confirmed.OrderID),
		Body: fmt.Sprintf("Dear %s,\n\nthank you for your order %d:\n\n2 × Mug: 25.00\n\nTotal: 25.00\n",
			fromTable[string](t, s, "select name from users where id = $1", r.UserID), confirmed.OrderID),
	}}, b.letters)
}

// A post office that is closed does not undo the order: the job stays.
func TestConfirmationIsTriedAgain(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 1250, 10), newOutside()
	s.confirmed(t, b, "cart", order.Item{ProductID: mug, Quantity: 2})
	job := jobOf[order.ConfirmationArgs](t, s.available(t)[0])
	closed := errors.New("closed")
	w := &order.ConfirmationWorker{DB: s.db, Mail: sender(func(context.Context, mail.Message) error { return closed })}
	require.ErrorIs(t, w.Work(t.Context(), job), closed)
	require.Len(t, s.jobs(t), 1)
	require.Empty(t, s.work(t, b))
	require.Len(t, b.letters, 1)
}

type sender func(context.Context, mail.Message) error

func (send sender) Send(ctx context.Context, m mail.Message) error { return send(ctx, m) }

// Nobody is thanked for an order that was cancelled meanwhile.
func TestCancelledIsNotConfirmed(t *testing.T) {
	s := setup(t, txn.Config{})
	mug, b := s.product(t, 1250, 10), newOutside()
	confirmed, _, _ := s.confirmed(t, b, "cart", order.Item{ProductID: mug, Quantity: 2})
	_, err := order.Cancel(t.Context(), s.db, confirmed.OrderID)
	require.NoError(t, err)
	require.Empty(t, s.work(t, b))
	require.Zero(t, b.sent)
	job := jobOf[order.ConfirmationArgs](t, work{args: []byte(`{"order_id": 1099511627776}`)})
	require.ErrorIs(t, (&order.ConfirmationWorker{DB: s.db, Mail: b}).Work(t.Context(), job), txn.ErrNotFound)
}
