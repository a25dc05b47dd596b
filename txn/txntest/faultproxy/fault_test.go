package faultproxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// unprepared sends each statement whole, so that each run consists of the same messages.
func unprepared(cfg *pgx.ConnConfig) { cfg.DefaultQueryExecMode = pgx.QueryExecModeExec }

// savingCancel is the handler by which a cancelled context costs a statement, not the connection.
func savingCancel(cfg *pgx.ConnConfig) {
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 30 * time.Second}
	}
}

// transfer moves one from account 1 to 2 as one would with pgx alone.
func transfer(ctx context.Context, c *pgx.Conn) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		var balance int
		if err := tx.QueryRow(ctx, "select balance from accounts where id = $1 for no key update", 1).Scan(&balance); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update accounts set balance = balance - $1 where id = $2", 1, 1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "update accounts set balance = balance + $1 where id = $2", 1, 2)
		return err
	})
}

// waitGone returns when the server has no session with the process id.
func waitGone(t *testing.T, admin *pgxpool.Pool, pid uint32) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var there bool
		require.NoError(t, admin.QueryRow(t.Context(),
			"select exists (select from pg_stat_activity where pid = $1) from pg_sleep(0.002)", pid).Scan(&there))
		if !there {
			return
		}
	}
	require.Fail(t, "session did not end", txntest.Sessions(t.Context(), admin))
}

// A connection is cut before and after each message of a transfer, from either side. At any
// point either all of it happened or nothing, and nil means all.
func TestCutEverywhere(t *testing.T) {
	p := newProxied(t, unprepared)
	admin := p.Admin(t)
	p.proxy.Reset()
	require.NoError(t, transfer(t.Context(), p.conn))
	whole := p.proxy.Stats()
	require.Equal(t, 5, whole.RoundTrips)

	// pgx sends a cancel request when it finds its connection broken. It could be in time to
	// cancel a COMMIT that the server has got.
	p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Every: true, Do: faultproxy.Cut{}})
	balance := 99
	for from, messages := range map[faultproxy.Source]int{faultproxy.Client: whole.ClientMessages, faultproxy.Server: whole.ServerMessages} {
		for _, do := range []faultproxy.Cut{{}, {After: true}, {Reset: true}, {After: true, Reset: true}} {
			misreported := 0
			n := 1
			for ; ; n++ {
				c := p.connect(t, unprepared)
				cut := p.proxy.Arm(faultproxy.Fault{From: from, Nth: n, Do: do})
				failed := transfer(t.Context(), c)
				if cut.Fired() == 0 {
					require.NoError(t, failed)
					balance--
					cut.Disarm()
					require.NoError(t, c.Close(t.Context()))
					break
				}
				require.Equal(t, 1, cut.Fired())
				if do.Reset {
					require.NoError(t, cut.Wait(t.Context()))
					waitGone(t, admin, c.PgConn().PID())
					require.ErrorContains(t, cut.WaitSession(t.Context()), "the proxy left the session first")
				} else {
					require.NoError(t, cut.WaitSession(t.Context()))
				}
				var now int
				require.NoError(t, admin.QueryRow(t.Context(), "select balance from accounts where id = 1").Scan(&now))
				switch {
				case now == balance:
					require.Error(t, failed, "%s: nothing happened", cut)
				case now != balance-1:
					require.Fail(t, "half a transfer", "%s: %d, then %d", cut, balance, now)
				case failed != nil:
					misreported++
				}
				balance = now
				<-closed(c)
			}
			require.Equal(t, messages+1, n, "each message was a point: %v", do)
			// That the transfer was committed pgx cannot know from the time when the server gets
			// COMMIT to the time when it has read the answer's ReadyForQuery.
			want := map[faultproxy.Source]map[bool]int{
				faultproxy.Client: {false: 0, true: 1},
				faultproxy.Server: {false: 2, true: 1},
			}[from][do.After]
			require.Equal(t, want, misreported, "%v %+v", from, do)
		}
	}
}

func closed(c *pgx.Conn) <-chan struct{} {
	_ = c.Close(context.Background())
	return c.PgConn().CleanupDone()
}

// Three places around a COMMIT, however it travels.
func TestCutAroundCommit(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(context.Context, *pgx.Conn) error{
		"simple": func(ctx context.Context, c *pgx.Conn) error {
			for _, sql := range []string{"begin", "update accounts set balance = balance - 1 where id = 1", "update accounts set balance = balance + 1 where id = 2"} {
				if _, err := c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
					return fmt.Errorf("too early: %w", err)
				}
			}
			_, err := c.Exec(ctx, "COMMIT", pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"batch": func(ctx context.Context, c *pgx.Conn) error {
			return c.SendBatch(ctx, batchOf("begin", "update accounts set balance = balance - 1 where id = 1",
				"update accounts set balance = balance + 1 where id = 2", "commit")).Close()
		},
	} {
		for place, f := range map[string]struct {
			fault     faultproxy.Fault
			committed bool
		}{
			"before": {faultproxy.Fault{SQL: "^commit$", Do: faultproxy.Cut{}}, false},
			"after":  {faultproxy.Fault{SQL: "^commit$", Do: faultproxy.Cut{After: true}}, true},
			"answer": {faultproxy.Fault{SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}}, true},
		} {
			t.Run(name+" "+place, func(t *testing.T) {
				p := newProxied(t)
				p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Every: true, Do: faultproxy.Cut{}})
				cut := p.proxy.Arm(f.fault)
				err := send(t.Context(), p.conn)
				require.Error(t, err)
				require.NotContains(t, err.Error(), "too early")
				require.Empty(t, sqlState(err))
				require.NoError(t, cut.WaitSession(t.Context()))
				if f.committed {
					require.Equal(t, 99, p.balance(t, 1))
				} else {
					require.Equal(t, 100, p.balance(t, 1))
				}
			})
		}
	}
}

