package txn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// Rule: as few round trips as the logic allows. They are counted on the wire, warm and cold,
// in every mode in which pgx can run statements.

var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// A shape is a transaction and what it costs.
type shape struct {
	name string
	warm int // round trips once its statements are known to the connection
	cold int // flushes whose statements are not known yet cost one more each
	opts txn.Options
	fn   func(ctx context.Context, tx *txn.Tx) error
	read func(ctx context.Context, rx *txn.ReadTx) error // instead of fn
	err  error                                           // what comes of it
}

func selects(n int) func(ctx context.Context, rx *txn.ReadTx) error {
	return func(ctx context.Context, rx *txn.ReadTx) error {
		for i := range n {
			var balance int64
			if err := rx.QueryRow(ctx, "select balance from accounts where id = $1", 1+i%4).Scan(&balance); err != nil {
				return err
			}
		}
		return nil
	}
}

// lockBoth is a transfer's one question.
func lockBoth(ctx context.Context, tx *txn.Tx) ([]int64, error) { return lockAccounts(ctx, tx, 1, 2) }

func lockAccounts(ctx context.Context, tx *txn.Tx, ids ...int64) ([]int64, error) {
	rows, err := tx.Query(ctx, "select balance from accounts where id = any ($1) order by id for no key update", ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

const moveSQL = "update accounts set balance = balance + $2 where id = $1"

func update(ctx context.Context, tx *txn.Tx) error {
	_, err := tx.Exec(ctx, moveSQL, int64(1), int64(0))
	return err
}

var shapes = []shape{
	{name: "nothing", fn: func(context.Context, *txn.Tx) error { return nil }},
	{name: "an error before anything", err: errBusiness, fn: func(context.Context, *txn.Tx) error { return errBusiness }},
	{name: "one statement", warm: 2, cold: 3, fn: update},
	{
		name: "a transfer with its check in Go", warm: 2, cold: 4,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			balances, err := lockBoth(ctx, tx)
			if err != nil {
				return err
			}
			if balances[0] < 10 {
				return errBusiness
			}
			tx.Queue(moveSQL, int64(1), int64(-10))
			tx.Queue(moveSQL, int64(2), int64(10))
			tx.Queue("update accounts set version = version + 1 where id = any ($1)", []int64{1, 2})
			return nil
		},
	},
	{
		name: "a transfer with its check in the server", warm: 1, cold: 2,
		fn: func(_ context.Context, tx *txn.Tx) error {
			tx.Queue(moveSQL, int64(1), int64(-10))
			tx.Queue(moveSQL, int64(2), int64(10))
			return nil
		},
	},
	{
		name: "three independent reads", warm: 1, cold: 2,
		read: func(_ context.Context, rx *txn.ReadTx) error {
			txn.QueueValue(rx, balanceOf(1))
			txn.QueueValue(rx, balanceOf(2))
			txn.QueueValue(rx, func(q txn.Querier) (n int64, err error) {
				err = q.QueryRow(context.Background(), "select count(*) from accounts where balance >= $1", int64(0)).Scan(&n)
				return n, err
			})
			return nil
		},
	},
	{name: "one read", warm: 2, cold: 3, read: selects(1)},
	{name: "five dependent reads", warm: 6, cold: 7, read: selects(5)},
	{
		name: "two nested savepoints around a statement each", warm: 3, cold: 4,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				if err := update(ctx, tx); err != nil {
					return err
				}
				return tx.Savepoint(ctx, update)
			})
		},
	},
	{
		name: "a savepoint around nothing", warm: 2, cold: 3,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			if err := tx.Savepoint(ctx, nothing); err != nil {
				return err
			}
			return update(ctx, tx)
		},
	},
	{
		name: "a savepoint undone before anything was sent", warm: 2, cold: 3,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			_ = tx.Savepoint(ctx, func(context.Context, *txn.Tx) error { return errBusiness })
			return update(ctx, tx)
		},
	},
	{
		name: "a savepoint undone", warm: 4, cold: 5,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			_ = tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				return errors.Join(update(ctx, tx), errBusiness)
			})
			return update(ctx, tx)
		},
	},
	{
		name: "all options", warm: 2, cold: 3,
		opts: txn.Options{
			Isolation: txn.RepeatableRead, LockTimeout: time.Second, StatementTimeout: time.Second, IdleTimeout: time.Second,
			Timeout: time.Minute, SynchronousCommit: txn.SyncLocal, DeferConstraints: true, Settings: map[string]string{"app.tenant": "x"},
			Locks: []txn.Key{txn.NewKey("a"), txn.NewKey("b").Shared()},
		},
		fn: update,
	},
	{
		name: "locks at read committed", warm: 2, cold: 3,
		opts: txn.Options{Locks: []txn.Key{txn.NewKey("a"), txn.NewKey("b")}},
		fn:   update,
	},
	{name: "a rollback", warm: 2, cold: 3, err: errBusiness, fn: func(ctx context.Context, tx *txn.Tx) error {
		return errors.Join(update(ctx, tx), errBusiness)
	}},
	{
		name: "joined calls with limits of their own", warm: 3, cold: 4,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			for range 2 {
				if err := txn.WithTx(ctx, tx, txn.Options{LockTimeout: time.Second}, update); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name: "a batch", warm: 2, cold: 3,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			b := &pgx.Batch{}
			for range 5 {
				b.Queue(moveSQL, int64(1), int64(0))
			}
			return tx.SendBatch(ctx, b).Close()
		},
	},
	{
		name: "COPY", warm: 4, cold: 5, // BEGIN goes ahead, the transaction's id is asked for behind
		fn: func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{time.Now().String()}}))
			return err
		},
	},
	{
		name: "several statements in one text", warm: 4, cold: 4, // likewise
		fn: func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "update accounts set version = 1; update accounts set version = 2")
			return err
		},
	},
	{
		name: "flushed by hand", warm: 3, cold: 4,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue(moveSQL, int64(1), int64(0))
			if err := tx.Flush(ctx); err != nil {
				return err
			}
			return update(ctx, tx)
		},
	},
	{
		name: "statements given to BeforeCommit", warm: 2, cold: 4,
		fn: func(ctx context.Context, tx *txn.Tx) error {
			tx.BeforeCommit(func(_ context.Context, tx *txn.Tx) error {
				tx.Queue("update accounts set version = version + 1 where id = $1", int64(1))
				return nil
			})
			return update(ctx, tx)
		},
	},
}

