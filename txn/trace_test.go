package txn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// Rule: tracers see every statement once, under its own SQL, whether it travels alone, in
// a flush, or in a batch of the caller's.

// A queryTracer has nothing but QueryTracer's two methods.
type queryTracer struct {
	mu   sync.Mutex
	open map[*string]bool // started and not ended
	told []string
	bad  []string
}

type traceKey struct{}

func (q *queryTracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == nil {
		q.open = map[*string]bool{}
	}
	if c == nil {
		q.bad = append(q.bad, "no connection: "+data.SQL)
	}
	sql := data.SQL
	q.open[&sql] = true
	return context.WithValue(ctx, traceKey{}, &sql)
}

func (q *queryTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sql, _ := ctx.Value(traceKey{}).(*string)
	if !q.open[sql] {
		q.bad = append(q.bad, fmt.Sprint("an end without a start: ", sql))
		return
	}
	delete(q.open, sql)
	q.told = append(q.told, *sql+failure(data.Err))
}

// take returns the statements told of since the last time, without those of the pool.
func (q *queryTracer) take(t *testing.T) []string {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	require.Empty(t, q.bad)
	for sql := range q.open {
		t.Errorf("not ended: %s", *sql)
	}
	told := slices.DeleteFunc(q.told, func(sql string) bool { return strings.HasPrefix(sql, "-- ping") })
	q.told = nil
	return told
}

// A batchTracer wants batches, too.
type batchTracer struct {
	queryTracer
	batches int
}

type batchKey struct{}

func (b *batchTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batches++
	return context.WithValue(ctx, batchKey{}, data.Batch)
}

func (b *batchTracer) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch, _ := ctx.Value(batchKey{}).(*pgx.Batch)
	if batch == nil || !slices.ContainsFunc(batch.QueuedQueries, func(q *pgx.QueuedQuery) bool { return q.SQL == data.SQL }) {
		b.bad = append(b.bad, "not in its batch: "+data.SQL)
	}
	b.told = append(b.told, data.SQL+failure(data.Err))
}

func (b *batchTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batches--
}

func (b *batchTracer) take(t *testing.T) []string {
	t.Helper()
	told := b.queryTracer.take(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Zero(t, b.batches, "started and not ended, or ended twice")
	return told
}

// traceLog is what pgx's own tracer logs.
type traceLog struct {
	tracelog.TraceLog
	mu   sync.Mutex
	told []string
}

func newTraceLog() *traceLog {
	l := &traceLog{}
	l.Logger, l.LogLevel = l, tracelog.LogLevelTrace
	return l
}

func (l *traceLog) Log(_ context.Context, _ tracelog.LogLevel, msg string, data map[string]any) {
	if msg != "Query" && msg != "BatchQuery" {
		return
	}
	err, _ := data["err"].(error)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, fmt.Sprint(data["sql"])+failure(err))
}

func (l *traceLog) take(*testing.T) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := slices.DeleteFunc(l.told, func(sql string) bool { return strings.HasPrefix(sql, "-- ping") })
	l.told = nil
	return told
}

type tracer interface {
	pgx.QueryTracer
	take(*testing.T) []string
}

// eachTracer runs the test for each kind of tracer and each way to send statements, on a
// pool of one connection, first cold, then with everything prepared.
func eachTracer(t *testing.T, f *fixture, cfg txn.Config, test func(t *testing.T, d *txn.DB, tr tracer, batches bool)) {
	for _, mode := range execModes {
		for name, tr := range map[string]tracer{"QueryTracer": &queryTracer{}, "BatchTracer": &batchTracer{}, "tracelog": newTraceLog()} {
			t.Run(strings.ReplaceAll(mode.String()+" "+name, " ", "_"), func(t *testing.T) {
				pc, err := pgxpool.ParseConfig(f.AppURL())
				require.NoError(t, err)
				pc.MaxConns = 1
				pc.ConnConfig.DefaultQueryExecMode = mode
				pc.ConnConfig.Tracer = tr
				txn.ConfigurePool(pc)
				d := openConfig(t, pc, cfg)
				tr.take(t)
				for range 2 {
					test(t, d, tr, name != "QueryTracer")
				}
			})
		}
	}
}

