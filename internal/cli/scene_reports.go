package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/service/report"
	"github.com/interlock-go/interlock/txn"
)

// reports is the scene in which the same report is made in each way, while money comes in.
type reports struct {
	size int // how many accounts
	ids  []int64
}

func (s *reports) open(ctx context.Context, d *txn.DB) error {
	users, err := signUp(ctx, d, "reports", s.size)
	for _, user := range users {
		s.ids = append(s.ids, user.AccountID)
	}
	return err
}

// Shares of the requests, in percent. The rest are deposits: a transfer leaves the sum of all
// balances as it is, so that even who reads in the middle of it sees nothing.
const (
	percentReports    = 30
	percentReportTwo  = 5 // that two clients ask for with one key
	percentTableLocks = 1 // where all who write wait
	percentRowLocks   = 1
)

const (
	reportKey  = "report"
	depositKey = "deposit"
)

// ways are those in which most reports are made.
var ways = []db.ReportWay{
	db.ReportWayReadUncommitted, db.ReportWayReadCommitted, db.ReportWayRepeatableRead, db.ReportWaySerializable,
	db.ReportWayDeferrable, db.ReportWaySharedSnapshot,
}

func (s *reports) requests(seed uint64) iter.Seq[request] {
	return func(yield func(request) bool) {
		rng := rand.New(rand.NewPCG(seed, 4))
		for n := 1; ; n++ {
			if !yield(s.request(rng, fmt.Sprintf("%d-%d", seed, n))) {
				return
			}
		}
	}
}

func (s *reports) request(rng *rand.Rand, name string) request {
	one := reporting{name, ways[rng.IntN(len(ways))]}
	deposit := account.DepositRequest{
		Account: s.ids[rng.IntN(len(s.ids))], Amount: money.Minor(1 + rng.IntN(500)), Key: depositKey + "-" + name,
	}
	switch throw := dice(rng.IntN(100)); {
	case throw.below(percentReports):
		return request{one}
	case throw.below(percentReportTwo):
		return request{one, one}
	case throw.below(percentTableLocks):
		return request{reporting{name, db.ReportWayTableLocks}}
	case throw.below(percentRowLocks):
		return request{reporting{name, db.ReportWayRowLocks}}
	}
	return request{depositing(deposit)}
}

// A depositing is a call that puts money into an account.
type depositing account.DepositRequest

func (c depositing) keys() []string { return []string{c.Key} }

func (c depositing) ask(ctx context.Context, d *txn.DB) (answer, error) {
	receipt, err := account.Deposit(ctx, d, account.DepositRequest(c))
	return replayed(receipt.Replayed), err
}

// A reporting is a call for a report that is made in one way.
type reporting struct {
	name string
	way  db.ReportWay
}

// reportKind is that of all reports here.
const reportKind = "demo"

func (c reporting) key() string    { return reportKey + "-" + c.name }
func (c reporting) keys() []string { return []string{c.key()} }

// mayLackID: who finds the report made changes nothing.
func (reporting) mayLackID() {}

func (c reporting) ask(ctx context.Context, d *txn.DB) (answer, error) {
	made, err := c.make(ctx, d, report.Request{Kind: reportKind, Key: c.key()})
	if !made.Replayed {
		return isDone, err // whoever looks for it after an unknown outcome cannot tell whose it is
	}
	return wasDone, err
}

func (c reporting) make(ctx context.Context, d *txn.DB, r report.Request) (report.Report, error) {
	switch c.way {
	case db.ReportWayReadUncommitted:
		r.Isolation = txn.ReadUncommitted
	case db.ReportWayReadCommitted:
		r.Isolation = txn.ReadCommitted
	case db.ReportWaySerializable:
		r.Isolation = txn.Serializable
	case db.ReportWayDeferrable:
		return report.MakeDeferrable(ctx, d, r)
	case db.ReportWayTableLocks:
		r.LockTimeout = tableLockTimeout
		return report.MakeUnderTableLocks(ctx, d, r)
	case db.ReportWayRowLocks:
		return report.MakeUnderRowLocks(ctx, d, r)
	case db.ReportWaySharedSnapshot:
		return fromSnapshot(ctx, d, r)
	}
	return report.Make(ctx, d, r)
}

