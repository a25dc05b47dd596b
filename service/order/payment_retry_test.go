package order_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/order"
)

// nextRetry is when River works a job again that has failed for the nth time.
func nextRetry[T river.JobArgs](w river.Worker[T], attempt int) time.Time {
	row := &rivertype.JobRow{Attempt: attempt, Errors: make([]rivertype.AttemptError, attempt-1)}
	if at := w.NextRetry(&river.Job[T]{JobRow: row}); !at.IsZero() {
		return at
	}
	return (&river.DefaultClientRetryPolicy{}).NextRetry(row)
}

// A provider that comes back before it forgets keys is asked again while it has them, however
// long it was away: the job is neither given up early, nor asleep until it is too late.
func TestProviderIsAskedAsLongAsItHasKeys(t *testing.T) {
	t.Parallel()
	for kind, job := range map[string]struct {
		args river.JobArgs
		next func(attempt int) time.Time
	}{
		"charge": {order.ChargeArgs{}, func(n int) time.Time { return nextRetry(&order.ChargeWorker{}, n) }},
		"refund": {order.RefundArgs{}, func(n int) time.Time { return nextRetry(&order.RefundWorker{}, n) }},
	} {
		most := river.MaxAttemptsDefault
		if args, ok := job.args.(river.JobArgsWithInsertOpts); ok {
			most = args.InsertOpts().MaxAttempts
		}
		const late = 20 * time.Minute
		var asked time.Duration
		for attempt := 1; asked < order.KeyLifetime; attempt++ {
			require.Less(t, attempt, most, "%s: discarded after %s", kind, asked)
			wait := time.Until(job.next(attempt))
			require.Positive(t, wait, kind)
			require.Less(t, wait, late, "%s: not asked from %s on", kind, asked)
			asked += wait
		}
	}
}