// The answers to what came before the COMMIT of a batch have been passed on.
func TestAnswersBeforeTheCut(t *testing.T) {
	p := newProxied(t, unprepared)
	p.proxy.SetDelay(time.Millisecond)
	cut := p.proxy.Arm(faultproxy.Fault{SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}})
	results := p.conn.SendBatch(t.Context(), batchOf("begin", "update accounts set balance = 150 where id = 1",
		"update accounts set balance = 50 where id = 2", "commit"))
	for range 3 {
		_, err := results.Exec()
		require.NoError(t, err)
	}
	_, err := results.Exec()
	require.Error(t, err)
	require.Error(t, results.Close())
	require.NoError(t, cut.WaitSession(t.Context()))
	require.Equal(t, 150, p.balance(t, 1))
	<-closed(p.conn)
}

func TestHowACutLooks(t *testing.T) {
	p := newProxied(t)
	for _, do := range []faultproxy.Cut{{}, {After: true}, {Reset: true}, {After: true, Reset: true}} {
		c := rawConn(t, p.proxy.URL())
		cut := p.proxy.Arm(faultproxy.Fault{Type: 'Q', Do: do})
		c.send(t, &pgproto3.Query{String: "select 1"})
		_, err := c.Receive()
		if do.Reset {
			require.ErrorIs(t, err, syscall.ECONNRESET)
		} else {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
		require.NoError(t, cut.Wait(t.Context()))
	}
}

func TestCutAll(t *testing.T) {
	p := newProxied(t)
	other := p.connect(t)
	cut := p.proxy.Arm(faultproxy.Fault{PID: p.conn.PgConn().PID(), Do: faultproxy.Cut{All: true}})
	simple(t, other, "select 1")
	require.Error(t, p.conn.Ping(t.Context()))
	require.NoError(t, cut.Wait(t.Context()))
	require.Error(t, other.Ping(t.Context()))
	simple(t, p.connect(t), "select 1")
}

// The network is away when COMMIT is sent, and comes back when the client has long given up:
// the COMMIT arrives.
func TestBlackHole(t *testing.T) {
	p := newProxied(t)
	admin := p.Admin(t)
	simple(t, p.conn, "begin", "update accounts set balance = balance - 1 where id = 1", "update accounts set balance = balance + 1 where id = 2")
	hole := p.proxy.Arm(faultproxy.Fault{SQL: "commit", Do: faultproxy.BlackHole{}})
	p.proxy.Refuse(true) // cancel requests get nowhere either
	ctx, cancel := context.WithCancel(t.Context())
	committed := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(ctx, "commit", pgx.QueryExecModeSimpleProtocol)
		committed <- err
	}()
	require.NoError(t, hole.Wait(t.Context()))
	cancel()
	require.ErrorIs(t, <-committed, context.Canceled)
	state := func() (state string) {
		require.NoError(t, admin.QueryRow(t.Context(), "select coalesce(max(state), 'gone') from pg_stat_activity where pid = $1", p.conn.PgConn().PID()).Scan(&state))
		return state
	}
	require.Equal(t, "idle in transaction", state(), "the server knows of nothing")
	require.Equal(t, 100, p.balance(t, 1))
	hole.Release()
	require.NoError(t, hole.WaitSession(t.Context()))
	require.Equal(t, 99, p.balance(t, 1))
}

// After the message: the server has done it, and neither side hears of the other again.
func TestBlackHoleAfter(t *testing.T) {
	p := newProxied(t)
	hole := p.proxy.Arm(faultproxy.Fault{SQL: "^update", Do: faultproxy.BlackHole{After: true}})
	updated := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(t.Context(), "update accounts set balance = 100", pgx.QueryExecModeSimpleProtocol)
		updated <- err
	}()
	require.NoError(t, hole.Wait(t.Context()))
	admin := p.Admin(t)
	waitActivity(t, admin, p.conn.PgConn().PID(), "state = 'idle' and query like 'update%'")
	var ended bool
	require.NoError(t, admin.QueryRow(t.Context(), "select pg_terminate_backend($1, 10000)", p.conn.PgConn().PID()).Scan(&ended))
	require.True(t, ended)
	require.NoError(t, hole.WaitSession(t.Context()), "the proxy knows")
	select {
	case err := <-updated:
		require.Fail(t, "the client does not", "%v", err)
	default:
	}
	hole.Release()
	require.NoError(t, <-updated, "its answer came first")
	require.Equal(t, "57P01", sqlState(p.conn.Ping(t.Context())))
}

