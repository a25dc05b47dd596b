package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// CommitResolution says what is done about a COMMIT whose answer was lost.
type CommitResolution uint8

const (
	// ResolveByXID asks the server what became of the transaction. The transaction's id is
	// fetched beside its first write, in the same round trip.
	ResolveByXID CommitResolution = iota
	// ResolveNever does not; an Options.IdempotencyKey is asked for all the same.
	ResolveNever
)

// A server's epoch is the time in which it gives each transaction id once. It ends with the
// server, also by a crash that the server recovers from by itself, which only the second
// of these shows: the statistics are gone then.
const (
	epochSQL = "pg_postmaster_start_time()::text || ' ' || coalesce((select stats_reset::text from pg_stat_bgwriter), '')"

	xidSQL         = "select pg_current_xact_id_if_assigned()::text"
	xidAndEpochSQL = xidSQL + ", " + epochSQL

	xactStatusSQL = "select " + epochSQL + ", pg_is_in_recovery(), coalesce(pg_xact_status($1::text::xid8), '')"

	// Who still works on it is known by the id alone; a process id may be another's by now.
	terminateSQL = "select pg_terminate_backend(pid) from pg_stat_activity where backend_xid = $1::text::xid8::xid and usename = current_user"
)

// behind returns the steps that follow the caller's statement sql in its flush: what may
// not come before it, because it would take the snapshot.
func (t *transaction) behind(sql string) []step {
	steps := t.following[:0]
	if !t.mayFollow(sql) {
		return nil
	}
	if t.token != nil && t.token.due {
		steps = append(steps, t.token.step())
	}
	if !t.readOnly && t.xid == "" && t.db.cfg.ResolveCommits != ResolveNever && t.session.genuine {
		ask := step{kind: stepXID, sql: xidSQL}
		if t.session.epoch == "" {
			ask.sql = xidAndEpochSQL
		}
		steps = append(steps, ask)
	}
	t.following = steps
	return steps
}

// mayFollow reports whether a query may follow the statement sql in its flush. At
// RepeatableRead and above that is so if the statement takes the snapshot itself: a LOCK
// TABLE or SET TRANSACTION may have to come before it, and so may what the caller sends next.
func (t *transaction) mayFollow(sql string) bool {
	word, _ := firstWord(sql)
	if t.opts.Isolation.strength() == ReadCommitted {
		return word != "set"
	}
	switch word {
	case "select", "insert", "update", "delete", "merge", "with", "values", "table":
		return true
	}
	return false
}

// readXID reads the transaction's id, which it has from its first write or lock on.
func (t *transaction) readXID(a answers) error {
	rows, err := a.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values := rows.RawValues()
		t.xid = string(values[0])
		if len(values) > 1 {
			t.session.epoch = string(values[1])
		}
	}
	rows.Close()
	return rows.Err()
}

// An outcome is what became of a transaction.
type outcome uint8

const (
	outcomeUnknown outcome = iota
	outcomeCommitted
	outcomeAborted
	outcomeElsewhere // not committed, but another one was with the same key
)

// resolve finds out what became of a COMMIT whose answer was lost, within ResolveTimeout.
func (t *transaction) resolve(lost error) error {
	ask, ok := t.question()
	unknown := &CommitUnknownError{Label: t.opts.Label, XID: t.xid, Server: t.server(), Err: lost}
	if !ok {
		unknown.Why = "nothing that could be asked for was known of it"
		return unknown
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.db.cfg.ResolveTimeout)
	defer cancel()
	since := time.Now()
	o, err := t.ask(ctx, ask)
	if t.observed() {
		e := ResolutionEvent{Info: t.info(t.opts.Label), XID: t.xid, Committed: o == outcomeCommitted, Duration: time.Since(since), Err: lost}
		if e.Unknown = o == outcomeUnknown; e.Unknown {
			e.Err = err
		}
		t.tell(e)
	}
	switch o {
	case outcomeCommitted:
		return nil
	case outcomeAborted:
		return &lostError{lost}
	case outcomeElsewhere:
		return fmt.Errorf("%s: %w", subject(t.opts.Label), ErrAlreadyCommitted)
	}
	unknown.Why = err.Error()
	return unknown
}

// A question asks a fresh connection once. An unknown outcome without an error is one that
// is not decided yet.
type question func(ctx context.Context, c *pgx.Conn, patience bool) (outcome, error)

