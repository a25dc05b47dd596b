package criticalrecord

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A writing is a version about to be written.
type writing struct {
	label    string
	user     int64
	checksum Sum
	setting  txn.SynchronousCommit

	// queue queues the statement, and returns what asks for its answer.
	queue func(*db.QueuedQueries) func() (version, error)

	// find finds the version that stands in the place of the one to be written; zero is none.
	find func(context.Context, db.LockQuerier) (version, error)

	// refuse says why that one is not this one.
	refuse func(context.Context, db.ReadQuerier) error
}

// A version is what a statement says that it wrote, or found.
type version db.CreateCriticalRecordRow

func versionOf(c db.CriticalRecordCopy) version {
	return version{
		ID: c.RecordID, Version: c.Version, UserID: c.UserID, Checksum: c.Checksum, Seal: c.Seal, WrittenAt: c.CreatedAt,
		Replayed: true,
	}
}

func (v version) receipt() Receipt {
	return Receipt{
		RecordID: v.ID, Version: v.Version, Checksum: sum(v.Checksum), Seal: sum(v.Seal), At: v.WrittenAt, Replayed: v.Replayed,
	}
}

// newWriting refuses what can never be right, before anything is sent.
func newWriting(label string, user int64, data []byte, d Durability) (*writing, error) {
	if len(data) == 0 || len(data) > MaxData {
		return nil, &InvalidError{Field: "Data"}
	}
	setting, err := d.setting()
	return &writing{label: label, user: user, checksum: sha256.Sum256(data), setting: setting}, err
}

// carryOut writes in one flush with BEGIN and COMMIT. Only where that leaves something open it
// asks again.
func (w *writing) carryOut(ctx context.Context, t txn.Transactor) (Receipt, error) {
	opts := txn.Options{Label: w.label, SynchronousCommit: w.setting, FlushJoined: true} // the receipt is in an answer
	answer, err := txn.WithTxValue(ctx, t, opts, func(_ context.Context, tx *txn.Tx) (func() (version, error), error) {
		return w.queue(db.New(tx).Queued()), nil
	})
	if unknown, ok := errors.AsType[*txn.CommitUnknownError](err); ok {
		return w.resolve(ctx, t, unknown)
	}
	if err != nil {
		return Receipt{}, err
	}
	v, err := answer()
	switch {
	case err == nil && w.is(v):
		return v.receipt(), nil
	case err != nil && !errors.Is(err, txn.ErrNotFound):
		return Receipt{}, &txn.HookError{Label: w.label, Err: err} // it is written, and the answer cannot be read
	}
	return w.explain(ctx, t, v)
}

// resolve looks for what a transaction wrote of which nobody knows whether it was committed. If
// the version is there, it was; if not, it still may be.
func (w *writing) resolve(ctx context.Context, t txn.Transactor, unknown *txn.CommitUnknownError) (Receipt, error) {
	v, err := txn.WithTxValue(ctx, t, w.looking(), func(ctx context.Context, tx *txn.Tx) (version, error) {
		return w.find(ctx, db.New(tx))
	})
	if err != nil || !w.is(v) {
		return Receipt{}, unknown
	}
	receipt := v.receipt()
	receipt.Replayed = false
	return receipt, nil
}

// explain says what there is in the place of a version that was not written. In a transaction
// that may write: a refusal dooms one that was joined.
func (w *writing) explain(ctx context.Context, t txn.Transactor, v version) (Receipt, error) {
	return txn.WithTxValue(ctx, t, w.looking(), func(ctx context.Context, tx *txn.Tx) (_ Receipt, err error) {
		q := db.New(tx)
		if v.ID == 0 {
			if v, err = w.find(ctx, q); err != nil {
				return Receipt{}, err
			}
		}
		if !w.is(v) {
			return Receipt{}, w.refuse(ctx, q)
		}
		return v.receipt(), nil
	})
}

// looking are the options of a transaction that finds a version: it waits for the disk as the
// one that wrote it, since whoever wrote it may not have.
func (w *writing) looking() txn.Options {
	return txn.Options{Label: w.label + ": find", SynchronousCommit: w.setting}
}

// is reports whether a version is the one to be written.
func (w *writing) is(v version) bool {
	return v.UserID == w.user && sum(v.Checksum) == w.checksum
}
