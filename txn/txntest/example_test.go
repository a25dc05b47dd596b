package txntest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

var bank = txntest.SQL(`
	create table accounts (id int primary key, balance int not null check (balance >= 0))`, `
	insert into accounts values (1, 100), (2, 100)`)

// move takes money from one account to another. With amount 0 the receiver gets a gift.
func move(ctx context.Context, t txn.Transactor, from, to, amount int) error {
	return txn.WithTx(ctx, t, txn.Options{Label: "move"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("update accounts set balance = balance - $2 where id = $1", from, amount)
		tx.Queue("update accounts set balance = balance + $2 where id = $1", to, max(amount, 1))
		return nil
	})
}

// standIn stands in for the *testing.T that a test has and an example has not. It prints the
// first line of what a test would report.
type standIn struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
}

// newT returns a T and what ends the test.
func newT() (t *standIn, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	t = &standIn{ctx: ctx}
	return t, func() {
		cancel()
		for len(t.cleanups) > 0 {
			last := len(t.cleanups) - 1
			fn := t.cleanups[last]
			t.cleanups = t.cleanups[:last]
			fn()
		}
	}
}

func (t *standIn) Helper()                  {}
func (t *standIn) Name() string             { return "TestExample" }
func (t *standIn) Context() context.Context { return t.ctx }
func (t *standIn) Cleanup(fn func())        { t.cleanups = append(t.cleanups, fn) }
func (t *standIn) Failed() bool             { return false }
func (t *standIn) FailNow()                 { log.Fatal("a precondition of the example does not hold") }

func (t *standIn) Errorf(format string, args ...any) {
	first, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	fmt.Println("FAIL:", first)
}

// A test with a database of its own. In a real one, t is its *testing.T.
func ExampleNewDatabase() {
	t, end := newT()
	defer end()

	database := txntest.NewDatabase(t, bank)
	database.Invariant("money is conserved", "select sum(balance) from accounts having sum(balance) <> 200")
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	fmt.Println(move(t.Context(), d, 1, 2, 30))

	// Output:
	// <nil>
}

// A server of the test's own, for a setting that it needs.
func ExampleNewDatabaseOn() {
	t, end := newT()
	defer end()
	server, err := pgserver.Start(t.Context(), pgserver.Config{NoSync: true, Settings: map[string]string{"max_prepared_transactions": "7"}})
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })

	database := txntest.NewDatabaseOn(t, server, bank)
	var setting string
	err = database.Pool(t).QueryRow(t.Context(), "show max_prepared_transactions").Scan(&setting)
	fmt.Println(setting, err)

	// Output:
	// 7 <nil>
}

// The state from which tests start is known by what makes it: a template of it is made once.
func ExampleSQL() {
	key := func(s txntest.Schema) string {
		k, err := s.Key()
		if err != nil {
			log.Fatal(err)
		}
		return k
	}
	a, b := txntest.SQL("create table a ()"), txntest.SQL("create table b ()")
	fmt.Println(key(a) == key(txntest.SQL("create table a ()")), key(a) == key(b))

	// Output:
	// true false
}

// Roles are those of production: who runs statements owns nothing.
func ExampleDatabase_Pool() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)

	_, err := database.Pool(t).Exec(t.Context(), "drop table accounts")
	fmt.Println(txn.SQLState(err)) // insufficient_privilege

	// Output:
	// 42501
}

// The superuser does what nobody else may: here it ends the session that works.
func ExampleDatabase_Admin() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		var pid int
		if err := tx.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		if tx.Attempt() == 1 {
			if _, err := database.Admin(t).Exec(ctx, "select pg_terminate_backend($1, 5000)", pid); err != nil {
				return err
			}
		}
		fmt.Println("attempt", tx.Attempt())
		return move(ctx, tx, 1, 2, 30)
	})
	fmt.Println(err)

	// Output:
	// attempt 1
	// attempt 2
	// <nil>
}

// Pools made elsewhere connect as the ordinary role, too.
func ExampleDatabase_AppURL() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)

	d, err := txn.Open(t.Context(), database.AppURL(), txn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	fmt.Println(move(t.Context(), d, 1, 2, 30))

	// Output:
	// <nil>
}

// The owner changes the schema, as a migration does.
func ExampleDatabase_OwnerURL() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)

	owner, err := pgx.Connect(t.Context(), database.OwnerURL())
	if err != nil {
		log.Fatal(err)
	}
	defer owner.Close(t.Context())
	_, err = owner.Exec(t.Context(), "alter table accounts add column closed bool not null default false")
	fmt.Println(err)

	// Output:
	// <nil>
}

// For what watches from outside, such as a second program.
func ExampleDatabase_AdminURL() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)

	admin, err := pgx.Connect(t.Context(), database.AdminURL())
	if err != nil {
		log.Fatal(err)
	}
	defer admin.Close(t.Context())
	fmt.Println(admin.PgConn().ParameterStatus("is_superuser"))

	// Output:
	// on
}

// What the server is decides what a test expects of it.
func ExampleDatabase_Server() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)

	d, err := txn.Open(t.Context(), database.AppURL(), txn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	err = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "show transaction_timeout")
		return err
	})
	known := database.Server().VersionNum() >= 170000
	fmt.Println(known == (err == nil))

	// Output:
	// true
}

