package report

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// A Request asks for a report to be computed and stored, once for each kind and key.
type Request struct {
	Kind string // what the report is for, such as "month_end"; 1 to 50 characters
	Key  string // names the report among those of its kind, such as "2026-11"; 1 to 200 characters

	// Isolation is for Make alone. Zero is RepeatableRead.
	Isolation txn.Isolation

	// LockTimeout is for MakeUnderRowLocks and MakeUnderTableLocks: how long to wait for each
	// lock. Zero is no limit for rows, and DefaultLockTimeout for tables.
	LockTimeout time.Duration
}

// A Report is a stored report.
type Report struct {
	ID        int64
	Kind, Key string
	Way       db.ReportWay // how the reads were kept together
	Figures
	At time.Time // when the transaction that stored it began, by the server's clock

	// Replayed is true when an earlier call had stored the report, and this one stored none.
	Replayed bool
}

// Make computes a report at the isolation level of r, and stores it in the same transaction.
//
// Two round trips, also if the report is there already. It locks nothing, and two calls with one
// key meet in it: the second waits for what becomes of the first. At READ COMMITTED each figure
// is of its own moment. At REPEATABLE READ and SERIALIZABLE all are of one, and a report that
// another call stored since makes the transaction fail with 40001 and run again; at
// SERIALIZABLE so may writers. What is returned was committed. READ UNCOMMITTED is READ
// COMMITTED to PostgreSQL.
//
// It is refused with ErrInvalid or ErrKeyReused. If t is a *txn.Tx of a weaker level, the error
// is txn.ErrOptionsConflict; of a stronger one, the report may be better than its Way says.
func Make(ctx context.Context, t txn.Transactor, r Request) (Report, error) {
	if r.Isolation == txn.IsolationUnspecified {
		r.Isolation = txn.RepeatableRead
	}
	way, ok := levels[r.Isolation]
	if !ok {
		return Report{}, &InvalidError{Field: "Isolation"}
	}
	m := making{request: r, way: way, label: "report: make at " + r.Isolation.String(), isolation: r.Isolation}
	m.reads = func(q *db.QueuedQueries) pending { return reads(q) }
	if r.LockTimeout != 0 {
		return Report{}, &InvalidError{Field: "LockTimeout"}
	}
	return m.carryOut(ctx, t)
}

var levels = map[txn.Isolation]db.ReportWay{
	txn.ReadUncommitted: db.ReportWayReadUncommitted,
	txn.ReadCommitted:   db.ReportWayReadCommitted,
	txn.RepeatableRead:  db.ReportWayRepeatableRead,
	txn.Serializable:    db.ReportWaySerializable,
}

// MakeUnderRowLocks computes a report of rows that it locks, and stores it in the same
// transaction.
//
// It is here to be compared, not to be recommended: what others insert meanwhile is in some
// figures and not in others, and everybody who wants to change a user, an account or a post
// waits until the report is stored. Each lock is a write to its row. Take REPEATABLE READ.
//
// Three round trips; two, and no lock, if the report is there already. At READ COMMITTED it locks
// all users, all customers' accounts and all posts FOR SHARE, in this order, the rows of each by
// id, and waits for whoever is changing one of them.
//
// It is refused with ErrInvalid or ErrKeyReused. The error is txn.ErrLockNotAvailable if
// LockTimeout is over, at the last attempt.
func MakeUnderRowLocks(ctx context.Context, t txn.Transactor, r Request) (Report, error) {
	m := making{request: r, way: db.ReportWayRowLocks, label: "report: make under row locks", isolation: txn.ReadCommitted}
	m.reads = lockingReads
	return m.locking(ctx, t)
}

// DefaultLockTimeout is less than the second after which the server, as it comes, looks for a
// deadlock: so who gives way is the report.
const DefaultLockTimeout = 500 * time.Millisecond

// MakeUnderTableLocks computes a report while nobody writes, and stores it in the same
// transaction. All figures are of one moment, and still true when it has been stored.
//
// Three round trips; two, and no lock, if the report is there already. At READ COMMITTED it locks
// the tables users, accounts, transfers, ledger_entries and posts in this order, IN SHARE MODE: it
// waits until all transactions that have written to them are over, and whoever wants to write
// waits behind it, from when it began to wait; readers wait for nobody. So its waits are short: after
// LockTimeout it gives way, and tries again. No order of the tables is that of all writers; with
// a LockTimeout above the server's deadlock_timeout a writer may be the one that is ended, with
// 40P01. On a *txn.Tx the locks stay until that ends.
//
// It is refused with ErrInvalid or ErrKeyReused. The error is txn.ErrLockNotAvailable if
// LockTimeout is over, at the last attempt.
func MakeUnderTableLocks(ctx context.Context, t txn.Transactor, r Request) (Report, error) {
	m := making{request: r, way: db.ReportWayTableLocks, label: "report: make under table locks", isolation: txn.ReadCommitted}
	m.reads = func(q *db.QueuedQueries) pending {
		q.LockReportTables()
		return reads(q)
	}
	if m.request.LockTimeout == 0 {
		m.request.LockTimeout = DefaultLockTimeout
	}
	return m.locking(ctx, t)
}

// A making is a report about to be computed and stored.
type making struct {
	request   Request
	way       db.ReportWay
	label     string
	isolation txn.Isolation
	locks     bool
	reads     func(*db.QueuedQueries) pending
}