// All connections, also those to come, and cancel requests.
func TestBlackHoleForAll(t *testing.T) {
	p := newProxied(t)
	other := p.connect(t)
	hole := p.proxy.Arm(faultproxy.Fault{SQL: "select 1", Do: faultproxy.BlackHole{All: true}})
	asked := make(chan error, 4)
	ask := func(c *pgx.Conn, sql string) {
		_, err := c.Exec(context.WithoutCancel(t.Context()), sql, pgx.QueryExecModeSimpleProtocol)
		asked <- err
	}
	go ask(p.conn, "select 1")
	require.NoError(t, hole.Wait(t.Context()))
	before := p.proxy.Stats()
	go ask(other, "select 2")
	go func() { asked <- p.conn.PgConn().CancelRequest(context.WithoutCancel(t.Context())) }()
	connecting, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := pgx.Connect(connecting, p.proxy.URL())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	go func() {
		c, err := pgx.Connect(context.WithoutCancel(t.Context()), p.proxy.URL())
		if err == nil {
			err = c.Close(context.WithoutCancel(t.Context()))
		}
		asked <- err
	}()
	require.Empty(t, asked)
	require.Equal(t, before.Connections, p.proxy.Stats().Connections)
	require.Zero(t, p.proxy.Stats().Cancels)
	hole.Release()
	for range 4 {
		if err := <-asked; err != nil {
			require.Equal(t, "57014", sqlState(err), "%v", err) // the cancel request was in time
		}
	}
	require.Equal(t, 1, p.proxy.Stats().Cancels)
	simple(t, p.connect(t), "select 3")
}

// The answer is late: the deadline passes although the server has done what it was told to.
func TestHoldTheAnswer(t *testing.T) {
	p := newProxied(t)
	p.proxy.Refuse(true) // of cancel requests
	held := p.proxy.Arm(faultproxy.Fault{SQL: "^update", Answer: true, Do: faultproxy.Hold{}})
	ctx, cancel := context.WithCancel(t.Context())
	updated := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(ctx, "update accounts set balance = 100 returning balance", pgx.QueryExecModeSimpleProtocol)
		updated <- err
	}()
	require.NoError(t, held.Wait(t.Context()))
	require.Equal(t, 1, held.Fired())
	simple(t, p.admin(t), "select id from accounts for update nowait") // it has committed
	cancel()
	require.ErrorIs(t, <-updated, context.Canceled)
	held.Release()
	<-closed(p.conn)
}

func (p *proxied) admin(t *testing.T) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), p.AdminURL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// What is held goes on as if nothing had been.
func TestRelease(t *testing.T) {
	p := newProxied(t)
	for _, f := range []faultproxy.Fault{
		{Do: faultproxy.Hold{}},
		{Answer: true, Do: faultproxy.Hold{}},
		{Type: 'S', Do: faultproxy.Hold{}},
		{From: faultproxy.Server, Type: 'Z', Do: faultproxy.Hold{}},
		{SQL: "select", Do: faultproxy.BlackHole{}},
		{SQL: "select", Do: faultproxy.BlackHole{After: true}},
		{From: faultproxy.Server, Type: 'D', Do: faultproxy.BlackHole{After: true}},
	} {
		held := p.proxy.Arm(f)
		done := make(chan error, 1)
		var n int
		go func() {
			done <- p.conn.QueryRow(t.Context(), "select $1::int", pgx.QueryExecModeExec, 7).Scan(&n)
		}()
		require.NoError(t, held.Wait(t.Context()))
		require.Empty(t, done)
		held.Release()
		held.Release()
		require.NoError(t, <-done)
		require.Equal(t, 7, n)
	}
	// A fault that is released before it happens does not.
	held := p.proxy.Arm(faultproxy.Fault{Do: faultproxy.Hold{}})
	held.Release()
	simple(t, p.conn, "select 1")
	require.Zero(t, held.Fired())
}

// A proxy does not gather what a client is not to get: the server has to wait.
func TestHoldIsBounded(t *testing.T) {
	p := newProxied(t)
	held := p.proxy.Arm(faultproxy.Fault{Answer: true, Do: faultproxy.Hold{}})
	got := make(chan int, 1)
	go func() {
		total := 0
		rows, err := p.conn.Query(t.Context(), "select repeat('x', 1000000) from generate_series(1, 100)", pgx.QueryExecModeSimpleProtocol)
		for err == nil && rows.Next() {
			total += len(rows.RawValues()[0])
		}
		got <- total
	}()
	require.NoError(t, held.Wait(t.Context()))
	waitActivity(t, p.Admin(t), p.conn.PgConn().PID(), "wait_event = 'ClientWrite'")
	require.Empty(t, got)
	held.Release()
	require.Equal(t, 100_000_000, <-got)
}

