package txn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// A recorder is an observer that keeps what it was told.
type recorder struct {
	mu     sync.Mutex
	events []txn.Event
	told   chan struct{} // if not nil, gets a token for each event
}

func (r *recorder) Observe(_ context.Context, e txn.Event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	if r.told != nil {
		r.told <- struct{}{}
	}
}

// take returns the events so far as text, and forgets them.
func (r *recorder) take() (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		lines = append(lines, line(e))
	}
	r.events = nil
	return lines
}

// line is an event without what differs from run to run.
func line(e txn.Event) string {
	i := e.Transaction()
	head := fmt.Sprintf("%s#%d ", i.Label, i.Attempt)
	used := func(u txn.Usage) string {
		return fmt.Sprintf(" statements=%d round_trips=%d savepoints=%d", u.Statements, u.RoundTrips, u.Savepoints)
	}
	switch e := e.(type) {
	case txn.BeginEvent:
		return head + "begin " + e.Isolation.String()
	case txn.QueuedEvent:
		return head + fmt.Sprintf("queue %q", e.Query) + within(e.Depth)
	case txn.StatementEvent:
		text := fmt.Sprintf("%q rows=%d", e.Query, e.Rows) + within(e.Depth)
		if e.Queued {
			text += " queued"
		}
		return head + text + failure(e.Err)
	case txn.SavepointEvent:
		return head + fmt.Sprint("savepoint ", e.Depth) + failure(e.Err)
	case txn.CommitEvent:
		return head + "commit" + used(e.Usage)
	case txn.RollbackEvent:
		text := head + "rollback" + used(e.Usage)
		if e.Retry {
			text += " retry"
		}
		if e.Unknown {
			text += " unknown"
		}
		return text + failure(e.Err)
	case txn.RetryEvent:
		return head + "retry" + failure(e.Err)
	case txn.HookEvent:
		return head + "hook" + failure(e.Err)
	case txn.ResolutionEvent:
		text := head + fmt.Sprintf("resolution committed=%v", e.Committed)
		if e.Unknown {
			text += " unknown"
		}
		return text
	case txn.WarningEvent:
		return head + "warning: " + string(e.Warning)
	}
	return head + fmt.Sprintf("%T", e)
}

func within(depth int) string {
	if depth == 0 {
		return ""
	}
	return fmt.Sprint(" in ", depth)
}

func failure(err error) string {
	switch {
	case err == nil:
		return ""
	case txn.SQLState(err) != "":
		return " failed=" + txn.SQLState(err)
	}
	return " failed"
}

