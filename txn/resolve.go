package txn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/interlock-go/interlock/txn/internal/sqltext"
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
	epochSQL = "extract(epoch from pg_postmaster_start_time())::text || ' ' || coalesce((select extract(epoch from stats_reset)::text from pg_stat_bgwriter), '')"

	xidSQL         = "select pg_current_xact_id_if_assigned()::text"
	xidAndEpochSQL = xidSQL + ", " + epochSQL

	xactStatusSQL = "select " + epochSQL + ", pg_is_in_recovery(), coalesce(pg_xact_status($1::text::xid8), '')" +
		", current_setting('synchronous_standby_names') <> ''"

	// Who still works on it is known by the id alone: a process id may be another's by now. A
	// COMMIT that waits for standbys is left alone: ended, it would be committed without them.
	terminateSQL = "select pg_terminate_backend(pid) from pg_stat_activity where backend_xid = $1::text::xid8::xid" +
		" and usename = current_user and wait_event is distinct from 'SyncRep' and " + epochSQL + " = $2"

	// Of a transaction whose id is not known it is known which session it was on this server, and
	// that it holds a key.
	terminateHolderSQL = "select pg_terminate_backend(a.pid) from pg_stat_activity a where a.pid = $1::text::bigint" +
		" and a.usename = current_user and a.wait_event is distinct from 'SyncRep' and " + epochSQL + " = $2 and exists" +
		" (select from pg_locks l where l.pid = a.pid and l.relation = 'interlock.commit_token'::regclass and l.mode = 'RowExclusiveLock')"

	// A COMMIT that follows a write waits until standbys have all that was committed before.
	confirmSQL = "select pg_logical_emit_message(true, 'interlock', '')"
)

// behind returns the step that follows the caller's statement sql in its flush, if one does:
// what may not come before it, because it would take the snapshot.
func (t *transaction) behind(sql string) []step {
	claims := t.claims()
	if !claims && !t.asksXID() || !t.mayFollow(sql) {
		return nil
	}
	if claims {
		t.following = append(t.following[:0], t.claim())
	} else {
		t.following = append(t.following[:0], t.xidStep())
	}
	return t.following
}

// asksXID reports whether the transaction's id is wanted and has to be asked for.
func (t *transaction) asksXID() bool {
	if t.readOnly || t.xid != "" || t.db.cfg.ResolveCommits == ResolveNever || !t.session.genuine {
		return false
	}
	// The claim that BEGIN brings has the id in its answer.
	return t.token == nil || !t.token.due || t.opts.Isolation.strength() > ReadCommitted
}

// unasked notes that the statement sql was sent and the id not asked for behind it.
func (t *transaction) unasked(sql string) {
	if t.blind || t.xid != "" || t.readOnly {
		return
	}
	word, _ := sqltext.FirstWord(sql)
	t.blind = word != "set"
}

func (t *transaction) xidStep() step {
	if t.epochKnown() {
		return step{kind: stepXID, sql: xidSQL}
	}
	return step{kind: stepXID, sql: xidAndEpochSQL}
}

// epochKnown reports whether the connection's epoch is known. Behind a pooler it is not the
// connection's: the next transaction may be another server's.
func (t *transaction) epochKnown() bool { return t.session.epoch != "" && !t.db.cfg.Pooler }

// mayFollow reports whether a query may follow the statement sql in its flush. At
// RepeatableRead and above that is so if the statement takes the snapshot itself: a LOCK
// TABLE or SET TRANSACTION may have to come before it, and so may what the caller sends next.
func (t *transaction) mayFollow(sql string) bool {
	word, _ := sqltext.FirstWord(sql)
	if t.opts.Isolation.strength() == ReadCommitted {
		return word != "set"
	}
	switch word {
	case "select", "insert", "update", "delete", "merge", "with", "values", "table":
		return true
	}
	return false
}

// readXID reads the transaction's id, which it has from its first write or lock on, and the
// epoch, if they are in the answer past the columns to skip.
func (t *transaction) readXID(a answers, skip int) error {
	note := func(values [][]byte) {
		values = values[skip:]
		if len(values) > 0 {
			t.xid, t.blind = string(values[0]), false
		}
		if len(values) > 1 {
			t.session.epoch = string(values[1])
		}
	}
	if p, ok := a.(*pipelined); ok { // the usual case, without rows of pgx around it
		reader, err := p.next()
		if err != nil {
			return err
		}
		for reader.NextRow() {
			note(reader.Values())
		}
		_, p.err = reader.Close()
		return p.err
	}
	rows, err := a.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		note(rows.RawValues())
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
	outcomeReused    // likewise, and for other work
)

