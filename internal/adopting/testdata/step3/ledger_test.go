package ledger_test

import (
	"errors"
	"os"
	"testing"

	"github.com/interlock-go/interlock/txn"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/ledger"
)

// setup connects to the database with schema.sql that LEDGER_TEST_DATABASE_URL names, by one
// connection, and opens accounts with the balances.
func setup(t *testing.T, balances ...int64) (l *ledger.Ledger, ids []int64, w *wire) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(os.Getenv("LEDGER_TEST_DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	w = wired(cfg)
	cfg.MaxConns = 1
	txn.ConfigurePool(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	l = ledger.New(pool)
	for _, balance := range balances {
		a, err := l.Open(t.Context(), t.Name(), balance)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.ID)
	}
	return l, ids, w
}

// holds compares the balances of accounts.
func holds(t *testing.T, l *ledger.Ledger, ids []int64, balances ...int64) {
	t.Helper()
	for i, id := range ids {
		s, err := l.Statement(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s.Account.Balance != balances[i] {
			t.Errorf("account %d holds %d, not %d", i, s.Account.Balance, balances[i])
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	l, ids, _ := setup(t, 100, 0)
	id, err := l.Transfer(t.Context(), ids[0], ids[1], 30)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, l, ids, 70, 30)
	s, err := l.Statement(t.Context(), ids[1])
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Transfers) != 1 || s.Transfers[0].ID != id || s.Transfers[0].Amount != 30 {
		t.Errorf("the statement says %v", s.Transfers)
	}
}

func TestRefusedTransferChangesNothing(t *testing.T) {
	t.Parallel()
	l, ids, _ := setup(t, 100, 0)
	if _, err := l.Transfer(t.Context(), ids[0], ids[1], 101); !errors.Is(err, ledger.ErrFunds) {
		t.Errorf("more than there is: %v", err)
	}
	if _, err := l.Transfer(t.Context(), ids[0], -1, 1); !errors.Is(err, ledger.ErrNoAccount) {
		t.Errorf("to nobody: %v", err)
	}
	if _, err := l.Statement(t.Context(), -1); !errors.Is(err, ledger.ErrNoAccount) {
		t.Errorf("nobody's statement: %v", err)
	}
	holds(t, l, ids, 100, 0)
}

func TestPayIsAllOrNothing(t *testing.T) {
	t.Parallel()
	l, ids, _ := setup(t, 100, 0, 0)
	if err := l.Pay(t.Context(), ids[0], ids[1:], 40); err != nil {
		t.Fatal(err)
	}
	holds(t, l, ids, 20, 40, 40)
	if err := l.Pay(t.Context(), ids[0], ids[1:], 15); !errors.Is(err, ledger.ErrFunds) {
		t.Errorf("more than there is: %v", err)
	}
	holds(t, l, ids, 20, 40, 40)
}

// The money has moved, and nobody heard of it.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	l, ids, w := setup(t, 100, 0)
	w.loseCommit.Store(true)
	if _, err := l.Transfer(t.Context(), ids[0], ids[1], 30); err != nil {
		t.Error(err)
	}
	if w.loseCommit.Load() {
		t.Error("no COMMIT was lost")
	}
	holds(t, l, ids, 70, 30)
}