func TestEventsOfATransaction(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{Observers: []txn.Observer{r}})
	const addNote = "-- name: AddNote :exec\ninsert into notes (body) select 'queued ' || n from generate_series(1, 3) n"
	// Round trips are counted of statements that the connection knows.
	require.ErrorIs(t, txn.WithTx(t.Context(), f.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "first"))
		tx.Queue(addNote)
		require.NoError(t, tx.Flush(ctx))
		return errBusiness
	}), errBusiness)
	r.take()
	runs := 0
	err := txn.WithTx(t.Context(), f.db, txn.Options{Label: "x", Isolation: txn.RepeatableRead}, func(ctx context.Context, tx *txn.Tx) error {
		runs++
		if runs == 1 {
			tx.Queue("insert into notes (body) values ('undone')")
			return fail(ctx, tx, "40001")
		}
		require.NoError(t, write(ctx, tx, "first"))
		require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue(addNote)
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "inner") })
		}))
		require.Error(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "first") }))
		require.NoError(t, txn.WithReadTx(ctx, tx, txn.Options{Label: "read"}, func(ctx context.Context, rx *txn.ReadTx) error {
			rows, err := rx.Query(ctx, "select id from accounts order by id")
			require.NoError(t, err)
			ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			require.Len(t, ids, 4)
			return err
		}))
		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue("select 2")
		require.NoError(t, tx.SendBatch(ctx, b).Close())
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"copied"}, {"copied too"}}))
		require.NoError(t, err)
		tx.Queue("update accounts set version = version + 1")
		tx.AfterCommit(func(context.Context) error { return nil })
		tx.AfterCommit(func(context.Context) error { panic("boom") })
		return nil
	})
	_, failed := errors.AsType[*txn.HookError](err)
	require.True(t, failed, "%v", err)
	var ids []uint64
	var pids []uint32
	for _, e := range r.events {
		i := e.Transaction()
		ids, pids = append(ids, i.ID), append(pids, i.PID)
		require.False(t, i.ReadOnly)
	}
	for n := range ids {
		require.Equal(t, ids[0], ids[n], "one call, one id")
		if n > 0 {
			require.NotZero(t, pids[n], "known from BEGIN to the last hook")
		}
	}
	require.Equal(t, []string{
		`x#1 queue "insert into notes (body) values ('undone')"`,
		`x#1 begin repeatable read`,
		`x#1 "insert into notes (body) values ('undone')" rows=1 queued`,
		`x#1 "select fail($1)" rows=0 failed=40001`,
		`x#1 rollback statements=2 round_trips=2 savepoints=0 retry failed=40001`,
		`x#1 retry failed=40001`,
		`x#2 begin repeatable read`,
		`x#2 "insert into notes (body) values ($1)" rows=1`,
		`x#2 queue "AddNote" in 1`,
		`x#2 "AddNote" rows=3 in 1 queued`,
		`x#2 "insert into notes (body) values ($1)" rows=1 in 2`,
		`x#2 savepoint 2`,
		`x#2 savepoint 1`,
		`x#2 "insert into notes (body) values ($1)" rows=0 in 1 failed=23505`,
		`x#2 savepoint 1 failed=23505`,
		`x/read#2 "select id from accounts order by id" rows=4`,
		`x#2 "select 1" rows=0`,
		`x#2 "copy into \"notes\"" rows=2`,
		`x#2 queue "update accounts set version = version + 1"`,
		`x#2 "update accounts set version = version + 1" rows=4 queued`,
		// first, AddNote with inner, the undone one, its ROLLBACK TO, read, batch, copy, COMMIT
		`x#2 commit statements=8 round_trips=8 savepoints=3`,
		`x#2 hook`,
		`x#2 hook failed`,
	}, r.take())
}

func TestEventsWithoutAStatement(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{Observers: []txn.Observer{r}})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Label: "a"}, nothing))
	require.Error(t, txn.WithReadTx(t.Context(), f.db, txn.Options{Label: "b"}, func(context.Context, *txn.ReadTx) error { return errBusiness }))
	for n, e := range r.events {
		require.Zero(t, e.Transaction().PID)
		require.Equal(t, n == 1, e.Transaction().ReadOnly)
	}
	require.NotEqual(t, r.events[0].Transaction().ID, r.events[1].Transaction().ID)
	require.Equal(t, []string{
		"a#1 commit statements=0 round_trips=0 savepoints=0",
		"b#1 rollback statements=0 round_trips=0 savepoints=0 failed",
	}, r.take())
}

// Everything in a single flush: the round trip is COMMIT's.
func TestEventsOfAQueuedTransaction(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{Observers: []txn.Observer{r}})
	require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Label: "x"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into notes (body) values ('a'), ('b')")
		return nil
	}))
	e := r.events[len(r.events)-1].(txn.CommitEvent)
	require.Positive(t, e.Duration)
	require.Positive(t, e.Commit)
	require.LessOrEqual(t, e.Commit, e.Duration)
	require.Equal(t, []string{
		`x#1 queue "insert into notes (body) values ('a'), ('b')"`,
		"x#1 begin read committed",
		`x#1 "insert into notes (body) values ('a'), ('b')" rows=2 queued`,
		"x#1 commit statements=1 round_trips=1 savepoints=0",
	}, r.take())
}