// resolve finds out what became of a COMMIT whose answer was lost, within ResolveTimeout.
func (t *transaction) resolve(lost error) error {
	i := t.inquiry()
	if i.question() == nil {
		return t.unresolved(lost, t.silence())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.db.cfg.ResolveTimeout)
	defer cancel()
	since := time.Now()
	o, err := i.ask(ctx)
	return t.resolved(o, err, lost, time.Since(since))
}

// unresolved is what is said of a COMMIT whose answer was lost, if nobody knows more.
func (t *transaction) unresolved(lost error, why string) error {
	return &CommitUnknownError{Label: t.opts.Label, XID: t.xid, Server: t.server(), Why: why, Err: lost}
}

// resolved is what is said after it was asked for, for so long; err is why nothing was
// found out.
func (t *transaction) resolved(o outcome, err, lost error, after time.Duration) error {
	if t.observed() {
		e := ResolutionEvent{Info: t.info(t.opts.Label), XID: t.xid, Committed: o == outcomeCommitted, Duration: after, Err: lost}
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
	case outcomeReused:
		return fmt.Errorf("%s: %w", subject(t.opts.Label), ErrKeyReused)
	}
	return t.unresolved(lost, err.Error())
}

// An inquiry is what a transaction left to ask for. It does not change with the transaction.
type inquiry struct {
	db         *DB
	opts       *Options
	token      *token
	xid, epoch string
	pid        uint32 // of its session
}

func (t *transaction) inquiry() inquiry {
	return inquiry{t.db, &t.opts, t.token, t.xid, t.session.epoch, t.conn.PgConn().PID()}
}

// A question asks a fresh connection once. An unknown outcome without an error is one that
// is not decided yet. Without patience, whoever still works on the transaction is made to
// stop.
type question func(i *inquiry, ctx context.Context, c *pgx.Conn, patience bool) (outcome, error)

// question is the best one that the transaction left something for, or nil. A key's answer is
// exact also on another server, after a failover.
func (i *inquiry) question() question {
	switch {
	case i.token != nil:
		return (*inquiry).askKey
	case i.xid != "" && i.epoch != "":
		return (*inquiry).askXID
	}
	return nil
}

// silence says why there is no question.
func (t *transaction) silence() string {
	switch {
	case t.db.cfg.ResolveCommits == ResolveNever:
		return "Config.ResolveCommits is ResolveNever"
	case !t.session.genuine:
		return "the server is not PostgreSQL itself, and only an IdempotencyKey could be asked for"
	case t.together:
		return "its id would have come with the lost answer, as its first write was sent with COMMIT, and only an IdempotencyKey could be asked for"
	}
	return "it had no id: it changed no row, a notification at most"
}

// finalError is an error after which asking again does not help.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

// ask asks until there is an answer, or no time left. Its patience ends with the first half
// of the time.
func (i *inquiry) ask(ctx context.Context) (_ outcome, last error) {
	all, q := i.db.cfg.ResolveTimeout, i.question()
	if deadline, ok := ctx.Deadline(); ok {
		all = min(all, time.Until(deadline))
	}
	var c *pgx.Conn
	defer func() {
		if c != nil {
			closeConn(c, all)
		}
	}()
	patience := time.Now().Add(all / 2)
	try := func() (outcome, error) {
		// What the network swallowed is not the last try.
		ctx, cancel := context.WithTimeout(ctx, all/2)
		defer cancel()
		if c == nil || c.IsClosed() {
			var err error
			if c, err = i.db.connect(ctx); err != nil {
				return outcomeUnknown, err
			}
		}
		return q(i, ctx, c, time.Now().Before(patience))
	}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, all/25, time.Second) {
		o, err := try()
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
	// A question that is given up is not worth a cancel request, which would be waited for.
	cfg.ConnConfig.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
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
func (i *inquiry) askXID(ctx context.Context, c *pgx.Conn, patience bool) (outcome, error) {
	var epoch, status string
	var recovery, standbys bool
	err := c.QueryRow(ctx, xactStatusSQL, pgx.QueryExecModeExec, i.xid).Scan(&epoch, &recovery, &status, &standbys)
	switch {
	case SQLState(err) == stateInvalidParameter: // an id "in the future"
		return outcomeUnknown, &finalError{errEpoch}
	case err != nil:
		return outcomeUnknown, err
	case recovery:
		return outcomeUnknown, &finalError{errRecovery}
	case epoch != i.epoch:
		return outcomeUnknown, &finalError{errEpoch}
	}
	switch status {
	case "committed":
		if standbys {
			err = i.confirm(ctx, c)
		}
		if err != nil {
			return outcomeUnknown, err
		}
		return outcomeCommitted, nil
	case "aborted":
		return outcomeAborted, nil
	case "in progress":
		if !patience { // its session waits for a client that is gone
			err = i.terminate(ctx, c)
		}
		return outcomeUnknown, err
	}
	return outcomeUnknown, &finalError{errForgot}
}

// terminate ends the session that still works on the transaction, if the server is the one
// that has it. Behind a pooler the session is nobody's.
func (i *inquiry) terminate(ctx context.Context, c *pgx.Conn) (err error) {
	switch {
	case i.epoch == "":
	case i.xid != "":
		_, err = c.Exec(ctx, terminateSQL, pgx.QueryExecModeExec, i.xid, i.epoch)
	case !i.db.cfg.Pooler:
		_, err = c.Exec(ctx, terminateHolderSQL, pgx.QueryExecModeExec, strconv.FormatUint(uint64(i.pid), 10), i.epoch)
	}
	return err
}

// confirm waits for what COMMIT waits for, standbys, where that was broken off: the server
// then has committed the transaction, but loses it if a standby takes over that does not
// have it.
func (i *inquiry) confirm(ctx context.Context, c *pgx.Conn) error {
	if s := i.opts.SynchronousCommit; s == SyncOff || s == SyncLocal {
		return nil
	}
	err := i.committing(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, confirmSQL)
		return err
	})
	if err != nil {
		return fmt.Errorf("the server has committed it, but standbys did not confirm it: %w", err)
	}
	return nil
}

