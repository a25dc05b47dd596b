package txn

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ExpectRows returns an *AffectedError unless the statement that answered tag changed
// exactly n rows. It is for hand-written SQL, where a write that hit nothing is otherwise
// silent.
func ExpectRows(tag pgconn.CommandTag, n int64) error {
	got := tag.RowsAffected()
	if got == n {
		return nil
	}
	return &AffectedError{Query: tag.String(), None: got == 0, Want: n, Got: got}
}

// ExpectVersion completes an optimistic UPDATE or DELETE written by hand, whose WHERE tests
// the version that the caller read. One row changed is right. After none, it asks r with
// the query exists and its args, which must return a row if the record is there in any
// version: then the error is *StaleError, else ErrNotFound. More than one row is an
// *AffectedError.
func ExpectVersion(ctx context.Context, r Reads, tag pgconn.CommandTag, exists string, args ...any) error {
	if n := tag.RowsAffected(); n != 0 {
		return ExpectRows(tag, 1)
	}
	rows, err := r.Query(ctx, exists, args...)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(pgx.CollectableRow) (struct{}, error) { return struct{}{}, nil })
	switch {
	case errors.Is(err, pgx.ErrNoRows), err == nil && len(found) == 0:
		return ErrNotFound
	case err != nil:
		return err
	}
	return &StaleError{Query: queryName(exists)}
}