// A cancel request is late: it hits while the client still waits.
func TestHoldACancelRequest(t *testing.T) {
	p := newProxied(t, savingCancel)
	cancels := p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Every: true, Do: faultproxy.Hold{}})
	ctx, cancel := context.WithCancel(t.Context())
	slept := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(ctx, "select pg_sleep(60)", pgx.QueryExecModeSimpleProtocol)
		slept <- err
	}()
	admin := p.Admin(t)
	waitActivity(t, admin, p.conn.PgConn().PID(), asleep)
	cancel()
	require.NoError(t, cancels.Wait(t.Context()))
	waitActivity(t, admin, p.conn.PgConn().PID(), asleep)
	require.Empty(t, slept)
	require.Equal(t, 1, p.proxy.Stats().Cancels)
	require.ErrorContains(t, cancels.WaitSession(t.Context()), "a cancel request has no session")
	require.Zero(t, cancels.PID())
	cancels.Release()
	require.Equal(t, "57014", sqlState(<-slept))
	simple(t, p.conn, "select 1")
	require.Equal(t, 1, cancels.Fired())
}

// A cancel request is too late: it hits the statement after the one that it was meant for.
func TestHoldACancelRequestForTheNext(t *testing.T) {
	p := newProxied(t, savingCancel)
	admin := p.Admin(t)
	cancels := p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, PID: p.conn.PgConn().PID(), Do: faultproxy.Hold{}})
	holder, err := admin.Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "select from accounts where id = 1 for update")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	updated := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(ctx, "update accounts set balance = balance where id = 1", pgx.QueryExecModeSimpleProtocol)
		updated <- err
	}()
	txntest.WaitBlocked(t, admin, int(p.conn.PgConn().PID()))
	cancel()
	require.NoError(t, cancels.Wait(t.Context()))
	require.NoError(t, holder.Commit(t.Context()))
	if err := <-updated; err != nil { // pgx may say that the context ended, although the statement was done
		require.ErrorIs(t, err, context.Canceled)
	}
	slept := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(t.Context(), "select pg_sleep(60)", pgx.QueryExecModeSimpleProtocol)
		slept <- err
	}()
	waitActivity(t, admin, p.conn.PgConn().PID(), asleep)
	cancels.Release()
	require.Equal(t, "57014", sqlState(<-slept))
}

// A cancel request is lost on its way, or its connection is before it is answered.
func TestCutACancelRequest(t *testing.T) {
	p := newProxied(t)
	admin := p.Admin(t)
	slept := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(t.Context(), "select pg_sleep(60)", pgx.QueryExecModeSimpleProtocol)
		slept <- err
	}()
	waitActivity(t, admin, p.conn.PgConn().PID(), asleep)
	for _, do := range []faultproxy.Cut{{}, {Reset: true}} {
		cut := p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Do: do})
		require.NoError(t, p.conn.PgConn().CancelRequest(t.Context()), "pgx takes no notice")
		require.NoError(t, cut.Wait(t.Context()))
		waitActivity(t, admin, p.conn.PgConn().PID(), asleep)
	}
	require.Empty(t, slept)
	p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Do: faultproxy.Cut{After: true}})
	require.NoError(t, p.conn.PgConn().CancelRequest(t.Context()))
	require.Equal(t, "57014", sqlState(<-slept))
}

// The server fails at a statement, whichever way it travels, and both sides agree about what
// follows.
func TestFailAtAStatement(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]pgx.QueryExecMode{
		"simple": pgx.QueryExecModeSimpleProtocol, "exec": pgx.QueryExecModeExec,
		"describe": pgx.QueryExecModeDescribeExec, "cached": pgx.QueryExecModeCacheStatement,
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxied(t, func(cfg *pgx.ConnConfig) { cfg.DefaultQueryExecMode = mode })
			update := func(q interface {
				Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
			}) error {
				_, err := q.Exec(t.Context(), "/* it */ UPDATE accounts set balance = $1 where id = $2", 0, 1)
				return err
			}
			for _, nth := range []int{1, 2, 3} {
				fails := p.proxy.Arm(faultproxy.Fault{SQL: `\bupdate\b`, Nth: nth, Do: faultproxy.Fail{SQLState: "40001"}})
				tx, err := p.conn.Begin(t.Context())
				require.NoError(t, err)
				for range nth - 1 {
					require.NoError(t, update(tx))
				}
				require.Zero(t, fails.Fired())
				err = update(tx)
				require.Equal(t, "40001", sqlState(err), "%v", err)
				require.NoError(t, fails.Wait(t.Context()))
				require.Equal(t, 1, fails.Fired())
				require.Equal(t, byte('E'), p.conn.PgConn().TxStatus())
				require.Equal(t, "25P02", sqlState(update(tx)), "the server too knows that the transaction has failed")
				require.NoError(t, tx.Rollback(t.Context()))
				require.Equal(t, 100, p.balance(t, 1))
			}
			// Outside of a transaction, and with a constraint's name.
			fails := p.proxy.Arm(faultproxy.Fault{SQL: "update", Do: faultproxy.Fail{SQLState: "23505", Constraint: "o'clock_\\1$"}})
			err := update(p.conn)
			require.Equal(t, "23505", sqlState(err), "%v", err)
			pgErr, _ := errors.AsType[*pgconn.PgError](err)
			require.Equal(t, "o'clock_\\1$", pgErr.ConstraintName)
			require.Equal(t, "ERROR", pgErr.Severity)
			require.Equal(t, byte('I'), p.conn.PgConn().TxStatus())
			require.NoError(t, fails.Wait(t.Context()))

			p.proxy.Reset()
			simple(t, p.conn, "select 1")
			require.NoError(t, transfer(t.Context(), p.conn), "nothing is out of step")
		})
	}
}

