package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
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

var (
	fsync     = flag.Bool("fsync", false, "a server that waits for its disk at each COMMIT")
	latencies = flag.String("latencies", "0s,1ms", "one-way latencies of the network, comma-separated")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := preface(flag.Lookup("test.bench").Value.String() != ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if *fsync {
		if s, err := durable(); err == nil {
			_ = s.Stop()
		}
	}
	os.Exit(code)
}

// preface prints above the benchmarks what they ran on, in the form that benchstat reads.
func preface(benchmarks bool) error {
	if !benchmarks {
		return nil
	}
	ctx := context.Background()
	s, err := server(ctx)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.AdminURL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var version, sync string
	err = conn.QueryRow(ctx, "select current_setting('server_version'), current_setting('fsync')").Scan(&version, &sync)
	fmt.Printf("date: %s\ncpus: %d\ngo: %s\npostgresql: %s\nfsync: %s\n",
		time.Now().UTC().Format(time.DateTime), runtime.NumCPU(), runtime.Version(), version, sync)
	if err != nil {
		return err
	}
	return printVersions()
}

// printVersions prints those of the modules that are compared, as go.mod requires them.
func printVersions() error {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		switch f := strings.Fields(line); {
		case len(f) < 2:
		case f[0] == "github.com/jackc/pgx/v5", f[0] == "gorm.io/gorm", f[0] == "github.com/uptrace/bun",
			f[0] == "github.com/cockroachdb/cockroach-go/v2":
			fmt.Printf("%s: %s\n", f[0], f[1])
		}
	}
	return nil
}

// server is the one that tests have in common, which does not wait for its disk, unless the
// flag asks for one that does.
func server(ctx context.Context) (*pgserver.Server, error) {
	if *fsync {
		return durable()
	}
	return pgserver.Shared(ctx)
}

var durable = sync.OnceValues(func() (*pgserver.Server, error) {
	return pgserver.Start(context.Background(), pgserver.Config{})
})

// wallets is the schema of those who write their own SQL.
var wallets = txntest.SQL(
	"create table wallets (id bigint primary key, balance bigint not null check (balance >= 0))",
	"insert into wallets values (1, 1000), (2, 1000)",
)

const opening = 1000

// direct is the latency without a proxy.
const direct time.Duration = -1

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
	s, err := server(tb.Context())
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

// distances are the latencies of the flag.
func distances(tb testing.TB) (all []time.Duration) {
	tb.Helper()
	for text := range strings.SplitSeq(*latencies, ",") {
		d, err := time.ParseDuration(text)
		require.NoError(tb, err)
		all = append(all, d)
	}
	return all
}
