package txn

import (
	"strconv"
	"time"
)

// backstop is how much later than Options.Timeout the server itself ends a transaction.
// The client's deadline and cancel request come first and keep the connection; this one is
// for a client that can no longer act.
const backstop = time.Second

// transactionTimeoutSince is the first major version with the setting transaction_timeout.
const transactionTimeoutSince = 17

// limits are the server-side timeouts; zero stands for the server's own.
type limits struct{ lock, statement, idle time.Duration }

// begins are the texts of BEGIN by isolation level, for reading and writing.
var begins = func() (texts [2][Serializable + 1]string) {
	for i, access := range [2]string{" read write", " read only"} {
		for l := ReadUncommitted; l <= Serializable; l++ {
			texts[i][l] = "begin isolation level " + l.String() + access
		}
	}
	return texts
}()

// beginning is BEGIN and everything that belongs to it. Nothing in it takes a snapshot
// before the transaction's locks are held.
func (t *transaction) beginning() []step {
	access := 0
	if t.readOnly {
		access = 1
	}
	sql := begins[access][t.opts.Isolation]
	if t.opts.Deferrable {
		sql += " deferrable"
	}
	steps := t.session.steps[:0]
	t.session.steps = nil // it is in use
	first := t.firstSettings()
	early := len(t.opts.Locks) > 0 && t.opts.Isolation.strength() > ReadCommitted
	if early {
		steps = append(steps, sessionLocks(t.opts.Locks, first)...)
	}
	steps = append(steps, step{kind: stepBegin, sql: sql})
	if t.shared != nil {
		steps = append(steps, step{kind: stepSnapshot, sql: t.shared.text()})
	}
	set := func(statements ...string) {
		for _, sql := range statements {
			steps = append(steps, step{sql: sql})
		}
	}
	set(first...)
	if t.opts.SynchronousCommit != SyncUnspecified {
		set("set local synchronous_commit = " + string(t.opts.SynchronousCommit))
	}
	if t.opts.DeferConstraints {
		set("set constraints all deferred")
	}
	set(settingsSQL(t.opts.Settings)...)
	if early {
		steps = append(steps, handover(t.opts.Locks)...)
	} else {
		steps = append(steps, transactionLocks(t.opts.Locks)...)
	}
	if t.token != nil && t.opts.Isolation.strength() == ReadCommitted {
		steps = append(steps, t.claim())
	}
	return steps
}

// firstSettings returns the SET LOCAL statements for what already counts while a lock is
// waited for: the limits, and the name by which the session is seen waiting.
func (t *transaction) firstSettings() (statements []string) {
	if t.opts.Timeout > 0 && t.session.major >= transactionTimeoutSince {
		statements = append(statements, setLocal("transaction_timeout", t.opts.Timeout+backstop))
	}
	initial := limits{t.opts.LockTimeout, t.opts.StatementTimeout, t.opts.IdleTimeout}.under(t.ceiling)
	statements = append(statements, initial.change(limits{})...)
	if t.db.cfg.LabelAppName && t.opts.Label != "" {
		statements = append(statements, "set local application_name = "+literal(appName(t.opts.Label)))
	}
	return statements
}

// under returns l with no statement and no pause allowed longer than the ceiling, if there
// is one.
func (l limits) under(ceiling time.Duration) limits {
	if ceiling == 0 {
		return l
	}
	if l.statement == 0 || l.statement > ceiling {
		l.statement = ceiling
	}
	if l.idle == 0 || l.idle > ceiling {
		l.idle = ceiling
	}
	return l
}

// change returns the SET LOCAL statements from have to l.
func (l limits) change(have limits) (statements []string) {
	if l.lock != have.lock {
		statements = append(statements, setLocal("lock_timeout", l.lock))
	}
	if l.statement != have.statement {
		statements = append(statements, setLocal("statement_timeout", l.statement))
	}
	if l.idle != have.idle {
		statements = append(statements, setLocal("idle_in_transaction_session_timeout", l.idle))
	}
	return statements
}

func setLocal(setting string, d time.Duration) string {
	if d == 0 {
		return "set local " + setting + " = default"
	}
	return "set local " + setting + " = " + strconv.FormatInt(milliseconds(d), 10)
}
