package txn

import (
	"context"
	"errors"
	"fmt"

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

// acquire takes a connection, and the settings that the statement is to run with.
func (a *autocommit) acquire(ctx context.Context, sql string) (conn *pgxpool.Conn, settings map[string]string, err error) {
	d := a.db
	switch {
	case d == nil || d.pool == nil:
		return nil, nil, ErrTxDone
	case d.err != nil:
		return nil, nil, d.err
	case marked(ctx, d.pool, nil):
		return nil, nil, ErrNestedDB
	}
	if err := refuseOnPool(sql); err != nil {
		return nil, nil, err
	}
	settings = d.cfg.Options.Settings
	if d.cfg.SettingsFrom != nil {
		settings = merged(d.cfg.SettingsFrom(ctx), settings)
		if err := validateSettings("Settings", settings); err != nil {
			return nil, nil, err
		}
	}
	conn, err = d.acquire(ctx)
	return conn, settings, err
}

// refuseOnPool refuses what no statement on a pooled connection may do.
func refuseOnPool(sql string) error {
	if sessionSetting(sql) {
		return fmt.Errorf("%w: %s", errSessionSetting, queryName(sql))
	}
	return refuseControl(sql)
}

// errSessionSetting: the statement may want it on one connection, and the next be sent on
// another.
var errSessionSetting = errors.New("txn: what is set for the session would hold for the next user of the pooled connection; use Config.SettingsFrom")

// with runs the statements under the settings: in one flush with BEGIN, SET LOCAL and
// COMMIT. It returns the answers from the statements' on. The connection is given back with
// an error.
func (a *autocommit) with(ctx context.Context, conn *pgxpool.Conn, settings map[string]string, own ...request) (answers, error) {
	if err := refuseEncoding(conn.Conn().PgConn(), settings); err != nil {
		conn.Release()
		return nil, err
	}
	begin := "begin read write"
	if a.reads {
		begin = "begin read only"
	}
	requests := []request{{sql: begin, ours: true}}
	for _, sql := range settingsSQL(settings) {
		requests = append(requests, request{sql: sql, ours: true})
	}
	requests = append(requests, own...)
	requests = append(requests, request{sql: "commit", ours: true})
	c := conn.Conn()
	got, err := sessionOf(c).send(ctx, c, requests)
	if err != nil {
		if unsent, ok := errors.AsType[*unsentError](err); ok {
			err = unsent.err
		}
		defer conn.Release()
		return nil, a.after(ctx, conn, err)
	}
	for range 1 + len(settings) {
		if _, err := got.Exec(); err != nil {
			return nil, a.finish(ctx, conn, got, err)
		}
	}
	return got, nil
}

// finish reads COMMIT's answer, unless the statement failed, and gives the connection back
// with no transaction on it.
func (a *autocommit) finish(ctx context.Context, conn *pgxpool.Conn, got answers, err error) error {
	defer conn.Release()
	if err == nil {
		var tag pgconn.CommandTag
		if tag, err = got.Exec(); err == nil && tag.String() != "COMMIT" {
			err = pgx.ErrTxCommitRollback
		}
	}
	if cerr := got.Close(); err == nil {
		err = cerr
	}
	c := conn.Conn()
	if !c.IsClosed() && c.PgConn().TxStatus() != statusIdle {
		ctx, cancel := context.WithTimeout(context.Background(), a.db.cfg.ResolveTimeout)
		defer cancel()
		if _, rerr := c.Exec(ctx, "rollback"); rerr != nil {
			closeConn(c, a.db.cfg.ResolveTimeout)
			return named(err) // the server had said no, whatever came of the connection then
		}
	}
	return a.after(ctx, conn, err)
}

// after gives the error of a statement its meaning: a write on a connection that was lost
// may have been committed. (pgconn.SafeToRetry would call some of these never sent, though
// they were: see transaction.unknown.)
func (a *autocommit) after(ctx context.Context, conn *pgxpool.Conn, err error) error {
	switch {
	case err == nil && ctx.Err() != nil && !a.reads:
		// It may have been cancelled when it was committed already, and waited for standbys.
		i := inquiry{db: a.db, opts: new(Options)}
		if err := i.confirmed(context.WithoutCancel(ctx), conn.Conn()); err != nil {
			return &CommitUnknownError{Why: err.Error(), Err: ctx.Err()}
		}
		return nil
	case err == nil:
		return nil
	case !conn.Conn().IsClosed():
		s := sessionOf(conn.Conn())
		s.failed(err)
		s.current = ""
		return givenUp(ctx, named(err))
	}
	hangUp(conn.Conn())
	switch {
	case !a.reads:
		return &CommitUnknownError{Err: err}
	case cancelled(err):
		return err
	}
	return &lostError{err}
}

func (a *autocommit) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	conn, settings, err := a.acquire(ctx, sql)
	if err != nil {
		return tag, err
	}
	if len(settings) > 0 {
		got, err := a.with(ctx, conn, settings, request{sql: sql, args: args, plain: len(args) == 0})
		if err != nil {
			return tag, err
		}
		tag, err = got.Exec()
		return tag, a.finish(ctx, conn, got, err)
	}
	defer conn.Release()
	tag, err = conn.Exec(ctx, sql, args...)
	return tag, a.after(ctx, conn, err)
}

