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
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// The server fails at a statement of a transfer, or at its COMMIT, once or each time. What is
// retried depends on the SQLSTATE alone, and on nothing but what docs/retry.md says.

// An injectedError is fatal if the server ends the session with it.
type injectedError struct {
	code    string
	fatal   bool
	retried string // "", "also": only by RetryAlso, "yes"
}

var injected = []injectedError{
	{"40001", false, "yes"}, {"40P01", false, "yes"},
	{"0A000", false, ""}, // a stale plan has this code too, but comes from elsewhere in the server
	{"23505", false, "also"}, {"23P01", false, "also"}, {"55P03", false, "also"}, {"P0001", false, "also"},
	{"53000", false, "yes"}, {"53100", false, "yes"}, {"53200", false, "yes"}, {"53300", false, "yes"}, {"53400", false, "yes"},
	{"57P01", false, "yes"}, {"57P02", false, "yes"}, {"57P03", false, "yes"},
	{"57P01", true, "yes"}, {"57P02", true, "yes"}, {"57P03", true, "yes"}, {"53200", true, "yes"},
	{"57014", false, ""}, {"25P03", false, ""}, {"25P04", false, ""}, {"57P05", false, ""},
	{"25P03", true, ""}, {"25P04", true, ""}, {"57P05", true, ""},
	{"22001", false, ""}, {"22003", false, ""}, {"22012", false, ""}, {"22P02", false, ""},
	{"23502", false, ""}, {"23503", false, ""}, {"23514", false, ""}, {"42601", false, ""}, {"42501", false, ""},
	{"XX000", false, ""}, {"XX000", true, "yes"}, // the server went down with the session, or the session alone
}

// retriedAlso is what the calls name of it.
var retriedAlso = []string{"23505", "23P01", "55P03", "P0001"}

// places are the way's statements, by their texts.
func (w way) places() []string {
	places := []string{"^commit", "^select pg_current_xact_id_if_assigned", "^begin", "^update accounts", "^insert into effects"}
	if w.key {
		places[1] = "insert into interlock.commit_token"
	}
	if w.twoTrips {
		places = append(places, "^select balance")
	}
	return places
}

func TestFaultsBySQLState(t *testing.T) {
	for n, w := range cutWays[:3] {
		t.Run(w.name, func(t *testing.T) {
			f := setup(t, txn.Config{})
			f.commitTokens(t)
			f.effectsTable(t)
			places := w.places()
			if n > 0 && !*long {
				places = places[:2] // where it differs from the first way
			}
			d, p := throughProxy(t, f, pgx.QueryExecModeCacheStatement, txn.Config{})
			in := &injections{f: f, way: w, pool: d.Pool(), proxy: p}
			for _, place := range places {
				for _, e := range injected {
					for _, every := range []bool{false, true} {
						in.inject(t, injection{e, place, every, false})
						if e.retried == "also" || *long { // else it makes no difference
							in.inject(t, injection{e, place, every, true})
						}
					}
				}
			}
			f.settled(t)
			released(t, d)
			t.Log(&in.total)
			report.add("error injected, "+w.name, fmt.Sprintf("%s; %d attempts", &in.total, in.attempts))
			in.total.clean(t)
			require.Equal(t, in.unknown, in.total.unknown)
			f.conserved(t)
		})
	}
}

// An injection is an error at a place, once or each time, with or without RetryAlso.
type injection struct {
	injectedError
	place string
	every bool
	also  bool
}

// injections are made on one way, and counted.
type injections struct {
	f        *fixture
	way      way
	pool     *pgxpool.Pool
	proxy    *faultproxy.Proxy
	total    tally
	attempts int
	unknown  int // that cannot be otherwise
}

func (in *injections) inject(t *testing.T, i injection) {
	request := fmt.Sprintf("%+v", i)
	cfg := txn.Config{BaseDelay: time.Nanosecond}
	if in.way.never {
		cfg.ResolveCommits = txn.ResolveNever
	}
	if i.also {
		cfg.Options.RetryAlso = retriedAlso
	}
	// The COMMIT of the question by which a key's outcome is found out fails as well then.
	mute := in.way.key && i.fatal && i.every && i.place == "^commit"
	if mute {
		cfg.ResolveTimeout = 50 * time.Millisecond
		in.unknown++
	}
	attempts := 1
	cfg.Options.OnRetry = func(context.Context, txn.Retry) { attempts++ }
	d := txn.New(in.pool, cfg) // with a budget of its own

	armed := in.proxy.Arm(faultproxy.Fault{SQL: i.place, Every: i.every, Do: faultproxy.Fail{SQLState: i.code, Fatal: i.fatal}})
	err := in.way.transfer(t.Context(), d, request)
	armed.Disarm()
	require.Positive(t, armed.Fired(), request)
	effects := in.f.effectsOf(t, request)
	in.total.count(err, effects)
	in.attempts += attempts

	if mute {
		require.ErrorAs(t, err, new(*txn.CommitUnknownError), request)
		require.Equal(t, 1, attempts, request)
		require.Zero(t, effects, request)
		return
	}
	retried := i.retried == "yes" || i.also && i.retried == "also"
	// A session that ends at BEGIN, sent ahead of a statement, was dead before: another takes
	// its place, which costs no attempt.
	replaced := i.fatal && i.place == "^begin" && in.way.twoTrips
	switch {
	case replaced && !i.every:
		require.Equal(t, 1, attempts, request)
	case retried && !i.every:
		require.Equal(t, 2, attempts, request)
	case retried:
		require.Equal(t, 5, attempts, request)
	default:
		require.Equal(t, 1, attempts, request)
	}
	if !i.every && (retried || replaced) {
		require.NoError(t, err, request)
		require.Equal(t, 1, effects, request)
		return
	}
	require.Equal(t, i.code, txn.SQLState(err), "%s: %v", request, err)
	require.Zero(t, effects, request)
	exhausted, ok := errors.AsType[*txn.RetriesExhaustedError](err)
	require.Equal(t, retried, ok, request)
	if ok {
		require.Equal(t, attempts, exhausted.Attempts, request)
	}
}

// conserved requires that as much money moved as transfers had an effect.
func (f *fixture) conserved(t *testing.T) {
	t.Helper()
	done := column[int64](t, f.db.Pool(), "select count(*) from effects")[0]
	require.Zero(t, done-column[int64](t, f.db.Pool(), "select count(distinct request) from effects")[0])
	require.Equal(t, 1000-done, f.balance(t, 1))
	require.Equal(t, 1000+done, f.balance(t, 2))
}

// A plan that went stale has a code with other meanings, which are not retried. This one is.
func TestFaultsOfStalePlans(t *testing.T) {
	f := setup(t, txn.Config{})
	f.commitTokens(t)
	f.effectsTable(t)
	admin := f.Admin(t)
	for _, w := range cutWays[:2] { // the third returns no rows
		d, _ := throughProxy(t, f, pgx.QueryExecModeCacheStatement, txn.Config{})
		for _, kind := range []string{"numeric", "bigint"} {
			request := fmt.Sprint(w.name, kind)
			require.NoError(t, w.transfer(t.Context(), d, request+" before"))
			_, err := admin.Exec(t.Context(), "alter table accounts alter balance type "+kind)
			require.NoError(t, err)
			made := 1
			d := txn.New(d.Pool(), txn.Config{Options: txn.Options{OnRetry: func(context.Context, txn.Retry) { made++ }}})
			require.NoError(t, w.transfer(t.Context(), d, request))
			require.Equal(t, 2, made)
			require.Equal(t, 1, f.effectsOf(t, request))
		}
	}
}
