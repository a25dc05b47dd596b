package txntest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a rendezvous waits before the test is told that it will not happen.
const patience = 10 * time.Second

// A Barrier lets a number of goroutines wait for one another: it forces an interleaving
// where a sleep would only make it likely. It opens once and stays open.
type Barrier struct {
	mu      sync.Mutex
	missing int
	open    chan struct{}
}

// NewBarrier makes a barrier for n goroutines, n > 0.
func NewBarrier(n int) *Barrier {
	if n < 1 {
		panic(fmt.Sprintf("txntest: a barrier for %d goroutines", n))
	}
	return &Barrier{missing: n, open: make(chan struct{})}
}

// Wait returns nil when n calls of it were made. It returns an error, which wraps the
// context's, when ctx ends first, or ten seconds have passed: somebody will not come. Its
// own arrival counts all the same.
func (b *Barrier) Wait(ctx context.Context) error {
	b.mu.Lock()
	if b.missing--; b.missing == 0 {
		close(b.open)
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-b.open:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		return fmt.Errorf("txntest: barrier: %d did not come: %w", b.missing, ctx.Err())
	}
}

// A Querier watches other sessions; pools, connections and transactions of pgx are such.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// WaitBlocked returns when the session with the process id pid waits for a lock that another
// holds. After ten seconds the test fails, with what the sessions do instead. The watcher
// must be in the same database, and the superuser's to see others' statements in the
// failure. Call it from the test's own goroutine.
func WaitBlocked(t testing.TB, watcher Querier, pid int) {
	t.Helper()
	// Polled on the server; pg_blocking_pids is not cached within a transaction, as
	// pg_stat_activity is.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var blocked bool
		err := watcher.QueryRow(t.Context(),
			"select cardinality(pg_blocking_pids($1)) > 0 from pg_sleep(0.005)", pid).Scan(&blocked)
		if err != nil {
			t.Fatalf("txntest: watch session %d: %v", pid, err)
		}
		if blocked {
			return
		}
	}
	t.Fatalf("txntest: session %d did not come to wait for a lock:\n\t%s", pid, Sessions(t.Context(), watcher))
}

// Sessions describes what the other sessions, prepared transactions and locks in the
// watcher's database are, a line each: for the message of a test that waited in vain.
func Sessions(ctx context.Context, watcher Querier) string {
	found, err := leftOpen(ctx, watcher)
	if err != nil {
		found = append(found, err.Error())
	}
	if len(found) == 0 {
		return "no other session"
	}
	return strings.Join(found, "\n\t")
}
