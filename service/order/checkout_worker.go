package order

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/txn"
)

// How often expired reservations are looked for, and how many end in one transaction.
const (
	ExpiryInterval = time.Minute
	ExpiryBatch    = 100
)

// AddWorkers registers the workers of this package's jobs.
func AddWorkers(w *river.Workers, d *txn.DB, provider PaymentProvider, sender mail.Sender) {
	river.AddWorker(w, &ChargeWorker{DB: d, Provider: provider})
	river.AddWorker(w, &RefundWorker{DB: d, Provider: provider})
	river.AddWorker(w, &ConfirmationWorker{DB: d, Mail: sender})
	river.AddWorker(w, &CancelUnpaidWorker{DB: d})
	river.AddWorker(w, &ExpiryWorker{DB: d})
}

// PeriodicJobs are the jobs that this package wants to be inserted again and again.
func PeriodicJobs() []*river.PeriodicJob {
	return []*river.PeriodicJob{
		river.NewPeriodicJob(river.PeriodicInterval(ExpiryInterval), func() (river.JobArgs, *river.InsertOpts) {
			return ExpiryArgs{}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByPeriod: ExpiryInterval}}
		}, &river.PeriodicJobOpts{RunOnStart: true}),
	}
}

// An ExpiryArgs is a job that gives back the goods of reservations whose time is over.
type ExpiryArgs struct{}

// Kind names the job.
func (ExpiryArgs) Kind() string { return "order.release_expired" }

// An ExpiryWorker calls ReleaseExpired until there is nothing more for it to do.
type ExpiryWorker struct {
	river.WorkerDefaults[ExpiryArgs]
	DB    *txn.DB
	Batch int // reservations in one transaction; zero is ExpiryBatch
}

// Work releases one batch after another.
func (w *ExpiryWorker) Work(ctx context.Context, _ *river.Job[ExpiryArgs]) error {
	batch := w.Batch
	if batch == 0 {
		batch = ExpiryBatch
	}
	for {
		released, err := ReleaseExpired(ctx, w.DB, batch)
		if err != nil {
			return fmt.Errorf("release expired reservations: %w", err)
		}
		if released < batch {
			return nil // the rest, if others hold them, is the next job's
		}
	}
}