// throughProxy is a DB on a pool of one connection by way of a proxy.
func throughProxy(t *testing.T, f *fixture, mode pgx.QueryExecMode, cfg txn.Config) (*txn.DB, *faultproxy.Proxy) {
	t.Helper()
	p := txntest.NewProxy(t, f.AppURL())
	pc, err := pgxpool.ParseConfig(p.URL())
	require.NoError(t, err)
	pc.ConnConfig.DefaultQueryExecMode = mode
	pc.MaxConns = 1
	txn.ConfigurePool(pc)
	return openConfig(t, pc, cfg), p
}

func (s shape) run(ctx context.Context, d *txn.DB) error {
	if s.read != nil {
		return txn.WithReadTx(ctx, d, s.opts, s.read)
	}
	return txn.WithTx(ctx, d, s.opts, s.fn)
}

func TestRoundTrips(t *testing.T) {
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			f := setup(t, txn.Config{})
			for _, s := range shapes {
				d, p := throughProxy(t, f, mode, txn.Config{})
				require.NoError(t, d.Pool().Ping(t.Context()))
				for run := range 3 {
					p.Reset()
					err := s.run(t.Context(), d)
					if s.err == nil {
						require.NoError(t, err, s.name)
					} else {
						require.ErrorIs(t, err, s.err, s.name)
					}
					require.Equal(t, s.trips(mode, run == 0), p.RoundTrips(), "%s, run %d", s.name, run)
				}
				d.Close()
			}
		})
	}
}

// trips is what the shape costs in the mode. Without a cache each flush is described anew;
// exec and simple protocol describe nothing.
func (s shape) trips(mode pgx.QueryExecMode, first bool) int {
	if caches := mode == pgx.QueryExecModeCacheStatement || mode == pgx.QueryExecModeCacheDescribe; s.name == "COPY" && !caches {
		return s.cold // pgx describes the table each time
	}
	switch mode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		return s.warm
	case pgx.QueryExecModeDescribeExec:
		return s.warm + s.flushes()
	}
	if first {
		return s.cold
	}
	return s.warm
}

// flushes is how many flushes carry statements of the caller's with arguments.
func (s shape) flushes() int {
	switch s.name {
	case "nothing", "an error before anything", "COPY", "several statements in one text":
		return 0
	case "five dependent reads":
		return 5
	case "two nested savepoints around a statement each":
		return 3 // what is described fails before the savepoint around it is there: that goes first
	case "a transfer with its check in Go", "a savepoint undone",
		"joined calls with limits of their own", "flushed by hand", "statements given to BeforeCommit":
		return 2
	}
	return 1
}

// A failing attempt costs no more than a good one: what it prepared stays prepared.
func TestRoundTripsOfAFailedAttempt(t *testing.T) {
	f := setup(t, txn.Config{})
	d, p := throughProxy(t, f, pgx.QueryExecModeCacheStatement, txn.Config{})
	attempt := func(code string) (int, error) {
		p.Reset()
		err := txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
			if err := update(ctx, tx); err != nil {
				return err
			}
			if code != "" {
				tx.Queue("select fail($1)", code)
			}
			return nil
		})
		return p.RoundTrips(), err
	}
	_, _ = attempt("40001") // everything is prepared now
	for range 2 {
		n, err := attempt("40001")
		require.Equal(t, "40001", txn.SQLState(err))
		require.Equal(t, 3, n, "the statement, the queued one with COMMIT, ROLLBACK")
		n, err = attempt("")
		require.NoError(t, err)
		require.Equal(t, 2, n)
	}
}

// An idempotency key travels, too.
func TestRoundTripsOfAnIdempotencyKey(t *testing.T) {
	f := setup(t, txn.Config{})
	f.commitTokens(t)
	d, p := throughProxy(t, f, pgx.QueryExecModeCacheStatement, txn.Config{})
	for i, want := range []int{3, 2, 2} {
		for _, level := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead} {
			p.Reset()
			opts := txn.Options{IdempotencyKey: fmt.Sprint(i, level), Isolation: level}
			require.NoError(t, txn.WithTx(t.Context(), d, opts, update))
			if level == txn.RepeatableRead {
				want = 2 // the statement is known by now
			}
			require.Equal(t, want, p.RoundTrips(), "%s, run %d", level, i)
		}
	}
}