const beginSQL = "begin isolation level read committed read write"

func TestTracersSeeEveryStatementOnce(t *testing.T) {
	f := setup(t, txn.Config{})
	eachTracer(t, f, txn.Config{ResolveCommits: txn.ResolveNever}, func(t *testing.T, d *txn.DB, tr tracer, batches bool) {
		require.ErrorIs(t, txn.WithTx(t.Context(), d, txn.Options{LockTimeout: time.Second}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("insert into notes (body) values ($1)", "queued")
			require.Equal(t, 2, ask[int](t, ctx, tx, "select 1 + $1::int", 1))
			_, err := tx.Exec(ctx, "update accounts set version = version + 1 where id = $1", 1)
			require.NoError(t, err)
			rows, err := tx.Query(ctx, "select generate_series(1, 1000) + $1::int", 1)
			require.NoError(t, err)
			require.True(t, rows.Next())
			rows.Close()
			_, err = tx.Exec(ctx, "select 1")
			require.NoError(t, err)
			require.Error(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "23505") }))
			require.NoError(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				rows, err := tx.Query(ctx, "select generate_series(1, 1000)")
				require.NoError(t, err)
				require.True(t, rows.Next())
				rows.Close()
				return nil
			}))
			b := &pgx.Batch{}
			b.Queue("select 2")
			b.Queue("select 3 + $1::int", 1)
			require.NoError(t, tx.SendBatch(ctx, b).Close())
			b = &pgx.Batch{}
			b.Queue("select 4")
			b.Queue("select generate_series(5, 9)")
			b.Queue("select 6")
			results := tx.SendBatch(ctx, b)
			_, err = results.Query()
			require.NoError(t, err)
			rows, err = results.Query() // the rows before were not closed
			require.NoError(t, err)
			require.True(t, rows.Next())
			rows.Close()
			require.NoError(t, results.Close())
			// The caller's own text, not what pgx makes of it.
			_, err = tx.Exec(ctx, "select @n::int", pgx.NamedArgs{"n": 1})
			require.NoError(t, err)
			tx.Queue("select @n::int + 1", pgx.NamedArgs{"n": 1})
			require.NoError(t, tx.Flush(ctx))
			return errBusiness
		}), errBusiness)
		named := "select @n::int"
		if batches && isSimple(d) { // pgx tells of batches in what it made of the text
			named = "select $1::int"
		}
		require.Equal(t, []string{
			beginSQL, "set local lock_timeout = 1000", "insert into notes (body) values ($1)", "select 1 + $1::int",
			"update accounts set version = version + 1 where id = $1",
			"select generate_series(1, 1000) + $1::int",
			"select 1",
			"savepoint s1", "select fail($1) failed=23505", "rollback to savepoint s1; release savepoint s1",
			"savepoint s1", "select generate_series(1, 1000)",
			"release savepoint s1", "select 2", "select 3 + $1::int",
			"select 4", "select generate_series(5, 9)", "select 6",
			"select @n::int", named + " + 1",
			"rollback",
		}, tr.take(t))
	})
}

func isSimple(d *txn.DB) bool {
	return d.Pool().Config().ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol
}

func TestTracersSeeWhatTravelsWithCommit(t *testing.T) {
	f := setup(t, txn.Config{})
	eachTracer(t, f, txn.Config{}, func(t *testing.T, d *txn.DB, tr tracer, _ bool) {
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("update accounts set version = version + 1")
			return nil
		}))
		require.Equal(t, []string{beginSQL, "update accounts set version = version + 1", "commit"}, tr.take(t))
		// What the library asks beside a write is told, too.
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "update accounts set version = version + 1 where id = $1", 1)
			return err
		}))
		told := tr.take(t)
		require.Len(t, told, 4)
		require.Contains(t, told[2], "select pg_current_xact_id_if_assigned()")
		require.Equal(t, []string{beginSQL, "update accounts set version = version + 1 where id = $1", told[2], "commit"}, told)
	})
}

