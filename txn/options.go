package txn

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Isolation is a transaction isolation level.
type Isolation uint8

// The levels, weakest first. PostgreSQL has no dirty reads: ReadUncommitted is accepted
// and behaves exactly as ReadCommitted.
const (
	IsolationUnspecified Isolation = iota // Config's default, else ReadCommitted
	ReadUncommitted
	ReadCommitted
	RepeatableRead
	Serializable
)

// String returns the level's SQL name in lower case.
func (l Isolation) String() string {
	switch l {
	case IsolationUnspecified:
		return "unspecified"
	case ReadUncommitted:
		return "read uncommitted"
	case ReadCommitted:
		return "read committed"
	case RepeatableRead:
		return "repeatable read"
	case Serializable:
		return "serializable"
	}
	return fmt.Sprintf("Isolation(%d)", uint8(l))
}

// strength makes the two names of one behaviour equal.
func (l Isolation) strength() Isolation {
	if l == ReadUncommitted {
		return ReadCommitted
	}
	return l
}

// SynchronousCommit says what COMMIT waits for. The names are those of PostgreSQL's
// setting synchronous_commit.
type SynchronousCommit string

// The values, least durable first. With SyncOff a crash of the server may lose the last
// moments' commits, though never tear one.
const (
	SyncUnspecified SynchronousCommit = ""             // the server's setting
	SyncOff         SynchronousCommit = "off"          // nothing
	SyncLocal       SynchronousCommit = "local"        // this server's disk
	SyncRemoteWrite SynchronousCommit = "remote_write" // the standby's operating system
	SyncOn          SynchronousCommit = "on"           // the standby's disk too, if there is one
	SyncRemoteApply SynchronousCommit = "remote_apply" // visible on the standby
)

// Options says how a transaction runs. The zero value is right for most calls.
//
// A call on a *DB begins a transaction with these options. A call on a *Tx or *ReadTx joins
// the one that runs: there a zero field asks for nothing, and each field says what another
// value does.
type Options struct {
	// Label says why, in a few words such as "account: transfer". It names the transaction
	// to observers, and in the errors that are about the transaction as a whole; those of its
	// statements come without it. A joined call's label is added to the outer one's, after a slash.
	Label string

	// Isolation is the level. Default: Config.Options.Isolation, else ReadCommitted.
	// Joined: an equal or weaker level joins, a stronger one is ErrOptionsConflict.
	Isolation Isolation

	// Deferrable makes a Serializable WithReadTx wait for a snapshot that no concurrent
	// transaction can invalidate: then it can neither fail nor be the cause of another's
	// failure. Only there. Joined: ErrOptionsConflict unless equal.
	Deferrable bool

	// LockTimeout bounds each wait for a lock; past it the statement fails with
	// ErrLockNotAvailable. A limit per lock, not for the call. Rounded up to milliseconds.
	// Default: none of our own, the server's setting applies. Joined: holds for the inner
	// call, the outer value afterwards.
	LockTimeout time.Duration

	// StatementTimeout bounds each statement on the server (SQLSTATE 57014, not retried).
	// Default and joined: as LockTimeout.
	StatementTimeout time.Duration

	// IdleTimeout makes the server end a transaction that sends nothing for so long, with
	// the connection (SQLSTATE 25P03, not retried): its locks do not outlive a stuck
	// client. Default and joined: as LockTimeout.
	IdleTimeout time.Duration

	// Timeout bounds the whole call, waits for a connection and retries included. Past it
	// the error is context.DeadlineExceeded and nothing is committed: a COMMIT already sent
	// is waited for, up to Config.ResolveTimeout longer. The server ends the transaction by
	// itself one second later, if this process no longer can; before PostgreSQL 17 it does so
	// once a statement, or a pause between two, has lasted that long. Joined: the nearer
	// deadline holds.
	Timeout time.Duration

	// SynchronousCommit is what COMMIT waits for. Default: the server's setting. Joined:
	// ErrOptionsConflict unless equal.
	SynchronousCommit SynchronousCommit

	// DeferConstraints checks all deferrable constraints at COMMIT. Joined:
	// ErrOptionsConflict unless equal.
	DeferConstraints bool

	// Settings are set for this transaction alone, by SET LOCAL: a tenant that row-level
	// security asks for, for instance. Names are PostgreSQL's, or of the form app.tenant.
	// Refused are settings that Options has a field for, and those that change how
	// statements are prepared, such as search_path and role. Default: those of
	// Config.SettingsFrom, over which these go name by name. Joined: ErrOptionsConflict
	// unless each is set to the same value.
	//
	// A session in which app.tenant was ever set has it empty afterwards, not NULL: let
	// policies ask for nullif(current_setting('app.tenant', true), ''). Values of TimeZone and
	// DateStyle do not reach the literals in a statement's text, which are read when it is
	// prepared: give dates as arguments.
	Settings map[string]string

	// Locks are advisory locks that are taken before anything is read, in one order for
	// everybody, and held until the transaction ends. At RepeatableRead and Serializable the
	// snapshot is taken after the locks, so that the transaction sees what their last holders
	// did, as it would not with Tx.AdvisoryLock. LockTimeout bounds each wait. They travel with
	// the first statement: what the function does before that is not protected, and one that
	// sends none takes none. Joined: those that the transaction did not begin with are taken
	// with the next statement at ReadCommitted; above it they are ErrOptionsConflict.
	Locks []Key

	// IdempotencyKey names the work, so that it is done once: the key is stored in the same
	// transaction (table interlock.commit_token, see Migrations), and a later call with it is
	// ErrAlreadyCommitted. It also tells what became of a COMMIT whose answer was lost, exactly
	// and across a failover. At most 200 characters. Costs no round trip. Per call only.
	// Joined: ErrOptionsConflict unless equal.
	IdempotencyKey string

	// Fingerprint says what the work is, a hash of the request for instance: a key that comes
	// back with another one, or was first used without, is ErrKeyReused. A call without one
	// does not compare. Only with IdempotencyKey.
	Fingerprint string

	// FlushJoined makes a joined call send what is queued before it returns, as COMMIT does for a
	// call that begins the transaction: the answers of Pendings can then be read after the call,
	// whichever it was. It costs a joined call a round trip, and the others nothing.
	FlushJoined bool

	// MaxAttempts is how often the function may run. Default: Config.Options.MaxAttempts,
	// else 3; 1 disables retry. Joined: ignored, only the outermost call retries.
	MaxAttempts int

	// RetryAlso names further SQLSTATEs to retry, such as "23505" for a function that looks
	// before it inserts. Cancelled statements and the server's session timeouts (57014,
	// 25P03, 25P04, 57P05) are refused here. Joined: added to the outer call's.
	RetryAlso []string

	// OnRetry is called before each further attempt, in the calling goroutine, between
	// transactions: it may use the *DB. Joined: called as well, after the outer one.
	OnRetry func(ctx context.Context, r Retry)
}

