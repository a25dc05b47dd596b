package order

import (
	"context"
	"fmt"
	"strings"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/txn"
)

// A ConfirmationArgs is a job that tells a user that an order was accepted.
type ConfirmationArgs struct {
	OrderID int64 `json:"order_id"`
}

// Kind names the job.
func (ConfirmationArgs) Kind() string { return "order.send_confirmation" }

// A ConfirmationWorker sends the letters that confirm orders. The job is inserted in the
// transaction that makes the order, so there is a letter for each order and none for an order
// that was rolled back. It is sent at least once; each time it has the same key, by which its
// receiver knows it.
type ConfirmationWorker struct {
	river.WorkerDefaults[ConfirmationArgs]
	DB   *txn.DB
	Mail mail.Sender
}

// Work sends the letter, unless the order has ended by now.
func (w *ConfirmationWorker) Work(ctx context.Context, job *river.Job[ConfirmationArgs]) error {
	opts := txn.Options{Label: "order: read for confirmation"}
	letter, err := txn.WithReadTxValue(ctx, w.DB, opts, func(ctx context.Context, rx *txn.ReadTx) (*mail.Message, error) {
		q := db.NewRead(rx)
		listing := q.Queued().ListOrderItems(job.Args.OrderID)
		order, err := q.GetOrderWithUser(ctx, job.Args.OrderID)
		if err != nil || hasEnded(order.Status) {
			return nil, err
		}
		items, err := listing.Value()
		if err != nil {
			return nil, err
		}
		return confirmation(order, items), nil
	})
	if err != nil {
		return fmt.Errorf("confirm order %d to its user: %w", job.Args.OrderID, err)
	}
	if letter == nil {
		return nil
	}
	if err := w.Mail.Send(ctx, *letter); err != nil {
		return fmt.Errorf("confirm order %d to its user: %w", job.Args.OrderID, err)
	}
	return nil
}

func confirmation(order db.GetOrderWithUserRow, items []db.OrderItem) *mail.Message {
	var body strings.Builder
	fmt.Fprintf(&body, "Dear %s,\n\nthank you for your order %d:\n\n", order.Name, order.ID)
	for _, item := range items {
		fmt.Fprintf(&body, "%d × %s: %s\n", item.Quantity, item.ProductName, item.TotalMinor)
	}
	fmt.Fprintf(&body, "\nTotal: %s\n", order.TotalMinor)
	return &mail.Message{
		Key:     fmt.Sprintf("order.send_confirmation/%d", order.ID),
		To:      order.Email,
		Subject: fmt.Sprintf("Your order %d", order.ID),
		Body:    body.String(),
	}
}
