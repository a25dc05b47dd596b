// Package sqlcbind gives sqlc's DBTX for the handles of package txn. Generated code calls
// it; other code has no reason to: what it returns is not watched by the types any more.
package sqlcbind

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/internal/seam"
)

// Generated code names the version of this package that it needs. If it is from a newer
// generator than the library, it does not compile, and the message names the missing
// version: raise the library's. A version that the library can serve no longer is removed
// here; the message is the same then, and the code must be generated anew.
const (
	Version1 = true
	Version2 = true // queued forms, guards
)

// A DBTX has what any DBTX that sqlc writes for pgx v5 asks for.
type DBTX interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Tx binds a read-write transaction.
func Tx(tx *txn.Tx) DBTX { return tx }

// Read binds a handle for queries that only read. A nil handle answers ErrTxDone.
func Read(r txn.Reads) DBTX {
	if r == nil {
		r = (*txn.ReadTx)(nil)
	}
	return reads{r}
}

// Autocommit binds a *txn.DB for single statements that write, each a transaction of its
// own. The answer to one that was lost on the way is *txn.CommitUnknownError.
func Autocommit(d *txn.DB) DBTX { return seam.Autocommit(d, false).(DBTX) }

// AutocommitRead binds a *txn.DB for single statements that only read.
func AutocommitRead(d *txn.DB) DBTX { return seam.Autocommit(d, true).(DBTX) }

// reads gives a handle without Exec the one that sqlc calls for a query whose rows are not
// wanted. Whether a text may be sent was decided when the code was generated.
type reads struct{ txn.Reads }

func (r reads) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	rows, err := r.Query(ctx, sql, args...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// CopyFrom is never called: a COPY into a table does not only read.
func (r reads) CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error) {
	return 0, errors.New("sqlcbind: COPY on a handle for reads")
}
