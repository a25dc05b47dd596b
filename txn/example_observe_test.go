package txn_test

import (
	"context"
	"fmt"

	"github.com/interlock-go/interlock/txn"
)

// costs are round trips by label.
type costs map[string]int

func (c costs) Observe(_ context.Context, e txn.Event) {
	if e, ok := e.(txn.CommitEvent); ok {
		c[e.Label] += e.RoundTrips
	}
}

// An observer takes of each event what it wants. Used by several goroutines at once it needs a
// mutex, too.
func ExampleObserver() {
	ctx := context.Background()
	spent := costs{}
	d, done := exampleDB(func(cfg *txn.Config) { cfg.Observers = []txn.Observer{spent} })
	defer done()

	_ = txn.WithTx(ctx, d, txn.Options{Label: "asks"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com')")
		return err
	})
	_ = txn.WithTx(ctx, d, txn.Options{Label: "queues"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('bob@example.com')")
		return nil
	})
	fmt.Println(spent)

	// Output:
	// map[asks:2 queues:1]
}

// narrator writes a line for each event, whatever it is.
type narrator struct{}

func (narrator) Observe(_ context.Context, e txn.Event) {
	info := e.Transaction()
	fmt.Printf("%s, attempt %d: %T\n", info.Label, info.Attempt, e)
}

// All events say which transaction they belong to.
func ExampleInfo_Transaction() {
	ctx := context.Background()
	d, done := exampleDB(func(cfg *txn.Config) { cfg.Observers = []txn.Observer{narrator{}} })
	defer done()

	_ = txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com')")
		return err
	})

	// Output:
	// sign-up, attempt 1: txn.BeginEvent
	// sign-up, attempt 1: txn.StatementEvent
	// sign-up, attempt 1: txn.CommitEvent
}
