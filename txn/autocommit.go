package txn

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/interlock-go/interlock/txn/internal/seam"
)

// Generated code reaches these through package sqlcbind.
func init() {
	seam.Autocommit = func(db any, reads bool) any {
		d, _ := db.(*DB)
		return &autocommit{db: d, reads: reads}
	}
}

// autocommit runs each statement on a pooled connection as a transaction of its own.
type autocommit struct {
	db    *DB
	reads bool // nothing but reads: a lost answer loses nothing
}

func (a *autocommit) acquire(ctx context.Context, sql string) (*pgxpool.Conn, error) {
	d := a.db
	switch {
	case d == nil || d.pool == nil:
		return nil, ErrTxDone
	case d.err != nil:
		return nil, d.err
	case marked(ctx, d.pool):
		return nil, ErrNestedDB
	}
	if err := refuseControl(sql); err != nil {
		return nil, err
	}
	return d.acquire(ctx)
}

// after gives the error of a statement its meaning: a write on a connection that was lost
// may have been committed. (pgconn.SafeToRetry would call some of these never sent, though
// they were: see the end of transaction.commit.)
func (a *autocommit) after(conn *pgxpool.Conn, err error) error {
	switch {
	case err == nil:
		return nil
	case !conn.Conn().IsClosed():
		return named(err)
	case !a.reads:
		return &CommitUnknownError{Err: err}
	case cancelled(err):
		return err
	}
	return &lostError{err}
}

func (a *autocommit) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	conn, err := a.acquire(ctx, sql)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Release()
	tag, err := conn.Exec(ctx, sql, args...)
	return tag, a.after(conn, err)
}

func (a *autocommit) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	conn, err := a.acquire(ctx, sql)
	if err != nil {
		return failedRows(err), err
	}
	inner, err := conn.Conn().Query(ctx, sql, args...)
	finish := func(err error) error {
		defer conn.Release()
		return a.after(conn, err)
	}
	if err != nil {
		err = finish(err)
		return failedRows(err), err
	}
	return &rows{Rows: inner, sql: sql, finish: finish}, nil
}

func (a *autocommit) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, _ := a.Query(ctx, sql, args...)
	return row{rows}
}

func (a *autocommit) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	conn, err := a.acquire(ctx, "copy")
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	n, err := conn.Conn().CopyFrom(ctx, table, columns, src)
	return n, a.after(conn, err)
}

func (a *autocommit) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	first := ""
	for i, q := range b.QueuedQueries {
		if i == 0 {
			first = q.SQL
		}
		if err := refuseControl(q.SQL); err != nil {
			return pgx.FailedBatchResults(&pgx.Batch{}, err)
		}
	}
	conn, err := a.acquire(ctx, first)
	if err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err)
	}
	br := &batch{answers: conn.Conn().SendBatch(ctx, b), queries: b.QueuedQueries, sql: first}
	br.finish = func(err error) error {
		defer conn.Release()
		if cerr := br.answers.Close(); err == nil {
			err = cerr
		}
		return a.after(conn, err)
	}
	return br
}
