package criticalrecord

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// MaxData is how many bytes a record can hold.
const MaxData = 1 << 20

// A Sum is a SHA-256.
type Sum [sha256.Size]byte

func (s Sum) String() string { return fmt.Sprintf("%x", s[:]) }

// sum is a checksum as the server returned it.
func sum(b []byte) (s Sum) {
	copy(s[:], b)
	return s
}

// A Record is one version of a record.
type Record struct {
	ID       int64
	Version  int64 // 1 is the first
	UserID   int64 // who wrote it
	Data     []byte
	Checksum Sum       // of Data, computed by the program that wrote it
	At       time.Time // when the transaction that wrote it began, by the server's clock
}

// Get returns a record as it is now, in one round trip. Its data is compared with the checksum
// that was computed before it was sent to the server. It locks nothing, at any isolation level.
//
// It is refused with ErrUnknownRecord or ErrCorrupt.
func Get(ctx context.Context, t txn.ReadTransactor, id int64) (Record, error) {
	opts := txn.Options{Label: "critical record: get", FlushJoined: true}
	row, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (*txn.Pending[db.CriticalRecord], error) {
		return db.NewRead(rx).Queued().GetCriticalRecord(id), nil
	})
	if err != nil {
		return Record{}, fmt.Errorf("get critical record: %w", err)
	}
	r, err := row.Value()
	if err != nil {
		return Record{}, unknown(id, err)
	}
	return intact(Record{ID: r.ID, Version: r.Version, UserID: r.UserID, Data: r.Data, At: r.ChangedAt}, r.Checksum)
}

// intact is r, if its data has the checksum.
func intact(r Record, checksum []byte) (Record, error) {
	r.Checksum = sha256.Sum256(r.Data)
	if !bytes.Equal(r.Checksum[:], checksum) {
		return Record{}, &CorruptError{RecordID: r.ID, Version: r.Version, What: "the data does not have its checksum"}
	}
	return r, nil
}

// seal computes what table critical_record_copies has as the version's seal.
func (r Record) seal(previous []byte) Sum {
	sealed := bytes.Clone(previous)
	for _, n := range []int64{r.ID, r.Version, r.UserID} {
		sealed = binary.BigEndian.AppendUint64(sealed, uint64(n))
	}
	return sha256.Sum256(append(sealed, r.Checksum[:]...))
}

// unknown names the record that was not found.
func unknown(id int64, err error) error {
	if errors.Is(err, txn.ErrNotFound) {
		return fmt.Errorf("%w: %d", ErrUnknownRecord, id)
	}
	return fmt.Errorf("read critical record: %w", err)
}