// A COMMIT that fails has rolled back, and the transaction has ended.
func TestFailAtTheEnd(t *testing.T) {
	p := newProxied(t)
	for _, sql := range []string{
		"commit", "COMMIT WORK", "end", "end transaction", "commit and chain", "rollback", "abort work", "rollback and no chain",
		"prepare transaction 'x'", "-- the end\n\t/* /* of */ it */ commit",
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
			fails := p.proxy.Arm(faultproxy.Fault{SQL: "(commit|end|rollback|abort|prepare)", Do: faultproxy.Fail{SQLState: "40001"}})
			simple(t, p.conn, "begin", "delete from accounts", "savepoint x")
			_, err := p.conn.Exec(t.Context(), sql, mode)
			require.Equal(t, "40001", sqlState(err), "%s: %v", sql, err)
			require.Equal(t, 1, fails.Fired())
			require.Equal(t, byte('I'), p.conn.PgConn().TxStatus(), sql)
			require.Equal(t, 100, p.balance(t, 1))
			simple(t, p.conn, "select 1")
		}
	}
	// These do not end it.
	for _, sql := range []string{"rollback to x", "rollback to savepoint x", "release x", "savepoint y", "rollback work to x"} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
			simple(t, p.conn, "begin", "savepoint x")
			p.proxy.Arm(faultproxy.Fault{SQL: "^r|^s", Do: faultproxy.Fail{SQLState: "XX000"}})
			_, err := p.conn.Exec(t.Context(), sql, mode)
			require.Equal(t, "XX000", sqlState(err), "%s: %v", sql, err)
			require.Equal(t, byte('E'), p.conn.PgConn().TxStatus(), sql)
			simple(t, p.conn, "rollback")
		}
	}
	// Of a transaction that was prepared nothing is known to the session.
	p.proxy.Arm(faultproxy.Fault{SQL: "^commit", Do: faultproxy.Fail{SQLState: "57014"}})
	_, err := p.conn.Exec(t.Context(), "commit prepared 'none'", pgx.QueryExecModeSimpleProtocol)
	require.Equal(t, "57014", sqlState(err))
	// A transaction that has failed already can be made to fail at its end.
	_, err = p.conn.Exec(t.Context(), "begin; select 1/0", pgx.QueryExecModeSimpleProtocol)
	require.Equal(t, "22012", sqlState(err))
	p.proxy.Arm(faultproxy.Fault{SQL: "^rollback", Do: faultproxy.Fail{SQLState: "53200"}})
	_, err = p.conn.Exec(t.Context(), "rollback", pgx.QueryExecModeSimpleProtocol)
	require.Equal(t, "53200", sqlState(err))
	require.Equal(t, byte('I'), p.conn.PgConn().TxStatus())
}

// In a pipeline what came before has its answer, and what follows is skipped.
func TestFailInAPipeline(t *testing.T) {
	p := newProxied(t, unprepared)
	statements := []string{"begin", "update accounts set balance = balance - 1 where id = 1", "update accounts set balance = balance + 1 where id = 2", "commit"}
	require.NoError(t, p.conn.SendBatch(t.Context(), batchOf(statements...)).Close())
	for i, sql := range statements {
		p.proxy.Reset()
		fails := p.proxy.Arm(faultproxy.Fault{SQL: "^" + regexp.QuoteMeta(sql) + "$", Do: faultproxy.Fail{SQLState: "40P01"}})
		results := p.conn.SendBatch(t.Context(), batchOf(statements...))
		for range i {
			_, err := results.Exec()
			require.NoError(t, err, sql)
		}
		_, err := results.Exec()
		require.Equal(t, "40P01", sqlState(err), "%s: %v", sql, err)
		require.Equal(t, "40P01", sqlState(results.Close()))
		require.Equal(t, 1, fails.Fired())
		require.Equal(t, 1, p.proxy.RoundTrips())
		if sql == "begin" || sql == "commit" {
			require.Equal(t, byte('I'), p.conn.PgConn().TxStatus(), sql)
		} else {
			require.Equal(t, byte('E'), p.conn.PgConn().TxStatus(), sql)
			simple(t, p.conn, "rollback")
		}
		require.Equal(t, 99, p.balance(t, 1), sql)
		require.NoError(t, p.conn.Ping(t.Context()))
	}
	require.NoError(t, p.conn.SendBatch(t.Context(), batchOf(statements...)).Close())
	require.Equal(t, 98, p.balance(t, 1))

	// Without a transaction block, a pipeline is a transaction.
	for _, at := range []faultproxy.Fault{{SQL: "^update.*2$"}, {Type: 'S'}} {
		at.Do = faultproxy.Fail{SQLState: "40001"}
		p.proxy.Arm(at)
		require.Equal(t, "40001", sqlState(p.conn.SendBatch(t.Context(), batchOf(statements[1:3]...)).Close()))
		require.Equal(t, byte('I'), p.conn.PgConn().TxStatus())
		require.Equal(t, 98, p.balance(t, 1))
	}
}