// A Retry describes an attempt that failed and will be repeated.
type Retry struct {
	Label   string
	Attempt int           // the failed attempt's number, from 1
	Err     error         // why it failed
	Delay   time.Duration // the pause before the next one
}

// validate refuses what can never be right.
func (o Options) validate(readOnly bool) error {
	if o.Isolation > Serializable {
		return &OptionsError{"Isolation", "unknown level " + o.Isolation.String()}
	}
	if o.Deferrable && (!readOnly || o.Isolation != Serializable) {
		return &OptionsError{"Deferrable", "has a meaning only for WithReadTx at Serializable"}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"LockTimeout", o.LockTimeout}, {"StatementTimeout", o.StatementTimeout},
		{"IdleTimeout", o.IdleTimeout}, {"Timeout", o.Timeout},
	} {
		if f.d < 0 {
			return &OptionsError{f.name, fmt.Sprintf("is negative (%s); leave it zero for none", f.d)}
		}
		if milliseconds(f.d) > math.MaxInt32-backstop.Milliseconds() {
			return &OptionsError{f.name, fmt.Sprintf("is %s, the server's limit is about 24 days", f.d)}
		}
	}
	switch o.SynchronousCommit {
	case SyncUnspecified, SyncOff, SyncLocal, SyncRemoteWrite, SyncOn, SyncRemoteApply:
	default:
		return &OptionsError{"SynchronousCommit", fmt.Sprintf("unknown value %q", string(o.SynchronousCommit))}
	}
	if o.MaxAttempts < 0 {
		return &OptionsError{"MaxAttempts", "is negative; use 1 for no retry"}
	}
	if err := validateSettings("Settings", o.Settings); err != nil {
		return err
	}
	switch {
	case o.IdempotencyKey == "" && o.Fingerprint != "":
		return &OptionsError{"Fingerprint", "has a meaning only with IdempotencyKey"}
	case o.IdempotencyKey != "" && readOnly:
		return &OptionsError{"IdempotencyKey", "has a meaning only for WithTx: reading leaves nothing to repeat"}
	case utf8.RuneCountInString(o.IdempotencyKey) > maxKeyLength:
		return &OptionsError{"IdempotencyKey", fmt.Sprintf("is longer than %d characters", maxKeyLength)}
	case !storable(o.IdempotencyKey) || !storable(o.Fingerprint):
		return &OptionsError{"IdempotencyKey", "or Fingerprint is not a text that PostgreSQL can store: UTF-8 without zero bytes"}
	}
	if slices.ContainsFunc(o.Locks, Key.empty) {
		return errEmptyKey
	}
	for _, code := range o.RetryAlso {
		if len(code) != 5 {
			return &OptionsError{"RetryAlso", fmt.Sprintf("%q is not a SQLSTATE: those have five characters", code)}
		}
		if neverRetried(code) {
			return &OptionsError{"RetryAlso", code + " reports the caller's own limit or wish; raise the limit instead of repeating"}
		}
	}
	return nil
}

func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// over fills the zero fields of o from the defaults d.
func (o Options) over(d Options) Options {
	fill(&o.Label, d.Label)
	fill(&o.Isolation, d.Isolation)
	fill(&o.LockTimeout, d.LockTimeout)
	fill(&o.StatementTimeout, d.StatementTimeout)
	fill(&o.IdleTimeout, d.IdleTimeout)
	fill(&o.Timeout, d.Timeout)
	fill(&o.SynchronousCommit, d.SynchronousCommit)
	fill(&o.DeferConstraints, d.DeferConstraints)
	fill(&o.MaxAttempts, d.MaxAttempts)
	o.Settings = merged(d.Settings, o.Settings)
	if o.Locks == nil {
		o.Locks = d.Locks
	}
	if o.RetryAlso == nil {
		o.RetryAlso = d.RetryAlso
	}
	if o.OnRetry == nil {
		o.OnRetry = d.OnRetry
	}
	fill(&o.Isolation, ReadCommitted)
	fill(&o.MaxAttempts, defaultAttempts)
	return o
}

// merged is base with over's values over its own.
func merged(base, over map[string]string) map[string]string {
	switch {
	case len(base) == 0:
		return over
	case len(over) == 0:
		return base
	}
	all := maps.Clone(base)
	maps.Copy(all, over)
	return all
}

func fill[T comparable](field *T, otherwise T) {
	if zero := *new(T); *field == zero {
		*field = otherwise
	}
}

// milliseconds rounds up: a limit of 0 would mean none.
func milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}
