package sqlcbind

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
)

// Queue queues the one statement that call sends, and answers with what call makes of the
// rows: see txn.QueueValue. The DBTX has single statements only.
func Queue[T any](r txn.Reads, call func(DBTX) (T, error)) *txn.Pending[T] {
	return txn.QueueValue(r, func(q txn.Querier) (T, error) { return call(single{q}) })
}

// QueueExec is Queue for a statement of which nothing is wanted but that it succeeds.
func QueueExec(r txn.Reads, call func(DBTX) error) *txn.Pending[struct{}] {
	return Queue(r, func(d DBTX) (struct{}, error) { return struct{}{}, call(d) })
}

// single has the methods that sqlc's DBTX asks for if there are queries that have no queued
// form. They are never called.
type single struct{ txn.Querier }

var errNotSingle = errors.New("sqlcbind: COPY or a batch where a single statement belongs")

func (single) CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error) {
	return 0, errNotSingle
}

func (single) SendBatch(context.Context, *pgx.Batch) pgx.BatchResults {
	return pgx.FailedBatchResults(&pgx.Batch{}, errNotSingle)
}