// A call that observers heard of ends with an event, however it ends.
func TestEventsWhenTheFunctionDoesNotReturn(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{Observers: []txn.Observer{r}})
	for name, leave := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		for where, run := range map[string]func(context.Context, *txn.Tx) error{
			"function": func(ctx context.Context, tx *txn.Tx) error { leave(); return nil },
			"BeforeCommit": func(ctx context.Context, tx *txn.Tx) error {
				tx.BeforeCommit(func(context.Context, *txn.Tx) error { leave(); return nil })
				return nil
			},
			"AfterRollback": func(ctx context.Context, tx *txn.Tx) error {
				tx.AfterRollback(func(context.Context, error) { leave() })
				return errBusiness
			},
			"OnRetry": func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "40001") },
		} {
			opts := txn.Options{Label: "x"}
			if where == "OnRetry" {
				opts.OnRetry = func(context.Context, txn.Retry) { leave() }
			}
			elsewhere(func() {
				defer func() { _ = recover() }()
				_ = txn.WithTx(t.Context(), f.db, opts, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, write(ctx, tx, "undone"))
					return run(ctx, tx)
				})
			})
			told := r.take()
			require.Contains(t, told[len(told)-1], "x#1 rollback statements=", "%s in %s", name, where)
			require.NotContains(t, told[len(told)-1], "retry")
		}
	}
}

// A pause that the context ends is not followed by the attempt that was meant to be.
func TestEventsWhenThePauseBeforeARetryIsCutShort(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{Observers: []txn.Observer{r}, BaseDelay: time.Hour, MaxDelay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	err := txn.WithTx(ctx, f.db, txn.Options{Label: "x", OnRetry: func(context.Context, txn.Retry) { cancel() }},
		func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "40001") })
	require.Equal(t, "40001", txn.SQLState(err))
	require.Equal(t, []string{
		"x#1 begin read committed",
		`x#1 "select fail($1)" rows=0 failed=40001`,
		"x#1 rollback statements=1 round_trips=2 savepoints=0 failed=40001",
	}, r.take())
}

func TestEventsOfALostCommit(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{})
	for name, c := range map[string]struct {
		after  bool
		config txn.Config
		first  bool // the first write travels with COMMIT
		want   []string
	}{
		"committed": {after: true, want: []string{
			"x#1 resolution committed=true", "x#1 commit statements=1 round_trips=2 savepoints=0",
		}},
		"aborted": {after: false, want: []string{
			"x#1 resolution committed=false", "x#1 rollback statements=1 round_trips=2 savepoints=0 failed",
		}},
		"not asked": {after: true, config: txn.Config{ResolveCommits: txn.ResolveNever}, want: []string{
			"x#1 rollback statements=1 round_trips=2 savepoints=0 unknown failed",
		}},
	} {
		p := txntest.NewProxy(t, f.AppURL())
		c.config.Observers = []txn.Observer{r}
		d := openConfig(t, poolConfig(t, p.URL()), c.config)
		cut := p.Arm(cutAt("^commit$", c.after))
		_ = txn.WithTx(t.Context(), d, txn.Options{Label: "x", MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
			return write(ctx, tx, name)
		})
		require.Equal(t, append([]string{"x#1 begin read committed", `x#1 "insert into notes (body) values ($1)" rows=1`}, c.want...), r.take(), name)
		require.NoError(t, cut.WaitSession(t.Context()))
	}
}

// The server remembers 64 subtransactions of a session by itself. One that was undone is
// none any more.
func TestSavepointWarning(t *testing.T) {
	r := &recorder{}
	f := setup(t, txn.Config{Observers: []txn.Observer{r}})
	warned := func() (n int) {
		for _, l := range r.take() {
			if strings.Contains(l, "warning: ") {
				require.Equal(t, "x#1 warning: "+string(txn.WarnSavepoints), l)
				n++
			}
		}
		return n
	}
	run := func(n int, result error) {
		require.NoError(t, txn.WithTx(t.Context(), f.db, txn.Options{Label: "x"}, func(ctx context.Context, tx *txn.Tx) error {
			for i := range n {
				require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, write(ctx, tx, fmt.Sprint(n, " ", i, result)))
					return result
				}), result)
			}
			return nil
		}))
	}
	run(64, nil)
	require.Zero(t, warned())
	run(65, nil)
	require.Equal(t, 1, warned())
	run(130, nil)
	require.Equal(t, 1, warned(), "once for a transaction")
	run(130, errBusiness)
	require.Zero(t, warned())
}

