package txn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// The connection is cut before and after each message of a transfer, on both sides. Nothing
// is lost, nothing is done twice, and what the call says is true.

// A way is how the transfer is written, and what is to tell its outcome.
type way struct {
	name     string
	twoTrips bool // it asks before it writes; else it is one flush
	key      bool // it has an idempotency key
	never    bool // ids are not asked for
}

var cutWays = []way{
	{name: "two trips, id", twoTrips: true},
	{name: "two trips, key", twoTrips: true, key: true},
	{name: "one flush, key", key: true, never: true},
	{name: "one flush, nothing"},
}

func (w way) transfer(ctx context.Context, d *txn.DB, request string) error {
	return w.between(ctx, d, request, 1, 2)
}

// between is transfer between two accounts.
func (w way) between(ctx context.Context, d *txn.DB, request string, from, to int64) error {
	opts := txn.Options{Label: "transfer", MaxAttempts: 5}
	if w.key {
		opts.IdempotencyKey = request
	}
	return txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		if w.twoTrips {
			balances, err := lockAccounts(ctx, tx, from, to)
			if err != nil {
				return err
			}
			if balances[0] < 1 {
				return errBusiness
			}
		}
		tx.Queue(moveSQL, from, int64(-1))
		tx.Queue(moveSQL, to, int64(1))
		tx.Queue("insert into effects (request) values ($1)", request)
		return nil
	})
}

func TestCutPoints(t *testing.T) {
	for _, w := range cutWays {
		t.Run(w.name, func(t *testing.T) {
			f := setup(t, txn.Config{})
			f.commitTokens(t)
			f.effectsTable(t)
			cfg := txn.Config{BaseDelay: time.Microsecond}
			if w.never {
				cfg.ResolveCommits = txn.ResolveNever
			}
			d, p := throughProxy(t, f, pgx.QueryExecModeCacheStatement, cfg)
			require.NoError(t, w.transfer(t.Context(), d, "warm"))
			var total tally
			for _, from := range []faultproxy.Source{faultproxy.Client, faultproxy.Server} {
				for _, cut := range []faultproxy.Cut{{}, {After: true}, {Reset: true}} {
					for n := 1; ; n++ {
						request := fmt.Sprintf("%d %+v %d", from, cut, n)
						// The connection after the last cut is warm again, and no budget is spent.
						d := txn.New(d.Pool(), cfg)
						require.NoError(t, w.transfer(t.Context(), d, request+" before"))
						armed := p.Arm(faultproxy.Fault{From: from, Nth: n, Do: cut})
						err := w.transfer(t.Context(), d, request)
						armed.Disarm()
						f.settled(t)
						if armed.Fired() == 0 {
							require.NoError(t, err)
							break // past the last message
						}
						total.count(err, f.effectsOf(t, request))
					}
				}
			}
			t.Log(&total)
			report.add("connection cut, "+w.name, total.String())
			require.Greater(t, total.points, 40)
			total.clean(t)
			if w.name != "one flush, nothing" {
				require.Zero(t, total.unknown)
				require.Zero(t, total.errors)
			}
			f.settled(t)
			var done, twice int64
			require.NoError(t, f.db.Pool().QueryRow(t.Context(),
				"select count(*), count(*) - count(distinct request) from effects").Scan(&done, &twice))
			require.Zero(t, twice)
			require.Equal(t, 1000-done, f.balance(t, 1))
			require.Equal(t, 1000+done, f.balance(t, 2))
		})
	}
}

func (f *fixture) effectsTable(t *testing.T) {
	t.Helper()
	_, err := f.Admin(t).Exec(t.Context(), "create table effects (request text not null); grant all on effects to interlock_app")
	require.NoError(t, err)
}

// settled waits until no session of the application is in a transaction: what was sent
// before a cut has had its effect then.
func (f *fixture) settled(t *testing.T) {
	t.Helper()
	for range 1000 {
		var busy bool
		require.NoError(t, f.db.Pool().QueryRow(t.Context(), `
			select exists (select from pg_stat_activity
				where datname = current_database() and pid <> pg_backend_pid() and usename = current_user and state <> 'idle')
			from pg_sleep(0.001)`).Scan(&busy))
		if !busy {
			return
		}
	}
	t.Fatal("a session did not come to an end")
}

func (f *fixture) effectsOf(t *testing.T, request string) (n int) {
	t.Helper()
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select count(*) from effects where request = $1", request).Scan(&n))
	return n
}

func (f *fixture) balance(t *testing.T, account int) (n int64) {
	t.Helper()
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select balance from accounts where id = $1", account).Scan(&n))
	return n
}
