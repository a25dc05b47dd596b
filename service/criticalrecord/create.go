package criticalrecord

import (
	"context"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A CreateRequest asks for a record.
type CreateRequest struct {
	Key        string     // names the request, see the package documentation; 1 to 200 characters
	UserID     int64      // who asks
	Data       []byte     // 1 to MaxData bytes; not to be changed until the transaction ends
	Durability Durability // zero is Flushed
}

// A Receipt says what was written.
type Receipt struct {
	RecordID int64
	Version  int64
	Checksum Sum

	// Seal covers this version and all before it. Whoever keeps it outside of the database can
	// tell later, by Verify, whether somebody has rewritten them there.
	Seal Sum
	At   time.Time // when the transaction began, by the server's clock

	// Replayed is true when an earlier call with the same key had written the record, and this
	// one wrote nothing.
	Replayed bool
}

// Create writes a record, the copy of its first version, and an entry in the system log: all
// of it or nothing, once for each key. When it returns nil from a *txn.DB, the record is as
// durable as r says.
//
// One round trip, at READ COMMITTED unless the configuration says otherwise. It locks the user,
// and where the key has its record that one, FOR KEY SHARE: nobody waits for it but who deletes
// them. Two calls with one key meet in it: the second waits for what becomes of the first. The
// receipt of a replayed call, too, says that the record is durable, whoever wrote it.
//
// It is refused with ErrInvalid, ErrUnknownUser, ErrKeyReused or, if the data was damaged on
// its way, ErrCorrupt. If t is a *txn.Tx, the transaction must have been begun with the
// SynchronousCommit that r.Durability stands for; else the error is txn.ErrOptionsConflict.
func Create(ctx context.Context, t txn.Transactor, r CreateRequest) (Receipt, error) {
	if r.Key == "" {
		return Receipt{}, &InvalidError{Field: "Key"}
	}
	w, err := newWriting("critical record: create", r.UserID, r.Data, r.Durability)
	if err != nil {
		return Receipt{}, err
	}
	w.queue = func(q *db.QueuedQueries) func() (version, error) {
		row := q.CreateCriticalRecord(db.CreateCriticalRecordParams{
			RequestKey: r.Key, UserID: r.UserID, Data: r.Data, Checksum: w.checksum[:],
		}).OnError(refused)
		return func() (version, error) {
			v, err := row.Value()
			return version(v), err
		}
	}
	w.find = func(ctx context.Context, q db.LockQuerier) (version, error) {
		c, err := q.LockCriticalRecordByKey(ctx, r.Key)
		if err != nil {
			return version{}, fmt.Errorf("find the record of a key: %w", err)
		}
		return versionOf(c), nil
	}
	w.refuse = func(context.Context, db.ReadQuerier) error {
		return fmt.Errorf("%w: key %q", ErrKeyReused, r.Key)
	}
	return w.carryOut(ctx, t)
}