// A rule of the business is checked whenever a test ends, whatever the test was about.
func ExampleDatabase_Invariant() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	database.Invariant("money is conserved", "select sum(balance) from accounts having sum(balance) <> 200")

	d, err := txn.Open(t.Context(), database.AppURL(), txn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	fmt.Println(move(t.Context(), d, 1, 2, 0)) // committed, and wrong
	d.Close()
	end()

	// Output:
	// <nil>
	// FAIL: txntest: invariant "money is conserved" does not hold:
}

// Between two parts of a test.
func ExampleDatabase_Check() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	database.Invariant("nobody owes", "select id from accounts where balance < 0")

	d, err := txn.Open(t.Context(), database.AppURL(), txn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(move(t.Context(), d, 1, 2, 30))
	d.Close() // or it would be found to be open
	database.Check(t)

	// Output:
	// <nil>
}

// A transaction that somebody forgot.
func ExampleCheckClean() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)

	c, err := pgx.Connect(t.Context(), database.AppURL())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "begin; update accounts set balance = 0"); err != nil {
		log.Fatal(err)
	}
	txntest.CheckClean(t, database.AdminURL())
	_ = c.Close(t.Context())
	txntest.CheckClean(t, database.AdminURL())

	// Output:
	// FAIL: txntest: left open in the database:
}

// Both read before either writes: one of them has to fail, every time.
func ExampleNewBarrier() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	read := txntest.NewBarrier(2)
	opts := txn.Options{Isolation: txn.RepeatableRead, MaxAttempts: 1}
	double := func() error {
		return txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := tx.Exec(ctx, "select balance from accounts where id = 1"); err != nil {
				return err
			}
			if err := read.Wait(ctx); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "update accounts set balance = 2 * balance where id = 1")
			return err
		})
	}
	other := make(chan error)
	go func() { other <- double() }()
	err := errors.Join(double(), <-other)
	fmt.Println(txn.SQLState(err)) // serialization_failure

	// Output:
	// 40001
}

// A Wait whose others do not come ends with its context, and says how many are missing.
func ExampleBarrier_Wait() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(txntest.NewBarrier(3).Wait(ctx))

	// Output:
	// txntest: barrier: 2 did not come: context canceled
}

// The test goes on when the other waits for the lock, not some time later.
func ExampleWaitBlocked() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	pid, other := make(chan int, 1), make(chan error, 1)
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "update accounts set balance = balance + 1 where id = 1"); err != nil {
			return err
		}
		go func() {
			other <- txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				var own int
				if err := tx.QueryRow(ctx, "select pg_backend_pid()").Scan(&own); err != nil {
					return err
				}
				pid <- own
				_, err := tx.Exec(ctx, "update accounts set balance = balance - 1 where id = 1")
				return err
			})
		}()
		txntest.WaitBlocked(t, tx, <-pid)
		fmt.Println("it waits")
		return nil
	})
	fmt.Println(err, <-other)

	// Output:
	// it waits
	// <nil> <nil>
}

// For the message of a test that waited in vain.
func ExampleSessions() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	admin := database.Admin(t)

	fmt.Println(txntest.Sessions(t.Context(), admin))
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})
	err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "lock table accounts")
		found := txntest.Sessions(ctx, admin)
		fmt.Println(strings.Contains(found, "idle in transaction"), strings.Contains(found, "AccessExclusiveLock accounts"))
		return err
	})
	fmt.Println(err)

	// Output:
	// no other session
	// true true
	// <nil>
}

// Several cases on one database, each of which is undone.
func ExampleTx() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	for _, amount := range []int{30, 300} {
		t, end := newT() // of t.Run
		tx := txntest.Tx(t, d, txn.Options{Label: "test"})
		err := move(t.Context(), tx, 1, 2, amount)
		fmt.Printf("%d: %q\n", amount, txn.ConstraintName(err))
		end()
	}

	// Output:
	// 30: ""
	// 300: "accounts_balance_check"
}

// What waits for a COMMIT that never comes is called when the test says so.
func ExampleTestTx_AfterCommit() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{})

	tx := txntest.Tx(t, d, txn.Options{Label: "test"})
	err := txn.WithTx(t.Context(), tx, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.AfterCommit(func(context.Context) error {
			fmt.Println("welcome")
			return nil
		})
		return nil
	})
	fmt.Println(err)
	fmt.Println(tx.AfterCommit(t.Context()))

	// Output:
	// <nil>
	// welcome
	// <nil>
}

// The answer to COMMIT is lost, and the call says what the server did.
func ExampleNewProxy() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, bank)
	proxy := txntest.NewProxy(t, database.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), txn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	lost := proxy.Arm(faultproxy.Fault{SQL: "^commit$", Answer: true, Do: faultproxy.Cut{}})
	err = txn.WithTx(t.Context(), d, txn.Options{Label: "gift"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "update accounts set balance = balance + 1 where id = 1")
		return err
	})
	fmt.Println(err, lost.Fired())

	// Output:
	// <nil> 1
}