func TestWarnAfter(t *testing.T) {
	f := setup(t, txn.Config{})
	r := &recorder{told: make(chan struct{}, 100)}
	// The time is doubled until the transaction has begun when the warning comes.
	var warning txn.WarningEvent
	for after := 20 * time.Millisecond; warning.PID == 0; after *= 2 {
		require.Less(t, after, time.Minute)
		d := txn.New(f.db.Pool(), txn.Config{Observers: []txn.Observer{r}, WarnAfter: after})
		r.take()
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "x"}, func(ctx context.Context, tx *txn.Tx) error {
			pid := ask[int](t, ctx, tx, "select pg_backend_pid()")
			for range 3 { // BEGIN, the statement, the warning
				<-r.told
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, e := range r.events {
				if w, ok := e.(txn.WarningEvent); ok {
					warning = w
				}
			}
			require.Equal(t, txn.WarnOpenLong, warning.Warning)
			require.Equal(t, "x", warning.Label)
			require.Equal(t, r.events[0].Transaction().ID, warning.ID)
			if warning.PID != 0 {
				require.EqualValues(t, pid, warning.PID)
			}
			return nil
		}))
		<-r.told // COMMIT
	}
	r.take()
	patient := txn.New(f.db.Pool(), txn.Config{Observers: []txn.Observer{r}, WarnAfter: time.Hour})
	require.NoError(t, txn.WithTx(t.Context(), patient, txn.Options{Label: "x"}, nothing))
	require.Equal(t, []string{"x#1 commit statements=0 round_trips=0 savepoints=0"}, r.take())
}

func TestObserversAreToldInOrder(t *testing.T) {
	var told []string
	say := func(who string) txn.Observer {
		return observerFunc(func(ctx context.Context, e txn.Event) {
			require.Equal(t, "kept", ctx.Value(valueKey{}), "the context is the call's")
			told = append(told, who)
		})
	}
	f := setup(t, txn.Config{Observers: []txn.Observer{say("a"), say("b")}})
	require.NoError(t, txn.WithTx(context.WithValue(t.Context(), valueKey{}, "kept"), f.db, txn.Options{}, nothing))
	require.Equal(t, []string{"a", "b"}, told)
}

type observerFunc func(context.Context, txn.Event)

func (o observerFunc) Observe(ctx context.Context, e txn.Event) { o(ctx, e) }