// What is skipped has no answer: the fault waits for the next.
func TestAnswerThatDoesNotCome(t *testing.T) {
	p := newProxied(t)
	cut := p.proxy.Arm(faultproxy.Fault{SQL: "^commit$", Nth: 2, Answer: true, Do: faultproxy.Cut{}})
	simple(t, p.conn, "begin", "commit")
	for range 2 {
		err := p.conn.SendBatch(t.Context(), batchOf("begin", "select 1/0", "commit")).Close()
		require.Equal(t, "22012", sqlState(err))
		simple(t, p.conn, "rollback")
		require.Zero(t, cut.Fired())
	}
	// Nor is there one from a connection that ended first.
	other := p.connect(t)
	reset := p.proxy.Arm(faultproxy.Fault{PID: other.PgConn().PID(), SQL: "^commit$", Do: faultproxy.Cut{}})
	_, err := other.Exec(t.Context(), "commit", pgx.QueryExecModeSimpleProtocol)
	require.Error(t, err)
	require.NoError(t, reset.WaitSession(t.Context()))
	<-closed(other)
	require.Zero(t, cut.Fired())

	require.Error(t, p.conn.SendBatch(t.Context(), batchOf("begin", "commit")).Close())
	require.Equal(t, 1, cut.Fired())
	<-closed(p.conn)

	// Data of a COPY has none, nor has what the server ignores while it waits for such.
	c := rawConn(t, p.proxy.URL())
	cut = p.proxy.Arm(faultproxy.Fault{Nth: 5, Answer: true, Do: faultproxy.Cut{}})
	c.send(t, &pgproto3.Parse{Query: "copy entries from stdin"}, &pgproto3.Bind{}, &pgproto3.Execute{})
	c.send(t, &pgproto3.Flush{})
	c.until(t, &pgproto3.CopyInResponse{})
	c.send(t, &pgproto3.CopyData{Data: []byte("1\t\n")}, &pgproto3.Sync{}, &pgproto3.Sync{}, &pgproto3.CopyDone{}, &pgproto3.Sync{})
	_, err = c.Receive()
	require.NoError(t, err, "CommandComplete")
	_, err = c.Receive()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the third Sync's is the first to come, from the fifth on")
	require.Equal(t, 1, cut.Fired())
}

// Fail at each type of message that it can replace.
func TestFailAtAnyMessage(t *testing.T) {
	p := newProxied(t)
	for _, typ := range []byte("QFPBDECS") {
		c := rawConn(t, p.proxy.URL())
		fails := p.proxy.Arm(faultproxy.Fault{Type: typ, Do: faultproxy.Fail{SQLState: "58030"}})
		var answers string
		receive := func() {
			for {
				m, err := c.Receive()
				require.NoError(t, err)
				switch m := m.(type) {
				case *pgproto3.ErrorResponse:
					require.Equal(t, "58030", m.Code)
					answers += "E"
				case *pgproto3.ReadyForQuery:
					answers += string(m.TxStatus)
					return
				default:
					answers += "."
				}
			}
		}
		switch typ {
		case 'Q':
			c.send(t, &pgproto3.Query{String: "select 1"})
		case 'F':
			c.send(t, &pgproto3.FunctionCall{Function: 0, ResultFormatCode: 1})
		default:
			c.send(t, &pgproto3.Parse{Name: "a", Query: "select 1"}, &pgproto3.Bind{DestinationPortal: "b", PreparedStatement: "a"},
				&pgproto3.Describe{ObjectType: 'P', Name: "b"}, &pgproto3.Execute{Portal: "b"}, &pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Sync{})
		}
		receive()
		require.Equal(t, 1, fails.Fired())
		want := map[byte]string{'Q': "EI", 'F': "EI", 'P': "EI", 'B': ".EI", 'D': "..EI", 'E': "...EI", 'C': ".....EI", 'S': "......EI"}[typ]
		require.Equal(t, want, answers, "%c", typ)
		answers = ""
		c.send(t, &pgproto3.Query{String: "select 1"})
		receive()
		require.Equal(t, "...I", answers)
	}
}