// locking is carryOut for a report that waits for locks.
func (m making) locking(ctx context.Context, t txn.Transactor) (Report, error) {
	if m.request.Isolation != txn.IsolationUnspecified {
		return Report{}, &InvalidError{Field: "Isolation"}
	}
	m.locks = true
	return m.carryOut(ctx, t)
}

// check refuses what can never be right, before anything is sent.
func (m making) check() error {
	switch {
	case m.request.Kind == "":
		return &InvalidError{Field: "Kind"}
	case m.request.Key == "":
		return &InvalidError{Field: "Key"}
	case m.request.LockTimeout < 0:
		return &InvalidError{Field: "LockTimeout"}
	}
	return nil
}

// carryOut reads in one flush with BEGIN, and stores in one with COMMIT.
func (m making) carryOut(ctx context.Context, t txn.Transactor) (Report, error) {
	if err := m.check(); err != nil {
		return Report{}, err
	}
	opts := txn.Options{
		Label: m.label, Isolation: m.isolation, LockTimeout: m.request.LockTimeout,
		FlushJoined: true, // the report is in an answer
	}
	if m.locks {
		opts.RetryAlso = []string{stateLockNotAvailable}
	}
	return m.stored(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (answer, error) {
		q := db.New(tx).Queued()
		before := q.FindReport(m.find())
		if m.locks { // for a report that is there already nobody is to wait
			if err := tx.Flush(ctx); err != nil {
				return nil, refused(err)
			}
			if row, err := before.Value(); !errors.Is(err, txn.ErrNotFound) {
				return m.replay(row, err)
			}
		}
		p := m.reads(q)
		if err := tx.Flush(ctx); err != nil {
			return nil, refused(err)
		}
		if row, err := before.Value(); !errors.Is(err, txn.ErrNotFound) {
			return m.replay(row, err)
		}
		f, err := p.figures()
		if err != nil {
			return nil, err
		}
		return m.store(q, f), nil
	})
}

// An answer is the report, once the transaction has ended.
type answer func() (Report, error)

// replay answers with the report that is there already.
func (m making) replay(row db.Report, err error) (answer, error) {
	if err == nil {
		err = m.same(row)
	}
	return func() (Report, error) { return replayed(row), nil }, err
}

// store queues the report.
func (m making) store(q *db.QueuedQueries, f Figures) answer {
	row := q.StoreReport(db.StoreReportParams{
		Kind: m.request.Kind, RequestKey: m.request.Key, Way: m.way,
		Users: f.Users, ActiveUsers: f.ActiveUsers, Accounts: f.Accounts, BalancesMinor: f.Balances, EntriesMinor: f.Entries,
		Transfers: f.Transfers, Posts: f.Posts, PublishedPosts: f.PublishedPosts, ReadAt: f.ReadAt,
	}).OnError(refused)
	return func() (Report, error) {
		v, err := row.Value()
		return reportOf(v), err
	}
}

// stored runs fn and returns the report that is stored then. Where that may not be the one of
// fn, because another call was quicker, or an answer was lost, it looks for it.
func (m making) stored(ctx context.Context, t txn.Transactor, opts txn.Options, fn func(context.Context, *txn.Tx) (answer, error)) (Report, error) {
	ask, err := txn.WithTxValue(ctx, t, opts, fn)
	if unknown, ok := errors.AsType[*txn.CommitUnknownError](err); ok {
		r, err := m.look(ctx, t)
		if err != nil && !errors.Is(err, ErrKeyReused) {
			return Report{}, unknown
		}
		r.Replayed = false // as far as is known
		return r, err
	}
	if err != nil {
		return Report{}, err
	}
	r, err := ask()
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, txn.ErrNotFound):
		return m.look(ctx, t)
	}
	if r, err = m.look(ctx, t); err != nil {
		return Report{}, &txn.HookError{Label: m.label, Err: err} // it is stored
	}
	r.Replayed = false
	return r, nil
}

// look finds the report of the key, and is done when it is as durable as if it had been stored
// here. In a transaction that may write: a refusal of one that was joined must doom it.
func (m making) look(ctx context.Context, t txn.Transactor) (Report, error) {
	opts := txn.Options{Label: "report: find"}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (Report, error) {
		row, err := db.New(tx).LockReport(ctx, db.LockReportParams(m.find()))
		if err != nil {
			return Report{}, fmt.Errorf("find the report of a key: %w", err)
		}
		return replayed(row), m.same(row)
	})
}

func (m making) find() db.FindReportParams {
	return db.FindReportParams{Kind: m.request.Kind, RequestKey: m.request.Key}
}

// same refuses the request if its kind and key belong to a report that was computed otherwise.
func (m making) same(row db.Report) error {
	if row.Way != m.way {
		return fmt.Errorf("%w: %s %q, %s", ErrKeyReused, row.Kind, row.RequestKey, row.Way)
	}
	return nil
}

func reportOf(row db.Report) Report {
	return Report{
		ID: row.ID, Kind: row.Kind, Key: row.RequestKey, Way: row.Way, At: row.CreatedAt,
		Figures: Figures{
			Users: row.Users, ActiveUsers: row.ActiveUsers, Accounts: row.Accounts, Balances: row.BalancesMinor, Entries: row.EntriesMinor,
			Transfers: row.Transfers, Posts: row.Posts, PublishedPosts: row.PublishedPosts, ReadAt: row.ReadAt,
		},
	}
}

func replayed(row db.Report) Report {
	r := reportOf(row)
	r.Replayed = true
	return r
}