// Of a flush that fails in the middle, the statement that failed has its error. Those behind
// it were not executed: a tracer that was told of their start is told of that end.
func TestTracersOfAFailingFlush(t *testing.T) {
	f := setup(t, txn.Config{})
	eachTracer(t, f, txn.Config{}, func(t *testing.T, d *txn.DB, tr tracer, batches bool) {
		require.Error(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("select 1")
			tx.Queue("select fail($1)", "23505")
			tx.Queue("select 2")
			_, err := tx.Exec(ctx, "select 3 + $1::int", 1)
			return err
		}))
		told := tr.take(t)
		failing := []string{beginSQL, "select 1", "select fail($1) failed=23505"}
		if !batches {
			require.Contains(t, told[5], "select pg_current_xact_id_if_assigned()")
			failing = append(failing, "select 2 failed=23505", "select 3 + $1::int failed=23505", told[5])
		}
		require.Equal(t, append(failing, "rollback"), told)

		require.Error(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("select fail($1)", "23505")
			return nil
		}))
		failing = []string{beginSQL, "select fail($1) failed=23505"}
		if !batches {
			failing = append(failing, "commit failed=23505")
		}
		require.Equal(t, append(failing, "rollback"), tr.take(t))

		// An error in the middle of the rows, and rows closed before that.
		for read, want := range map[int]string{3: "select 1 / (3 - n) from generate_series(1, 10) n failed=22012", 1: ""} {
			_ = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				rows, err := tx.Query(ctx, "select 1 / (3 - n) from generate_series(1, 10) n")
				if err != nil {
					return err
				}
				for range read {
					rows.Next()
				}
				rows.Close()
				return rows.Err()
			})
			told := slices.DeleteFunc(tr.take(t), func(sql string) bool { return !strings.HasPrefix(sql, "select 1 /") })
			require.Len(t, told, 1)
			if want != "" {
				require.Equal(t, want, told[0])
			}
		}
	})
}

// A flush that could not be sent is told of as the statement because of which: what it was
// to take along is told of when it is sent.
func TestTracersOfAFlushThatWasNotSent(t *testing.T) {
	f := setup(t, txn.Config{})
	eachTracer(t, f, txn.Config{ResolveCommits: txn.ResolveNever}, func(t *testing.T, d *txn.DB, tr tracer, batches bool) {
		if batches && isSimple(d) {
			return // pgx tells of it in its own way
		}
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("select 1")
			_, err := tx.Exec(ctx, "select 2 + $1::int", make(chan int))
			require.Error(t, err)
			require.Empty(t, txn.SQLState(err))
			return touch(ctx, tx)
		}))
		told := tr.take(t)
		require.Equal(t, []string{"select 2 + $1::int failed", beginSQL, "select 1", "select 1", "commit"}, told)

		require.Error(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			var n int
			return tx.QueryRow(ctx, "select no_such_column").Scan(&n)
		}))
		told = tr.take(t)
		bad := "select no_such_column failed=42703"
		require.Equal(t, 1, len(slices.DeleteFunc(slices.Clone(told), func(sql string) bool { return sql != bad })), "%s", told)
		if told[0] != bad { // not described before: the flush was sent
			require.Equal(t, []string{beginSQL, bad, "rollback"}, told)
		} else {
			require.Equal(t, []string{bad}, told)
		}
	})
}

