package criticalrecord

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A ChangeRequest asks for the next version of a record.
type ChangeRequest struct {
	RecordID   int64
	Version    int64      // that the caller has seen, and wants to replace
	UserID     int64      // who asks
	Data       []byte     // 1 to MaxData bytes; not to be changed until the transaction ends
	Durability Durability // zero is Flushed
}

// Change writes the next version of a record, its copy, and an entry in the system log: all of
// it or nothing. The version in the request does what a key does for Create: sent again, it
// finds the version that it wrote.
//
// One round trip, at READ COMMITTED unless the configuration says otherwise. By changing the
// record it locks it FOR NO KEY UPDATE.
//
// It is refused with ErrInvalid, ErrUnknownRecord, ErrUnknownUser, ErrChanged or ErrCorrupt,
// and otherwise as Create.
func Change(ctx context.Context, t txn.Transactor, r ChangeRequest) (Receipt, error) {
	w, err := newWriting("critical record: change", r.UserID, r.Data, r.Durability)
	if err != nil {
		return Receipt{}, err
	}
	w.queue = func(q *db.QueuedQueries) func() (version, error) {
		row := q.ChangeCriticalRecord(db.ChangeCriticalRecordParams{
			ID: r.RecordID, Version: r.Version, UserID: r.UserID, Data: r.Data, Checksum: w.checksum[:],
		}).OnError(refused)
		return func() (version, error) {
			v, err := row.Value()
			return version(v), err
		}
	}
	w.find = func(ctx context.Context, q db.LockQuerier) (version, error) {
		c, err := q.LockCriticalRecordVersion(ctx, db.LockCriticalRecordVersionParams{ID: r.RecordID, Version: r.Version + 1})
		if errors.Is(err, txn.ErrNotFound) {
			return version{}, nil
		}
		if err != nil {
			return version{}, fmt.Errorf("find a version of the record: %w", err)
		}
		return versionOf(c), nil
	}
	w.refuse = func(ctx context.Context, q db.ReadQuerier) error {
		now, err := q.GetCriticalRecord(ctx, r.RecordID)
		if err != nil {
			return unknown(r.RecordID, err)
		}
		return &ChangedError{RecordID: r.RecordID, Version: r.Version, Current: now.Version}
	}
	return w.carryOut(ctx, t)
}
