package txn

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pgx returns the transaction as a pgx.Tx, for libraries that take one, such as a job queue
// that inserts in the same transaction. It is tx in other clothes: the same rules hold, and
// it ends when tx does. Its own Commit and Rollback are ErrManaged. Its Begin opens a
// savepoint with a real Commit and Rollback; until one of them is called, tx is suspended. A
// function that returns without calling either fails with ErrSuspended.
// LargeObjects and Conn send what is held back at once, since nobody sees what is done
// through them; Conn may be used to read configuration, and for what only a connection
// offers, but not to end the transaction.
func (tx *Tx) Pgx() pgx.Tx { return &pgxTx{tx: tx} }

// A pgxTx is a handle, or a savepoint opened by hand, as pgx.Tx.
type pgxTx struct {
	tx    *Tx
	outer *pgxTx    // nil for the handle itself
	point savepoint // of a savepoint
}

func (p *pgxTx) Begin(ctx context.Context) (pgx.Tx, error) {
	s := p.tx.scope()
	t, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer t.leave()
	inner, point := s.openSavepoint()
	return &pgxTx{tx: &Tx{inner}, outer: p, point: point}, nil
}

func (p *pgxTx) Commit(ctx context.Context) error {
	if p.outer == nil {
		return fmt.Errorf("%w: Commit", ErrManaged)
	}
	return p.leave(ctx, nil)
}

func (p *pgxTx) Rollback(ctx context.Context) error {
	if p.outer == nil {
		return fmt.Errorf("%w: Rollback", ErrManaged)
	}
	if err := p.leave(ctx, errRolledBack); err != errRolledBack {
		return err
	}
	return nil
}

// errRolledBack is why a savepoint is undone whose owner said so.
var errRolledBack = fmt.Errorf("txn: rolled back by the savepoint's owner: %w", pgx.ErrTxClosed)

func (p *pgxTx) leave(ctx context.Context, err error) error {
	s := p.tx.scope()
	t := s.t
	t.mu.Lock()
	done, suspended := s.ended.Load() || !t.open.Load(), s.depth != len(t.inner)
	t.mu.Unlock()
	switch {
	case done:
		return pgx.ErrTxClosed // what deferred rollbacks expect
	case suspended:
		return ErrSuspended
	}
	return s.leaveSavepoint(ctx, p.point, err)
}

func (p *pgxTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return p.tx.Exec(ctx, sql, args...)
}

func (p *pgxTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.tx.Query(ctx, sql, args...)
}

func (p *pgxTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return p.tx.QueryRow(ctx, sql, args...)
}

func (p *pgxTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return p.tx.SendBatch(ctx, b)
}

func (p *pgxTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return p.tx.CopyFrom(ctx, table, columns, src)
}

// Prepare prepares a statement under a name, for the connection's life.
func (p *pgxTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	t, err := p.tx.scope().send(sql)
	if err != nil {
		return nil, err
	}
	defer t.leave()
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	t.asking = ctx
	d, err := t.conn.Prepare(ctx, name, sql)
	return d, t.after(sql, err)
}

// LargeObjects returns the large objects of the transaction. Where it could not even begin,
// their methods fail with the reason; when it has ended, with pgx.ErrTxClosed.
func (p *pgxTx) LargeObjects() pgx.LargeObjects {
	t, err := p.tx.scope().enter()
	if err == nil {
		defer t.leave()
		if err = t.flush(t.ctx); err == nil {
			t.raw = true
			var tx pgx.Tx
			if tx, err = t.native(); err == nil {
				return tx.LargeObjects()
			}
		}
	}
	b := &pgx.Batch{}
	b.BeginTx(pgx.TxOptions{})
	return pgx.FailedBatchResults(b, err).Tx().LargeObjects()
}

// native returns the transaction as one of pgx's own.
func (t *transaction) native() (pgx.Tx, error) {
	if t.owner != nil {
		return t.owner, nil
	}
	if t.twin != nil {
		return t.twin, nil
	}
	// pgx makes its own kind of transaction only by beginning one: with a statement that
	// begins none, it stands on the one there is.
	b := &pgx.Batch{}
	b.BeginTx(pgx.TxOptions{BeginQuery: "select", CommitQuery: "select"})
	br := t.conn.SendBatch(t.ctx, b)
	if err := t.after("large objects", br.Close()); err != nil {
		return nil, err
	}
	t.twin = br.Tx()
	return t.twin, nil
}

// closeTwin closes what native returned, so that nobody uses it on the next borrower's
// connection. Under a context that has ended pgx notes the end, and sends nothing.
func (t *transaction) closeTwin() {
	if t.twin != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = t.twin.Commit(ctx)
	}
}

// Config returns the configuration of the pool that the connection is of, or nil if it is of
// none. It is no part of pgx.Tx: River asks for it, in order to know the execution mode, and
// where there is none asks for Conn, which costs a round trip.
func (p *pgxTx) Config() *pgxpool.Config {
	s := p.tx.scope()
	if s == nil || s.t.db == nil || s.t.db.pool == nil {
		return nil
	}
	return s.t.db.pool.Config()
}

// Conn returns the connection. If the transaction could not begin on it, it is closed, or
// nil; nil also if the handle is finished: nothing must run outside the transaction.
func (p *pgxTx) Conn() *pgx.Conn {
	s := p.tx.scope()
	if s == nil || !s.t.mu.TryLock() {
		return nil
	}
	t := s.t
	defer t.leave()
	switch err := s.usable(); {
	case errors.Is(err, ErrTxDone):
		return nil
	case err == nil:
		err = t.flush(t.ctx)
		t.raw = true
		if err == nil || t.conn == nil {
			return t.conn
		}
	}
	// What is sent now is either refused by the server, or undone.
	if t.conn != nil && !t.begun && !t.conn.IsClosed() {
		t.lost = true
		closeConn(t.conn, t.db.cfg.ResolveTimeout)
	}
	return t.conn
}