// The server ends the session, and the client is told when it has.
func TestFailFatally(t *testing.T) {
	p := newProxied(t)
	admin := p.Admin(t)
	for name, run := range map[string]func(*pgx.Conn) error{
		"statement": func(c *pgx.Conn) error { return transfer(t.Context(), c) },
		"pipeline": func(c *pgx.Conn) error {
			results := c.SendBatch(t.Context(), batchOf("update accounts set balance = 150 where id = 1", "update accounts set balance = 50 where id = 2"))
			_, err := results.Exec()
			require.NoError(t, err, "the first has its answer")
			return results.Close()
		},
	} {
		c := p.connect(t, unprepared)
		fails := p.proxy.Arm(faultproxy.Fault{SQL: "^update", Nth: 2, Do: faultproxy.Fail{SQLState: "57P01", Fatal: true}})
		err := run(c)
		require.Equal(t, "57P01", sqlState(err), "%s: %v", name, err)
		pgErr, _ := errors.AsType[*pgconn.PgError](err)
		require.Equal(t, "FATAL", pgErr.Severity)
		var n int
		require.NoError(t, admin.QueryRow(t.Context(), "select count(*) from pg_locks where pid = $1", c.PgConn().PID()).Scan(&n))
		require.Zero(t, n, "its locks are gone")
		require.True(t, c.IsClosed())
		require.NoError(t, fails.Wait(t.Context()))
		require.NoError(t, fails.WaitSession(t.Context()))
		require.Equal(t, 100, p.balance(t, 1))
		<-closed(c)
	}
}

func TestEvery(t *testing.T) {
	p := newProxied(t)
	fails := p.proxy.Arm(faultproxy.Fault{SQL: "^commit$", Nth: 2, Every: true, Do: faultproxy.Fail{SQLState: "40001"}})
	for i := range 4 {
		simple(t, p.conn, "begin")
		_, err := p.conn.Exec(t.Context(), "commit", pgx.QueryExecModeSimpleProtocol)
		require.Equal(t, i > 0, sqlState(err) == "40001", "%v", err)
		require.Equal(t, i, fails.Fired())
	}
	fails.Disarm()
	simple(t, p.conn, "begin", "commit")
	require.Equal(t, 3, fails.Fired())
}

// Faults that meet at one message happen in the order in which they were armed.
func TestSeveralFaults(t *testing.T) {
	p := newProxied(t)
	held := p.proxy.Arm(faultproxy.Fault{SQL: "select", Do: faultproxy.Hold{}})
	cut := p.proxy.Arm(faultproxy.Fault{SQL: "select", Do: faultproxy.Cut{}})
	done := make(chan error, 1)
	go func() {
		_, err := p.conn.Exec(t.Context(), "select 1", pgx.QueryExecModeSimpleProtocol)
		done <- err
	}()
	require.NoError(t, held.Wait(t.Context()))
	require.Equal(t, 1, cut.Fired())
	require.Empty(t, done)
	waiting, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, cut.Wait(waiting), context.DeadlineExceeded)
	held.Release()
	require.NoError(t, cut.Wait(t.Context()))
	require.Error(t, <-done)
}

// What a connection sends behind its cut is not passed on, and so not counted.
func TestNothingBehindTheCut(t *testing.T) {
	p := newProxied(t)
	for _, do := range []faultproxy.Cut{{}, {After: true}} {
		p.proxy.Reset()
		cut := p.proxy.Arm(faultproxy.Fault{Nth: 2, Do: do})
		next := p.proxy.Arm(faultproxy.Fault{Nth: 3, Do: do})
		c := rawConn(t, p.proxy.URL())
		c.send(t, &pgproto3.Query{String: "select 1"}, &pgproto3.Query{String: "select 2"}, &pgproto3.Query{String: "select 3"})
		require.NoError(t, cut.WaitSession(t.Context()))
		require.Zero(t, next.Fired())
		require.Equal(t, 2, p.proxy.Stats().ClientMessages)
		next.Disarm()
	}
}

// A cut does not wait for a side that does not read, nor does a black hole.
func TestFaultWhileNobodyReads(t *testing.T) {
	p := newProxied(t)
	for _, do := range []faultproxy.Action{faultproxy.Cut{After: true}, faultproxy.Cut{}, faultproxy.BlackHole{After: true}, faultproxy.BlackHole{}} {
		c := rawConn(t, p.proxy.URL())
		c.send(t, &pgproto3.Query{String: "select repeat('x', 100000), generate_series(1, 10000)"})
		waitActivity(t, p.Admin(t), c.pid, "wait_event = 'ClientWrite'")
		fault := p.proxy.Arm(faultproxy.Fault{Do: do})
		c.send(t, &pgproto3.Query{String: "select 2"})
		require.NoError(t, fault.Wait(t.Context()))
	}
}

func TestFaultOfOneSession(t *testing.T) {
	p := newProxied(t)
	other := p.connect(t)
	cut := p.proxy.Arm(faultproxy.Fault{PID: other.PgConn().PID(), Do: faultproxy.Cut{}})
	simple(t, p.conn, "select 1")
	require.Zero(t, cut.Fired())
	require.Zero(t, cut.PID())
	require.Error(t, other.Ping(t.Context()))
	require.Equal(t, 1, cut.Fired())
	require.NoError(t, cut.Wait(t.Context()))
	require.Equal(t, other.PgConn().PID(), cut.PID())
}