// confirmed waits, within ResolveTimeout, for what a COMMIT did not that succeeded although it
// was cancelled.
func (i *inquiry) confirmed(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, i.db.cfg.ResolveTimeout)
	defer cancel()
	var standbys bool
	err := c.QueryRow(ctx, "select current_setting('synchronous_standby_names') <> ''").Scan(&standbys)
	if err == nil && standbys {
		err = i.confirm(ctx, c)
	}
	return err
}

// committing runs fn in a transaction, which waits for standbys as the one asked about does, or
// longer.
func (i *inquiry) committing(ctx context.Context, c *pgx.Conn, fn func(pgx.Tx) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	err := pgx.BeginTxFunc(ctx, c, options, func(tx pgx.Tx) error {
		if s := i.opts.SynchronousCommit; s != SyncUnspecified && s != SyncOff {
			if _, err := tx.Exec(ctx, "set local synchronous_commit = "+string(s)); err != nil {
				return err
			}
		}
		return fn(tx)
	})
	if err == nil {
		err = ctx.Err() // a COMMIT that was cancelled while it waited has succeeded without them
	}
	return err
}

// askKey asks which attempt was committed with the key. If none was, this one is voided: it
// may still be on its way, and must not be committed after this answer.
func (i *inquiry) askKey(ctx context.Context, c *pgx.Conn, patience bool) (o outcome, err error) {
	if !patience {
		if err := i.terminate(ctx, c); err != nil {
			return outcomeUnknown, err
		}
	}
	var attempt, fingerprint string
	err = i.committing(ctx, c, func(tx pgx.Tx) error {
		// The wait for the key's holder ends on the server: a question that was left there, in the
		// way of the next, would be worse than none.
		if _, err := tx.Exec(ctx, lockWait(ctx)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, voidSQL, pgx.QueryExecModeExec, i.token.key, i.token.attempt).Scan(&attempt, &fingerprint)
	})
	switch {
	case SQLState(err) == stateLockNotAvailable:
		return outcomeUnknown, nil
	case err != nil:
		return outcomeUnknown, err
	case attempt == i.token.attempt:
		return outcomeCommitted, nil
	case attempt == "":
		return outcomeAborted, nil
	case i.token.differs(fingerprint):
		return outcomeReused, nil
	}
	return outcomeElsewhere, nil
}

// lockWait bounds the wait for a lock to half of what is left of the time, and to what the
// server can count.
func lockWait(ctx context.Context) string {
	deadline, _ := ctx.Deadline()
	left := milliseconds(time.Until(deadline) / 2)
	return fmt.Sprint("set local lock_timeout = ", min(max(1, left), math.MaxInt32))
}

// server names the server for an operator: where it is, and since when it runs.
func (t *transaction) server() string {
	if t.session == nil {
		return ""
	}
	text, _, _ := strings.Cut(t.session.epoch, " ")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return t.session.address
	}
	return t.session.address + ", started " + time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}
