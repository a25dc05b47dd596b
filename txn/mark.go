package txn

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A mark in a closure's context says which pool has a connection checked out by whom. It
// is read for one purpose only: to refuse that pool under it.
type mark struct {
	pool   *pgxpool.Pool
	open   *atomic.Bool // of the transaction: the mark counts only while it runs
	parent *mark        // transactions on other pools around this one
}

type markKey struct{}

// withMark returns ctx with the mark of a transaction, if it has not got it yet. A new one is
// made in m.
func withMark(ctx context.Context, m *mark, pool *pgxpool.Pool, open *atomic.Bool) context.Context {
	parent, _ := ctx.Value(markKey{}).(*mark)
	for p := parent; p != nil; p = p.parent {
		if p.open == open {
			return ctx
		}
	}
	*m = mark{pool: pool, open: open, parent: parent}
	return context.WithValue(ctx, markKey{}, m)
}

// marked reports whether ctx comes from a closure whose transaction, on the same pool, is
// still open. The transaction that holds a shared snapshot does not count for those that look
// at it.
func marked(ctx context.Context, pool *pgxpool.Pool, shared *SharedSnapshot) bool {
	m, _ := ctx.Value(markKey{}).(*mark)
	for ; m != nil; m = m.parent {
		if m.pool == pool && m.open.Load() && (shared == nil || m.open != &shared.s.t.open) {
			return true
		}
	}
	return false
}

// Detach returns ctx without the mark of the transaction it came from, so that a *DB can
// be used under it: for work that must be committed on its own whatever becomes of the
// transaction around it, such as an audit record of a refused attempt. It needs a second
// connection while the first is held: keep it rare, and the pool large enough. Values,
// deadline and cancellation stay.
func Detach(ctx context.Context) context.Context {
	return context.WithValue(ctx, markKey{}, (*mark)(nil))
}
