package txn

import (
	"context"
	"errors"

	"github.com/interlock-go/interlock/txn/internal/seam"
)

// Package txntest reaches this through the seam.
func init() {
	seam.Contain = func(ctx context.Context, db any, options any) (any, seam.Contained, error) {
		d, _ := db.(*DB)
		opts, _ := options.(Options)
		if d == nil || d.pool == nil {
			return (*Tx)(nil), nil, ErrTxDone
		}
		opts = opts.over(d.cfg.Options)
		if d.err != nil {
			return (*Tx)(nil), nil, d.err
		}
		if err := opts.validate(false); err != nil {
			return (*Tx)(nil), nil, err
		}
		t := d.newTransaction(ctx, opts, false, 1, transactionIDs.Add(1))
		s := &scope{t: t, label: opts.Label, contains: true}
		return &Tx{s}, &contained{t, s}, nil
	}
}

// contained is a transaction for a test: it is never committed, and what joins it does so
// in a savepoint, as if it were a transaction of its own.
type contained struct {
	t *transaction
	s *scope
}

func (c *contained) RollBack() { _ = c.t.end(errContained, c.s) }

// AfterCommit calls the hooks that wait for COMMIT, and forgets them.
func (c *contained) AfterCommit(ctx context.Context) error {
	h := &c.t.hooks
	err := c.t.afterCommit(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.after, h.undone = nil, nil, nil
	return err
}

var errContained = errors.New("txn: a test's transaction is never committed")