func TestTracersOfAutocommit(t *testing.T) {
	f := setup(t, txn.Config{})
	settings := txn.Config{Options: txn.Options{Settings: map[string]string{"app.tenant": "a"}}}
	for _, cfg := range []txn.Config{{}, settings} {
		eachTracer(t, f, cfg, func(t *testing.T, d *txn.DB, tr tracer, batches bool) {
			around := func(access string, end string, statements ...string) []string {
				if len(cfg.Options.Settings) == 0 {
					return statements
				}
				all := append([]string{"begin " + access, `set local "app"."tenant" = E'a'`}, statements...)
				if end != "" {
					all = append(all, end)
				}
				return all
			}
			q := sqlcbind.Autocommit(d)
			_, err := q.Exec(t.Context(), "update accounts set version = version + $1", 1)
			require.NoError(t, err)
			require.Equal(t, around("read write", "commit", "update accounts set version = version + $1"), tr.take(t))

			require.NoError(t, sqlcbind.AutocommitRead(d).QueryRow(t.Context(), "select $1::int", 1).Scan(new(int)))
			require.Equal(t, around("read only", "commit", "select $1::int"), tr.take(t))

			rows, err := q.Query(t.Context(), "select generate_series(1, 1000)")
			require.NoError(t, err)
			require.True(t, rows.Next())
			rows.Close()
			require.Equal(t, around("read write", "commit", "select generate_series(1, 1000)"), tr.take(t))

			_, err = q.Exec(t.Context(), "select fail($1)", "23505")
			require.Equal(t, "23505", txn.SQLState(err))
			want := around("read write", "commit failed=23505", "select fail($1) failed=23505")
			if len(cfg.Options.Settings) > 0 {
				if batches {
					want = want[:3]
				}
				want = append(want, "rollback")
			}
			require.Equal(t, want, tr.take(t))
		})
	}
}

// A connection that is lost while a statement is prepared for the first time is that
// statement's error, not that of what it was to take along.
func TestTracersOfAConnectionLostInPreparation(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, tr := range []tracer{&queryTracer{}, &batchTracer{}} {
		p := txntest.NewProxy(t, f.AppURL())
		pc := poolConfig(t, p.URL())
		pc.ConnConfig.Tracer = tr
		d := openConfig(t, pc, txn.Config{ResolveCommits: txn.ResolveNever})
		tr.take(t)
		cut := p.Arm(faultproxy.Fault{Type: 'P', SQL: "^update accounts", Do: faultproxy.Cut{}})
		const sql = "update accounts set version = version + $1"
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, sql, 1)
			return err
		}))
		require.Equal(t, []string{sql + " failed", beginSQL, sql, "commit"}, tr.take(t), "sent again on another connection")
		require.NoError(t, cut.WaitSession(t.Context()))
	}
}

// A connection that is lost on the way ends what was begun, with the reason.
func TestTracersOfALostConnection(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, tr := range []tracer{&queryTracer{}, &batchTracer{}} {
		for _, text := range []string{"begin isolation", "update accounts", "commit"} {
			p := txntest.NewProxy(t, f.AppURL())
			pc := poolConfig(t, p.URL())
			pc.ConnConfig.Tracer = tr
			d := openConfig(t, pc, txn.Config{ResolveCommits: txn.ResolveNever})
			tr.take(t)
			var cut *faultproxy.Armed
			err := txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
				if text != "begin isolation" {
					require.NoError(t, touch(ctx, tx))
				}
				if cut == nil {
					cut = p.Arm(cutAt("^"+text, true))
				}
				tx.Queue("select 2")
				if _, err := tx.Exec(ctx, "update accounts set version = version + $1", 1); err != nil {
					return err
				}
				tx.Queue("select 3")
				return nil
			})
			require.NoError(t, cut.WaitSession(t.Context()))
			told := strings.Join(tr.take(t), "\n")
			if text == "begin isolation" { // sent again on another connection
				require.NoError(t, err)
				continue
			}
			require.Error(t, err)
			_, unknown := errors.AsType[*txn.CommitUnknownError](err)
			require.Equal(t, text == "commit", unknown)
			require.Contains(t, told, " failed")
		}
	}
}