func (a *autocommit) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	conn, settings, err := a.acquire(ctx, sql)
	if err != nil {
		return failedRows(err), err
	}
	if len(settings) > 0 {
		got, err := a.with(ctx, conn, settings, request{sql: sql, args: args})
		if err != nil {
			return failedRows(err), err
		}
		inner, err := got.Query()
		finish := func(err error) error { return a.finish(ctx, conn, got, err) }
		if err != nil {
			err = finish(err)
			return failedRows(err), err
		}
		return &rows{Rows: inner, sql: sql, finish: finish}, nil
	}
	inner, err := conn.Conn().Query(ctx, sql, args...)
	finish := func(err error) error {
		defer conn.Release()
		return a.after(ctx, conn, err)
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

// CopyFrom copies rows. Settings for it are the transaction's that it then has of its own,
// and cost round trips: COPY does not travel with other statements.
func (a *autocommit) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (n int64, err error) {
	conn, settings, err := a.acquire(ctx, "copy")
	if err != nil {
		return 0, err
	}
	if len(settings) > 0 {
		conn.Release()
		return WithTxValue(ctx, a.db, Options{MaxAttempts: 1}, func(ctx context.Context, tx *Tx) (int64, error) {
			return tx.CopyFrom(ctx, table, columns, src)
		})
	}
	defer conn.Release()
	n, err = conn.Conn().CopyFrom(ctx, table, columns, src)
	return n, a.after(ctx, conn, err)
}

func (a *autocommit) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	first := ""
	for i, q := range b.QueuedQueries {
		if i == 0 {
			first = q.SQL
		}
		if err := refuseOnPool(q.SQL); err != nil {
			return pgx.FailedBatchResults(&pgx.Batch{}, err)
		}
	}
	conn, settings, err := a.acquire(ctx, first)
	if err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err)
	}
	br := &batch{queries: b.QueuedQueries, sql: first}
	if len(settings) > 0 {
		own := make([]request, len(b.QueuedQueries))
		for i, q := range b.QueuedQueries {
			own[i] = request{sql: q.SQL, args: q.Arguments}
		}
		if br.answers, err = a.with(ctx, conn, settings, own...); err != nil {
			return pgx.FailedBatchResults(&pgx.Batch{}, err)
		}
		br.finish = func(err error) error {
			// A batch that is closed early is read to its end: COMMIT's answer is the last.
			for ; err == nil && br.next < len(br.queries); br.next++ {
				_, err = br.answers.Exec()
			}
			return a.finish(ctx, conn, br.answers, err)
		}
		return br
	}
	br.answers = conn.Conn().SendBatch(ctx, b)
	br.finish = func(err error) error {
		defer conn.Release()
		if cerr := br.answers.Close(); err == nil {
			err = cerr
		}
		return a.after(ctx, conn, err)
	}
	return br
}