// The records of the slog observer, one for each call: levels by outcome, and no value that
// a statement was given.
func TestSlogObserver(t *testing.T) {
	f := setup(t, txn.Config{})
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey:
				return slog.Attr{}
			case "duration", "pid":
				require.Positive(t, map[string]int64{"duration": int64(asDuration(a)), "pid": int64(asPID(a))}[a.Key])
				return slog.String(a.Key, "…")
			}
			return a
		},
	}))
	cfg := txn.Config{Observers: []txn.Observer{txn.NewSlogObserver(logger)}}
	d := txn.New(f.db.Pool(), cfg)
	p := txntest.NewProxy(t, f.AppURL())
	unsure := cfg
	unsure.ResolveCommits = txn.ResolveNever
	lossy := openConfig(t, poolConfig(t, p.URL()), unsure)

	fails := func(code string, times int) func(context.Context, *txn.Tx) error {
		return func(ctx context.Context, tx *txn.Tx) error {
			if tx.Attempt() <= times {
				return fail(ctx, tx, code)
			}
			return write(ctx, tx, code)
		}
	}
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "nothing"}, nothing))
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "committed"}, fails("40001", 0)))
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "retried"}, fails("40P01", 2)))
	require.Error(t, txn.WithTx(t.Context(), d, txn.Options{Label: "exhausted"}, fails("40001", 9)))
	require.Error(t, txn.WithTx(t.Context(), d, txn.Options{Label: "server"}, fails("23505", 9)))
	require.Error(t, txn.WithTx(t.Context(), d, txn.Options{Label: "business"}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "secret"))
		return errBusiness
	}))
	require.Error(t, txn.WithTx(t.Context(), d, txn.Options{Label: "duplicate"}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, write(ctx, tx, "secret"))
		return write(ctx, tx, "secret")
	}))
	require.Panics(t, func() {
		_ = txn.WithTx(t.Context(), d, txn.Options{Label: "panic"}, func(context.Context, *txn.Tx) error { panic("boom") })
	})
	cut := p.Arm(cutAt("^commit$", true))
	require.Error(t, txn.WithTx(t.Context(), lossy, txn.Options{Label: "unknown"}, func(ctx context.Context, tx *txn.Tx) error {
		return write(ctx, tx, "unknown")
	}))
	require.NoError(t, cut.WaitSession(t.Context()))
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{Label: "savepoints"}, func(ctx context.Context, tx *txn.Tx) error {
		for i := range 65 {
			require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, fmt.Sprint(i)) }))
		}
		return nil
	}))
	require.NotContains(t, out.String(), "secret")
	records := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, r := range records { // how the connection was lost is the operating system's word
		if strings.Contains(r, "outcome=unknown") {
			head, text, _ := strings.Cut(r, " error=")
			require.Contains(t, text, "outcome of COMMIT is unknown")
			records[i] = head
		}
	}
	require.Equal(t, []string{
		`level=DEBUG msg=transaction label=nothing attempts=1 outcome=committed duration=… statements=0 round_trips=0 savepoints=0`,
		`level=DEBUG msg=transaction label=committed attempts=1 pid=… outcome=committed duration=… statements=1 round_trips=2 savepoints=0`,
		`level=DEBUG msg=transaction label=retried attempts=3 pid=… outcome=committed duration=… statements=1 round_trips=2 savepoints=0`,
		`level=WARN msg=transaction label=exhausted attempts=3 pid=… outcome="rolled back" duration=… statements=1 round_trips=2 savepoints=0 sqlstate=40001 error="ERROR: injected (SQLSTATE 40001)"`,
		`level=WARN msg=transaction label=server attempts=1 pid=… outcome="rolled back" duration=… statements=1 round_trips=2 savepoints=0 sqlstate=23505 error="ERROR: injected (SQLSTATE 23505)"`,
		`level=INFO msg=transaction label=business attempts=1 pid=… outcome="rolled back" duration=… statements=1 round_trips=2 savepoints=0 error="business rule"`,
		`level=WARN msg=transaction label=duplicate attempts=1 pid=… outcome="rolled back" duration=… statements=2 round_trips=3 savepoints=0 sqlstate=23505 error="ERROR: duplicate key value violates unique constraint \"notes_body_key\" (SQLSTATE 23505)"`,
		`level=INFO msg=transaction label=panic attempts=1 outcome="rolled back" duration=… statements=0 round_trips=0 savepoints=0 error="txn: the function did not return"`,
		`level=ERROR msg=transaction label=unknown attempts=1 pid=… outcome=unknown duration=… statements=1 round_trips=2 savepoints=0`,
		`level=WARN msg=transaction label=savepoints attempts=1 pid=… warning="more than 64 savepoints in one transaction"`,
		`level=DEBUG msg=transaction label=savepoints attempts=1 pid=… outcome=committed duration=… statements=65 round_trips=66 savepoints=65`,
	}, records)
}

func asDuration(a slog.Attr) time.Duration {
	if a.Value.Kind() == slog.KindDuration {
		return a.Value.Duration()
	}
	return 0
}

func asPID(a slog.Attr) uint64 {
	if a.Value.Kind() == slog.KindUint64 {
		return a.Value.Uint64()
	}
	return 0
}

// BenchmarkObserver shows what an observer costs: without one nothing is allocated for it.
func BenchmarkObserver(b *testing.B) {
	for name, observers := range map[string][]txn.Observer{
		"none": nil,
		"one":  {observerFunc(func(context.Context, txn.Event) {})},
	} {
		b.Run(name, func(b *testing.B) {
			d, done := exampleDB()
			defer done()
			d = txn.New(d.Pool(), txn.Config{Observers: observers})
			b.ReportAllocs()
			for b.Loop() {
				err := txn.WithTx(b.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					_, err := tx.Exec(ctx, "select from users where id = $1", 1)
					return err
				})
				require.NoError(b, err)
			}
		})
	}
}
