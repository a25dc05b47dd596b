package txn

import "sync"

// The numbers are those of gRPC's retry throttling (gRFC A6): a few calls may retry at
// once when a server fails; when most fail, nearly none does, so that retries do not keep
// a struggling server down.
const (
	budgetTokens  = 10.0
	budgetRefill  = 0.1
	budgetReserve = 5.0
)

// A budget limits the retries that outages cause, over all callers of a DB.
type budget struct {
	mu     sync.Mutex
	tokens float64
}

func newBudget() *budget { return &budget{tokens: budgetTokens} }

// success refills after a committed transaction.
func (b *budget) success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+budgetRefill, budgetTokens)
}

// draw takes a token for a failed attempt and reports whether it may be repeated.
func (b *budget) draw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = max(b.tokens-1, 0)
	return b.tokens > budgetReserve
}
