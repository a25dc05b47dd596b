package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The test binary is the proxy's process, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == proxyWord {
		if err := serveProxy(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if err := preface(flag.Lookup("test.bench").Value.String() != ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// preface prints above the benchmarks what they ran on, in the form that benchstat reads.
func preface(benchmarks bool) error {
	if !benchmarks {
		return nil
	}
	ctx := context.Background()
	s, err := pgserver.Shared(ctx)
	if err != nil {
		return err
	}
	lines, err := machine(ctx, s.AdminURL("postgres"))
	for _, line := range lines {
		fmt.Println(line)
	}
	return err
}

// wallets is the schema of those who write their own SQL.
var wallets = txntest.SQL(
	walletsSQL,
	"insert into wallets values (1, 1000), (2, 1000)",
)

const opening = 1000

// A fixture is a contender on a database of its own, behind a proxy that counts and delays.
type fixture struct {
	contender
	transfer transfer
	proxy    *faultproxy.Proxy // nil: none
	accounts [2]int64          // hold the opening each
	admin    string            // URL, past the proxy
}

func setup(tb testing.TB, c contender, latency time.Duration, conns int) *fixture {
	tb.Helper()
	s, err := pgserver.Shared(tb.Context())
	require.NoError(tb, err)
	f := &fixture{contender: c, accounts: [2]int64{1, 2}}
	var database *txntest.Database
	if c.books {
		database = txntest.NewDatabaseOn(tb, s, testschema.Migrated)
		for _, i := range testschema.Invariants {
			database.Invariant(i.Name, i.SQL)
		}
		f.accounts = signUp(tb, database.AppURL())
	} else {
		database = txntest.NewDatabaseOn(tb, s, wallets)
	}
	f.admin = database.AdminURL()
	url := database.AppURL()
	if latency != direct {
		f.proxy = txntest.NewProxy(tb, url)
		f.proxy.SetDelay(latency)
		url = f.proxy.URL()
	}
	move, done, err := c.open(tb.Context(), url, conns)
	require.NoError(tb, err)
	tb.Cleanup(done)
	f.transfer = move
	return f
}

// signUp opens two accounts; their welcome bonus is the opening.
func signUp(tb testing.TB, url string) (accounts [2]int64) {
	tb.Helper()
	d, err := txn.Open(tb.Context(), url, txn.Config{})
	require.NoError(tb, err)
	defer d.Close()
	for i := range accounts {
		user, err := account.SignUp(tb.Context(), d, account.SignUpRequest{Email: fmt.Sprintf("user-%d@example.com", i), Name: "User"})
		require.NoError(tb, err)
		accounts[i] = user.AccountID
	}
	require.EqualValues(tb, opening, account.WelcomeBonus)
	return accounts
}

// balances reads the accounts on a connection of its own.
func (f *fixture) balances(tb testing.TB) (balances [2]int64) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), f.admin)
	require.NoError(tb, err)
	defer conn.Close(tb.Context())
	sql := "select balance from wallets where id = $1"
	if f.books {
		sql = "select balance_minor from accounts where id = $1"
	}
	for i, id := range f.accounts {
		require.NoError(tb, conn.QueryRow(tb.Context(), sql, id).Scan(&balances[i]))
	}
	return balances
}

// swing moves a unit to one side or the other, in turn.
func (f *fixture) swing(ctx context.Context, n int) error {
	return f.transfer(ctx, f.accounts[n%2], f.accounts[(n+1)%2], 1)
}

// warm opens the connections and lets them prepare their statements.
func (f *fixture) warm(tb testing.TB, conns int) {
	tb.Helper()
	var all sync.WaitGroup
	errs := make([]error, conns)
	for i := range conns {
		all.Go(func() {
			for n := range 3 {
				errs[i] = errors.Join(errs[i], f.swing(tb.Context(), n))
			}
		})
	}
	all.Wait()
	require.NoError(tb, errors.Join(errs...))
}