// question is the best one that the transaction left something for. A key's answer is
// exact also on another server, after a failover.
func (t *transaction) question() (question, bool) {
	switch {
	case t.token != nil:
		return t.askKey, true
	case t.xid != "" && t.session.epoch != "":
		return t.askXID, true
	}
	return nil, false
}

// finalError is an error after which asking again does not help.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

// ask asks until there is an answer, or no time left. In the second half of the time whoever
// still works on the transaction is made to stop.
func (t *transaction) ask(ctx context.Context, q question) (o outcome, last error) {
	var c *pgx.Conn
	defer func() {
		if c != nil {
			closeConn(c, t.db.cfg.ResolveTimeout)
		}
	}()
	patience := time.Now().Add(t.db.cfg.ResolveTimeout / 2)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		var err error
		if c == nil || c.IsClosed() {
			c, err = t.db.connect(ctx)
		}
		if err == nil {
			o, err = q(ctx, c, time.Now().Before(patience))
		}
		if _, final := err.(*finalError); final || o != outcomeUnknown {
			return o, err
		}
		switch {
		case err == nil:
			last = errUndecided
		case last == nil || ctx.Err() == nil: // else an earlier one says more
			last = err
		}
		if !nap(ctx, pause) {
			return outcomeUnknown, last
		}
	}
}

var errUndecided = errors.New("it was still in progress")

// nap waits and reports whether there is time left.
func nap(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// connect opens a connection beside the pool's, which may all be held by callers that wait.
func (d *DB) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg := d.pool.Config()
	if cfg.BeforeConnect != nil {
		if err := cfg.BeforeConnect(ctx, cfg.ConnConfig); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, cfg.ConnConfig)
}

// Reasons why a verdict of pg_xact_status is not believed.
var (
	errEpoch    = errors.New("the server was restarted since, or is another one")
	errRecovery = errors.New("the server is a standby")
	errForgot   = errors.New("the server does not remember the transaction")
)

// askXID asks what became of the transaction with the id. After a restart the server may
// give an id that it lost to somebody else: only one in the same epoch is believed.
func (t *transaction) askXID(ctx context.Context, c *pgx.Conn, patience bool) (outcome, error) {
	var epoch, status string
	var recovery bool
	err := c.QueryRow(ctx, xactStatusSQL, pgx.QueryExecModeExec, t.xid).Scan(&epoch, &recovery, &status)
	switch {
	case SQLState(err) == stateInvalidParameter: // an id "in the future"
		return outcomeUnknown, &finalError{errEpoch}
	case err != nil:
		return outcomeUnknown, err
	case recovery:
		return outcomeUnknown, &finalError{errRecovery}
	case epoch != t.session.epoch:
		return outcomeUnknown, &finalError{errEpoch}
	}
	switch status {
	case "committed":
		return outcomeCommitted, nil
	case "aborted":
		return outcomeAborted, nil
	case "in progress":
		if !patience { // its session waits for a client that is gone
			_, err = c.Exec(ctx, terminateSQL, pgx.QueryExecModeExec, t.xid)
		}
		return outcomeUnknown, err
	}
	return outcomeUnknown, &finalError{errForgot}
}

// askKey asks which attempt was committed with the key. If none was, this one is voided: it
// may still be on its way, and must not be committed after this answer.
func (t *transaction) askKey(ctx context.Context, c *pgx.Conn, patience bool) (outcome, error) {
	if !patience && t.xid != "" {
		if _, err := c.Exec(ctx, terminateSQL, pgx.QueryExecModeExec, t.xid); err != nil {
			return outcomeUnknown, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, t.db.cfg.ResolveTimeout/2)
	defer cancel()
	var attempt string
	err := c.QueryRow(ctx, voidSQL, pgx.QueryExecModeExec, t.token.key, t.token.attempt).Scan(&attempt)
	switch {
	case err != nil:
		return outcomeUnknown, err
	case attempt == t.token.attempt:
		return outcomeCommitted, nil
	case attempt == "":
		return outcomeAborted, nil
	}
	return outcomeElsewhere, nil
}

// server names the server for an operator: where it is, and since when it runs.
func (t *transaction) server() string {
	if t.session == nil {
		return ""
	}
	since, _, _ := strings.Cut(t.session.epoch, "+")
	if since == "" {
		return t.session.address
	}
	return t.session.address + ", started " + since
}