// A cancel request too may be what the network swallows everything at.
func TestBlackHoleAtACancelRequest(t *testing.T) {
	p := newProxied(t)
	other := p.connect(t)
	hole := p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Do: faultproxy.BlackHole{All: true}})
	done := make(chan error, 2)
	go func() { done <- p.conn.PgConn().CancelRequest(context.WithoutCancel(t.Context())) }()
	require.NoError(t, hole.Wait(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, other.Ping(ctx), context.DeadlineExceeded)
	hole.Release()
	require.NoError(t, <-done)

	// After it was passed on: the server has done it, but the client is not told.
	go func() {
		_, err := p.conn.Exec(t.Context(), "select pg_sleep(60)", pgx.QueryExecModeSimpleProtocol)
		done <- err
	}()
	waitActivity(t, p.Admin(t), p.conn.PgConn().PID(), asleep)
	cancelled := make(chan error, 1)
	hole = p.proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Do: faultproxy.BlackHole{After: true}})
	go func() { cancelled <- p.conn.PgConn().CancelRequest(context.WithoutCancel(t.Context())) }()
	require.Equal(t, "57014", sqlState(<-done))
	require.NoError(t, hole.Wait(t.Context()))
	require.Empty(t, cancelled)
	hole.Release()
	require.NoError(t, <-cancelled)
}

// Terminate is no message to strike at, unless it is asked for.
func TestTerminate(t *testing.T) {
	p := newProxied(t)
	cut := p.proxy.Arm(faultproxy.Fault{Do: faultproxy.Cut{}})
	terminate := p.proxy.Arm(faultproxy.Fault{Type: 'X', Do: faultproxy.Hold{}})
	require.NoError(t, p.conn.Close(t.Context()))
	require.NoError(t, terminate.Wait(t.Context()))
	require.Zero(t, cut.Fired())
	var n int
	require.NoError(t, p.Admin(t).QueryRow(t.Context(), "select count(*) from pg_stat_activity where pid = $1", p.conn.PgConn().PID()).Scan(&n))
	require.Equal(t, 1, n)
	terminate.Release()
}

func TestFaultThatDoesNotHappen(t *testing.T) {
	p := newProxied(t)
	cut := p.proxy.Arm(faultproxy.Fault{SQL: "nothing like it", Do: faultproxy.Cut{}})
	simple(t, p.conn, "select 1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, cut.Wait(ctx), context.Canceled)
	require.ErrorContains(t, cut.Wait(ctx), "SQL:nothing like it")
	require.ErrorIs(t, cut.WaitSession(ctx), context.Canceled)
	held := p.proxy.Arm(faultproxy.Fault{Answer: true, Do: faultproxy.Hold{}})
	done := make(chan error, 1)
	go func() { done <- p.conn.Ping(t.Context()) }()
	require.NoError(t, held.Wait(t.Context()))
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, held.WaitSession(short), "the session has not ended")
	held.Release()
	require.NoError(t, <-done)
}

func TestFaultsThatContradictThemselves(t *testing.T) {
	t.Parallel()
	p := txntest.NewProxy(t, "postgres://u@127.0.0.1:1/d")
	for _, f := range []faultproxy.Fault{
		{},
		{From: 7, Do: faultproxy.Cut{}},
		{Nth: -1, Do: faultproxy.Cut{}},
		{From: faultproxy.Server, SQL: "x", Do: faultproxy.Cut{}},
		{From: faultproxy.Server, Answer: true, Do: faultproxy.Cut{}},
		{From: faultproxy.Canceler, Type: 'Q', Do: faultproxy.Cut{}},
		{From: faultproxy.Server, Do: faultproxy.Fail{SQLState: "40001"}},
		{Answer: true, Do: faultproxy.Fail{SQLState: "40001"}},
		{Type: 'd', Do: faultproxy.Fail{SQLState: "40001"}},
		{Type: 'H', Answer: true, Do: faultproxy.Cut{}},
		{Do: faultproxy.Fail{}},
		{Do: faultproxy.Fail{SQLState: "40001'"}},
		{Do: faultproxy.Fail{SQLState: "00000"}},
		{SQL: "(", Do: faultproxy.Cut{}},
	} {
		require.Panics(t, func() { p.Arm(f) }, "%+v", f)
	}
}

// Only the beginning of a long text is looked at, and all of it arrives.
func TestLongStatement(t *testing.T) {
	p := newProxied(t)
	at := p.proxy.Arm(faultproxy.Fault{SQL: "^select 'first", Every: true, Do: faultproxy.Hold{}})
	at.Release()
	end := p.proxy.Arm(faultproxy.Fault{SQL: "last'$", Do: faultproxy.Cut{}})
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		cut := p.proxy.Arm(faultproxy.Fault{SQL: "^select 'first", Nth: 2, Do: faultproxy.Cut{After: true}})
		var text string
		sql := "select 'first" + strings.Repeat("x", 200_000) + "last'"
		c := p.connect(t)
		require.NoError(t, c.QueryRow(t.Context(), sql, mode).Scan(&text))
		require.Len(t, text, 200_009)
		require.Zero(t, cut.Fired())
		require.Error(t, c.QueryRow(t.Context(), sql, mode).Scan(&text))
		require.NoError(t, cut.WaitSession(t.Context()))
		<-closed(c)
	}
	require.Zero(t, end.Fired())
}
