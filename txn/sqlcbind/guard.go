package sqlcbind

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/internal/seam"
)

// A Guard holds a query to changing exactly one row.
//
// A call that waits for the answer sends the statement as it is and looks at the number of
// rows: the transaction stays usable, whatever that was. Where nobody looks before COMMIT,
// the statement must fail by itself.
type Guard struct {
	// SQL is the query's statement in a form that fails unless it changed one row: with the
	// SQLSTATE 23514 of the domain cardinal_number of information_schema if there was no row,
	// or, with Exists, if the row has another version; with that of yes_or_no if there were
	// several rows, or, with Exists, if the row is gone. Otherwise it has the answer of the
	// query, or a row if the query has none. It begins with the line that names the query.
	SQL string

	// Exists returns a row if the one that an optimistic query was to change is there in any
	// version. It is "" if the query is not optimistic.
	Exists string

	// Args are the places, from 0, of the query's arguments that Exists takes, in its order.
	Args []int
}

// Checked is for calls that wait for the answer: the error of a statement that did not
// change one row is a *txn.AffectedError, or, if the query is optimistic, a *txn.StaleError
// or txn.ErrNotFound. The statement took effect, if it changed any row.
func Checked(d DBTX, g *Guard) DBTX { return checked{d, g} }

type checked struct {
	DBTX
	guard *Guard
}

func (c checked) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := c.DBTX.Exec(ctx, sql, args...)
	if err == nil {
		err = c.verdict(ctx, tag.RowsAffected(), args)
	}
	return tag, err
}

func (c checked) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := c.Query(ctx, sql, args...) // which carry the error
	return checkedRow{rows, func(n int64) error { return c.verdict(ctx, n, args) }}
}

// verdict is what a number of changed rows means.
func (c checked) verdict(ctx context.Context, n int64, args []any) error {
	if n == 1 {
		return nil
	}
	if n > 1 || c.guard.Exists == "" {
		return &txn.AffectedError{Query: c.guard.name(), None: n == 0, Want: 1, Got: n}
	}
	chosen := make([]any, len(c.guard.Args))
	for i, place := range c.guard.Args {
		chosen[i] = args[place]
	}
	rows, err := c.Query(ctx, c.guard.Exists, chosen...)
	if err != nil {
		return err
	}
	exists := rows.Next()
	rows.Close()
	switch {
	case rows.Err() != nil:
		return rows.Err()
	case exists:
		return &txn.StaleError{Query: c.guard.name()}
	}
	return txn.ErrNotFound
}

// checkedRow is the row that a statement returns of those that it changed.
type checkedRow struct {
	rows    pgx.Rows
	verdict func(n int64) error
}

func (r checkedRow) Scan(dest ...any) error {
	defer r.rows.Close()
	for _, d := range dest {
		if _, ok := d.(*pgtype.DriverBytes); ok {
			return errDriverBytes
		}
	}
	if r.rows.Next() {
		if err := r.rows.Scan(dest...); err != nil {
			return err
		}
	}
	r.rows.Close()
	if err := r.rows.Err(); err != nil {
		return err
	}
	return r.verdict(r.rows.CommandTag().RowsAffected())
}

// errDriverBytes: the memory is the connection's again when Scan returns.
var errDriverBytes = errors.New("sqlcbind: cannot scan into *pgtype.DriverBytes from a single row")

// Guarded is for calls that are a transaction of their own: a statement that did not change
// one row changes nothing, and its error is the one that Checked would return. The number of
// rows in a *txn.AffectedError is not known, if it was not zero.
func Guarded(d DBTX, g *Guard) DBTX { return guarded{d, g} }

type guarded struct {
	DBTX
	guard *Guard
}

func (d guarded) Exec(ctx context.Context, _ string, args ...any) (pgconn.CommandTag, error) {
	tag, err := d.DBTX.Exec(ctx, d.guard.SQL, args...)
	return tag, d.guard.explain(err)
}

func (d guarded) QueryRow(ctx context.Context, _ string, args ...any) pgx.Row {
	return guardedRow{d.DBTX.QueryRow(ctx, d.guard.SQL, args...), d.guard}
}

type guardedRow struct {
	pgx.Row
	guard *Guard
}

func (r guardedRow) Scan(dest ...any) error { return r.guard.explain(r.Row.Scan(dest...)) }

// QueueGuarded is Queue for a statement that must change one row. If it does not, it fails,
// and with it the transaction, COMMIT in the same round trip included; within the
// *txn.QueuedError is the error that Guarded would return.
func QueueGuarded[T any](r txn.Reads, g *Guard, call func(DBTX) (T, error)) *txn.Pending[T] {
	p := Queue(r, func(d DBTX) (T, error) { return call(guarded{d, g}) })
	seam.Explain(p, g.explain)
	return p
}

// QueueGuardedExec is QueueGuarded for a statement of which nothing is wanted but that it
// succeeds.
func QueueGuardedExec(r txn.Reads, g *Guard, call func(DBTX) error) *txn.Pending[struct{}] {
	return QueueGuarded(r, g, func(d DBTX) (struct{}, error) { return struct{}{}, call(d) })
}

// explain gives the guard's own failure its meaning, and leaves other errors alone. A CHECK
// of the application's is told apart by the schema.
func (g *Guard) explain(err error) error {
	failed, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || failed.Code != "23514" || failed.SchemaName != "information_schema" {
		return err
	}
	first := failed.DataTypeName == "cardinal_number"
	switch {
	case !first && failed.DataTypeName != "yes_or_no":
		return err
	case g.Exists == "" && first:
		return &txn.AffectedError{Query: g.name(), None: true, Want: 1}
	case g.Exists == "":
		return &txn.AffectedError{Query: g.name(), Want: 1, Got: -1}
	case first:
		return &txn.StaleError{Query: g.name()}
	}
	return txn.ErrNotFound
}

// name is the query's.
func (g *Guard) name() string {
	head, _ := strings.CutPrefix(g.SQL, "-- name: ")
	head, _, _ = strings.Cut(head, "\n")
	name, _, _ := strings.Cut(head, " ")
	return name
}