// tableLockTimeout is less than the server's deadlock_timeout, so that who gives way is the report.
const tableLockTimeout = deadlockTimeout / 2

// fromSnapshot begins again when a fault has hit the connection that holds the snapshot. Nothing
// was stored by then, and the library leaves it to its caller what to do.
func fromSnapshot(ctx context.Context, d *txn.DB, r report.Request) (made report.Report, err error) {
	sharing <- struct{}{}
	defer func() { <-sharing }()
	for range 3 {
		if made, err = report.MakeFromSnapshot(ctx, d, r); !snapshotGone(err) {
			break
		}
	}
	return made, err
}

// snapshotGone: what "set transaction snapshot" says of a transaction that has ended, which newer
// servers say in another way.
func snapshotGone(err error) bool {
	state := txn.SQLState(err)
	return state == "22023" || state == "42704"
}

// sharing bounds who shares snapshots: each holds a connection and waits for others.
var sharing = make(chan struct{}, spareConnections-1)

// lookers read the same at the same time.
const lookers = 3

// look reads the figures on several connections from one snapshot: they are the same, whatever
// comes in.
func (s *reports) look(ctx context.Context, d *txn.DB) (right bool, err error) {
	opts := txn.Options{Label: "demo: one snapshot"}
	right, err = txn.WithSharedSnapshotValue(ctx, d, opts, func(ctx context.Context, shared *txn.SharedSnapshot) (bool, error) {
		var read [lookers]report.Figures
		var errs [lookers]error
		var all sync.WaitGroup
		for i := range lookers {
			all.Go(func() {
				read[i], errs[i] = report.Read(ctx, shared, report.ReadRequest{})
				read[i].ReadAt = time.Time{} // which is each one's own
			})
		}
		all.Wait()
		return read[0] == read[1] && read[0] == read[2] && read[0].Balanced(), errors.Join(errs[:]...)
	})
	if snapshotGone(err) {
		return s.look(ctx, d)
	}
	return right, err
}

func (s *reports) rule(err error) string {
	if errors.Is(err, txn.ErrLockNotAvailable) {
		return "tables in use"
	}
	return ""
}

const storedReportsSQL = `
	select request_key from reports where kind = 'demo'
	union all
	select idempotency_key from transfers where idempotency_key like 'deposit-%'`

// consistencySQL counts, for each way, the reports, and those whose figures are of several
// moments.
const consistencySQL = `
	select way, count(*), count(*) filter (where balances_minor <> entries_minor) from reports where kind = 'demo' group by way`

func (s *reports) audit(ctx context.Context, tx pgx.Tx, told *tally) (audit, error) {
	stored, err := keysThere(ctx, tx, storedReportsSQL)
	if err != nil {
		return audit{}, err
	}
	rows, err := tx.Query(ctx, consistencySQL)
	if err != nil {
		return audit{}, err
	}
	var way db.ReportWay
	var made, torn int
	found := map[db.ReportWay][2]int{}
	_, err = pgx.ForEachRow(rows, []any{&way, &made, &torn}, func() error {
		found[way] = [2]int{made, torn}
		return nil
	})
	return audit{stored, []sum{consistency(found), {
		Name: "one snapshot is the same on all connections", Right: told.wrong == 0,
		Found: fmt.Sprintf("%d of %d looks by %d connections at once saw different figures", told.wrong, told.looks, lookers),
	}}}, err
}

// consistency: a report of one moment has the balances that the ledger says. Where each figure
// is of a moment of its own, that they differ is no fault.
func consistency(found map[db.ReportWay][2]int) sum {
	s := sum{Name: "each report of one moment is consistent", Right: true}
	var texts, others []string
	for _, way := range db.AllReportWayValues() {
		made, torn := found[way][0], found[way][1]
		if made == 0 {
			continue
		}
		text := fmt.Sprintf("%s %d of %d", strings.ReplaceAll(string(way), "_", " "), torn, made)
		switch way {
		case db.ReportWayReadUncommitted, db.ReportWayReadCommitted, db.ReportWayRowLocks:
			others = append(others, text)
		default:
			texts = append(texts, text)
			s.Right = s.Right && torn == 0
		}
	}
	s.Found = fmt.Sprintf("not: %s; of several moments, and no fault: %s", strings.Join(texts, ", "), strings.Join(others, ", "))
	return s
}
