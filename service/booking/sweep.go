package booking

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// Sizes of what Sweep does in one transaction.
const (
	DefaultSweep = 500
	MaxSweep     = 5000
)

// Sweep frees the seats of up to limit holds that have ended, those first that ended first,
// and returns how many; a limit of zero is DefaultSweep, more than MaxSweep is MaxSweep. As
// long as it returns limit, there may be more. (If the answer to COMMIT was lost, it sweeps
// again, and returns how many those were.) It passes over seats that somebody is at:
// several may sweep at a time, and nobody who takes a seat waits for them for longer than one
// such transaction.
//
// It locks the seats FOR NO KEY UPDATE SKIP LOCKED, then their bookings. It runs at READ
// COMMITTED, whatever the default is, and joins at any isolation level: what it does depends
// on no other row, and at SERIALIZABLE the part of the index that it reads would make bookings
// fail that have nothing to do with it.
//
// It is refused with ErrInvalid.
func Sweep(ctx context.Context, t txn.Transactor, limit int) (int64, error) {
	switch {
	case limit < 0:
		return 0, &InvalidError{Field: "limit"}
	case limit == 0:
		limit = DefaultSweep
	}
	limit = min(limit, MaxSweep)
	swept, err := ask(ctx, t, txn.Options{Label: "booking: sweep", Isolation: txn.ReadCommitted}, func(q *db.QueuedQueries) *txn.Pending[int64] {
		return q.ExpireHolds(int64(limit))
	})
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	return swept, nil
}

// SweepInterval is how often the workers sweep.
const SweepInterval = 30 * time.Second

// SweepArgs ask for the seats of all holds that have ended to be freed.
type SweepArgs struct{}

// Kind is the job's name.
func (SweepArgs) Kind() string { return "booking.sweep" }

// InsertOpts keep several machines from inserting the job of one interval more than once. One
// that fails is not tried again: the next one does what it has left.
func (SweepArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByPeriod: SweepInterval}}
}

// A SweepWorker sweeps until nothing is left.
type SweepWorker struct {
	river.WorkerDefaults[SweepArgs]
	seats txn.Transactor
}

// Work sweeps, some seats in each transaction.
func (w *SweepWorker) Work(ctx context.Context, _ *river.Job[SweepArgs]) error {
	for {
		swept, err := Sweep(ctx, w.seats, DefaultSweep)
		if err != nil || swept < DefaultSweep {
			return err
		}
	}
}

// AddWorkers adds the workers of this package's jobs. Their transactions lock as Sweep does, at
// READ COMMITTED; a job that ends with an error is left to the next one.
func AddWorkers(w *river.Workers, seats txn.Transactor) {
	river.AddWorker(w, &SweepWorker{seats: seats})
}

// PeriodicJobs are the jobs of this package that nobody asks for.
func PeriodicJobs() []*river.PeriodicJob {
	return []*river.PeriodicJob{river.NewPeriodicJob(river.PeriodicInterval(SweepInterval),
		func() (river.JobArgs, *river.InsertOpts) { return SweepArgs{}, nil },
		&river.PeriodicJobOpts{ID: SweepArgs{}.Kind(), RunOnStart: true})}
}
