package criticalrecord

import (
	"bytes"
	"context"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// Sizes of a history's page.
const (
	DefaultPage = 20
	MaxPage     = 20
)

// A HistoryRequest asks for a page of a record's versions.
type HistoryRequest struct {
	RecordID int64
	After    int64 // the Next of the page before; zero for the oldest versions
	Limit    int   // how many; zero is DefaultPage, more than MaxPage is MaxPage
}

// A Page is a part of a record's history, oldest first.
type Page struct {
	Versions []Record
	Next     int64 // After of the next page's request; zero if this is the last one
}

// History returns a page of the versions that a record has had, each compared with its
// checksum. One round trip, without a lock; versions never change, so that pages fit together
// at every isolation level.
//
// It is refused with ErrUnknownRecord, ErrInvalid or ErrCorrupt.
func History(ctx context.Context, t txn.ReadTransactor, r HistoryRequest) (Page, error) {
	switch {
	case r.After < 0:
		return Page{}, &InvalidError{Field: "After"}
	case r.Limit < 0:
		return Page{}, &InvalidError{Field: "Limit"}
	case r.Limit == 0:
		r.Limit = DefaultPage
	}
	r.Limit = min(r.Limit, MaxPage)
	opts := txn.Options{Label: "critical record: history", FlushJoined: true}
	type answers struct {
		record *txn.Pending[db.CriticalRecord]
		copies *txn.Pending[[]db.CriticalRecordCopy]
	}
	read, err := txn.WithReadTxValue(ctx, t, opts, func(_ context.Context, rx *txn.ReadTx) (answers, error) {
		q := db.NewRead(rx).Queued()
		return answers{
			record: q.GetCriticalRecord(r.RecordID),
			// One more than asked for tells whether there is another page.
			copies: q.ListCriticalRecordCopies(db.ListCriticalRecordCopiesParams{
				RecordID: r.RecordID, AfterVersion: r.After, MaxRows: int64(r.Limit) + 1,
			}),
		}, nil
	})
	if err != nil {
		return Page{}, fmt.Errorf("critical record: history: %w", err)
	}
	if _, err := read.record.Value(); err != nil {
		return Page{}, unknown(r.RecordID, err)
	}
	copies, err := read.copies.Value()
	if err != nil {
		return Page{}, fmt.Errorf("critical record: history: %w", err)
	}
	return page(copies, r.Limit)
}

func page(copies []db.CriticalRecordCopy, limit int) (Page, error) {
	p := Page{Versions: make([]Record, 0, min(len(copies), limit))}
	for _, c := range copies {
		if len(p.Versions) == limit {
			p.Next = p.Versions[limit-1].Version
			break
		}
		r, err := intact(recordOf(c), c.Checksum)
		if err != nil {
			return Page{}, err
		}
		p.Versions = append(p.Versions, r)
	}
	return p, nil
}

func recordOf(c db.CriticalRecordCopy) Record {
	return Record{ID: c.RecordID, Version: c.Version, UserID: c.UserID, Data: c.Data, At: c.CreatedAt}
}

// A Verdict says what was verified.
type Verdict struct {
	Versions int64 // how many the record has had
	Seal     Sum   // of the newest: covers them all
}

// Verify reads all versions of a record, computes their checksums and seals anew, and compares
// them with what is stored, and the record with its newest version. It finds out that a
// version was altered, removed or put in, by whatever way, unless all that follow it were
// rewritten to fit. Not even that passes if it is given a receipt that was kept outside of the
// database: the seal of a later version covers all before it.
//
// A round trip for each MaxPage versions and two more, without a lock. Versions never change,
// so that it is right at every isolation level.
//
// It is refused with ErrUnknownRecord or ErrCorrupt.
func Verify(ctx context.Context, t txn.ReadTransactor, id int64, kept ...Receipt) (Verdict, error) {
	opts := txn.Options{Label: "critical record: verify"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (Verdict, error) {
		q := db.NewRead(rx)
		now, err := q.GetCriticalRecord(ctx, id)
		if err != nil {
			return Verdict{}, unknown(id, err)
		}
		c := chain{id: id, kept: kept}
		for c.length < now.Version { // not what is written meanwhile
			copies, err := q.ListCriticalRecordCopies(ctx, db.ListCriticalRecordCopiesParams{
				RecordID: id, AfterVersion: c.length, MaxRows: min(MaxPage, now.Version-c.length),
			})
			if err != nil {
				return Verdict{}, fmt.Errorf("critical record: verify: %w", err)
			}
			if err := c.extend(copies); err != nil {
				return Verdict{}, err
			}
		}
		return Verdict{Versions: c.length, Seal: c.seal}, c.endsWith(now)
	})
}

// A chain is the part of a history that was found right.
type chain struct {
	id     int64
	kept   []Receipt
	length int64 // versions
	seal   Sum
	newest Record
}

func (c *chain) extend(copies []db.CriticalRecordCopy) error {
	if len(copies) == 0 {
		return c.corrupt("it is missing")
	}
	for _, next := range copies {
		if next.Version != c.length+1 {
			return c.corrupt("it is missing")
		}
		r, err := intact(recordOf(next), next.Checksum)
		if err != nil {
			return err
		}
		var previous []byte
		if c.length > 0 {
			previous = c.seal[:]
		}
		seal := r.seal(previous)
		if !bytes.Equal(previous, next.Previous) || !bytes.Equal(seal[:], next.Seal) {
			return c.corrupt("it does not follow from the version before")
		}
		for _, k := range c.kept {
			if k.RecordID == c.id && k.Version == next.Version && k.Seal != seal {
				return c.corrupt("it does not have the seal that was kept")
			}
		}
		c.length, c.seal, c.newest = next.Version, seal, r
	}
	return nil
}

// endsWith compares the newest version with the record. A version that somebody has kept the
// receipt of must be there.
func (c *chain) endsWith(now db.CriticalRecord) error {
	if now.UserID != c.newest.UserID || !bytes.Equal(now.Data, c.newest.Data) {
		return &CorruptError{RecordID: c.id, Version: c.length, What: "the record is not as its newest version"}
	}
	for _, k := range c.kept {
		if k.RecordID == c.id && k.Version > c.length {
			return c.corrupt("it is missing")
		}
	}
	return nil
}

// corrupt speaks of the version that should come next.
func (c *chain) corrupt(what string) error {
	return &CorruptError{RecordID: c.id, Version: c.length + 1, What: what}
}
