package report

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// Reports that are read by transactions which cannot write. They are stored by another one right
// after. If the program ends in between, nothing is stored, and the request may be sent again.

// MakeDeferrable computes a report at SERIALIZABLE READ ONLY DEFERRABLE, and stores it in a
// transaction of its own right after.
//
// The read waits until it can have a snapshot that no anomaly reaches, for as long as
// transactions at SERIALIZABLE that began before it write: ctx bounds that. From then on it
// neither waits, nor fails, nor disturbs anybody, and all figures are of one moment. It locks
// nothing. Two round trips, the wait in the first; one if the report is there already.
//
// It is refused with ErrInvalid or ErrKeyReused.
func MakeDeferrable(ctx context.Context, d *txn.DB, r Request) (Report, error) {
	m := making{request: r, way: db.ReportWayDeferrable, label: "report: store"}
	if err := m.checkReadOnly(); err != nil {
		return Report{}, err
	}
	opts := txn.Options{Label: "report: make deferrable", Isolation: txn.Serializable, Deferrable: true}
	v, err := txn.WithReadTxValue(ctx, d, opts, func(_ context.Context, rx *txn.ReadTx) (parts, error) {
		q := db.NewRead(rx).Queued()
		return parts{q.FindReport(m.find()), reads(q)}, nil
	})
	if err != nil {
		return Report{}, fmt.Errorf("report: read: %w", refused(err))
	}
	return m.storeAfter(ctx, d, v)
}

// MakeFromSnapshot computes a report in three parts, which are read at the same time on
// connections of their own from one snapshot, and stores it in a transaction of its own right
// after.
//
// All figures are of one moment, as at REPEATABLE READ, and the report takes as long as its
// longest part. It locks nothing. Six round trips, of which a call waits for four; without the
// last if the report is there already. It needs two connections of the pool at least, and four
// for all parts to run at once; see txn.WithSharedSnapshot.
//
// It is refused with ErrInvalid or ErrKeyReused.
func MakeFromSnapshot(ctx context.Context, d *txn.DB, r Request) (Report, error) {
	m := making{request: r, way: db.ReportWaySharedSnapshot, label: "report: store"}
	if err := m.checkReadOnly(); err != nil {
		return Report{}, err
	}
	opts := txn.Options{Label: "report: make from a snapshot"}
	v, err := txn.WithSharedSnapshotValue(ctx, d, opts, func(ctx context.Context, shared *txn.SharedSnapshot) (parts, error) {
		return m.readParts(ctx, shared)
	})
	if err != nil {
		return Report{}, fmt.Errorf("report: read: %w", refused(err))
	}
	return m.storeAfter(ctx, d, v)
}

// parts are the answers of one or several transactions.
type parts struct {
	before *txn.Pending[db.Report]
	pending
}

func (m making) readParts(ctx context.Context, shared *txn.SharedSnapshot) (parts, error) {
	var p parts
	read := []func(*db.QueuedReadQueries){
		func(q *db.QueuedReadQueries) {
			p.before, p.users, p.balances = q.FindReport(m.find()), q.CountUsers().Value, q.SumBalances().Value
		},
		func(q *db.QueuedReadQueries) { p.entries = q.SumCustomerEntries().Value },
		func(q *db.QueuedReadQueries) { p.transfer, p.posts = q.CountTransfers().Value, q.CountPosts().Value },
	}
	errs := make([]error, len(read))
	var all sync.WaitGroup
	for i, queue := range read {
		all.Go(func() {
			opts := txn.Options{Label: "report: read a part"}
			errs[i] = txn.WithReadTx(ctx, shared, opts, func(_ context.Context, rx *txn.ReadTx) error {
				queue(db.NewRead(rx).Queued())
				return nil
			})
		})
	}
	all.Wait()
	return p, errors.Join(errs...)
}

func (m making) checkReadOnly() error {
	switch {
	case m.request.Isolation != txn.IsolationUnspecified:
		return &InvalidError{Field: "Isolation"}
	case m.request.LockTimeout != 0:
		return &InvalidError{Field: "LockTimeout"}
	}
	return m.check()
}

// storeAfter stores a report that others have read. If somebody has stored it meanwhile, the
// report is that one.
func (m making) storeAfter(ctx context.Context, d *txn.DB, p parts) (Report, error) {
	if row, err := p.before.Value(); !errors.Is(err, txn.ErrNotFound) {
		ask, err := m.replay(row, err)
		if err != nil {
			return Report{}, err
		}
		return ask()
	}
	f, err := p.figures()
	if err != nil {
		return Report{}, err
	}
	opts := txn.Options{Label: m.label, Isolation: txn.ReadCommitted}
	return m.stored(ctx, d, opts, func(_ context.Context, tx *txn.Tx) (answer, error) {
		return m.store(db.New(tx).Queued(), f), nil
	})
}
