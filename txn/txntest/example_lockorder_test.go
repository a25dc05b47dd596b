package txntest_test

import (
	"context"
	"fmt"
	"log"
	"path"
	"strings"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

// closeAccount locks an account and then its user.
func closeAccount(ctx context.Context, t txn.Transactor, id int) error {
	return txn.WithTx(ctx, t, txn.Options{Label: "close account"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := lock(ctx, tx, lockAccount, id); err != nil {
			return err
		}
		return lock(ctx, tx, lockUser, id)
	})
}

// renameUser locks a user and then the account.
func renameUser(ctx context.Context, t txn.Transactor, id int) error {
	return txn.WithTx(ctx, t, txn.Options{Label: "rename user"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := lock(ctx, tx, lockUser, id); err != nil {
			return err
		}
		return lock(ctx, tx, lockAccount, id)
	})
}

// lock does what a method of generated code would.
func lock(ctx context.Context, tx *txn.Tx, sql string, id int) error {
	return tx.QueryRow(ctx, sql, id).Scan(&id)
}

// The two functions run one after the other, and no deadlock happens. Should they ever meet,
// each can hold what the other one waits for.
func ExampleNewLockOrder() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries) // with generated code, db.QueryInfo
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{orders}})

	fmt.Println(closeAccount(t.Context(), d, 1), renameUser(t.Context(), d, 2))
	orders.Check(t)

	// Output:
	// <nil> <nil>
	// FAIL: txntest: lock order: cycle: accounts, users are locked in orders of which each transaction can wait for the next: agree on one order
}

// At the end of a test, or of all that share a LockOrder.
func ExampleLockOrder_Check() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{orders}})
	t.Cleanup(func() { orders.Check(t) })

	_ = txn.WithTx(t.Context(), d, txn.Options{Label: "give interest"}, func(ctx context.Context, tx *txn.Tx) error {
		if err := lock(ctx, tx, shareAccount, 1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, credit, 1)
		return err
	})

	// Output:
	// FAIL: txntest: lock order: upgrade: accounts is locked FOR SHARE first and then FOR NO KEY UPDATE: two transactions that both hold the first lock wait for each other with the second: take the stronger one at once
}

// tests stand in for the *testing.M that TestMain has and an example has not.
type tests func() int

func (t tests) Run() int { return t() }

// TestMain gives it the *testing.M, and os.Exit the result.
func ExampleLockOrder_Run() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{orders}})

	fmt.Println(orders.Run(tests(func() int {
		_ = closeAccount(t.Context(), d, 1) // and had renameUser been called, the result would be 1
		return 0
	})))

	// Output:
	// 0
}

// Where there is no test to fail.
func ExampleLockOrder_Err() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{orders}})

	_ = renameUser(t.Context(), d, 1)
	fmt.Println(orders.Err())

	// Output:
	// <nil>
}

// Each package's tests wrote what they saw; see the command lockorder for those of a whole module.
func ExampleMergeLockOrders() {
	merged, err := txntest.MergeLockOrders("testdata/lockorders")
	fmt.Println(merged.Packages, err)

	// Output:
	// [example.com/bank/closing example.com/bank/renaming] <nil>
}

// A cycle that neither package's tests show by themselves.
func ExampleMergedLockOrders_Findings() {
	merged, err := txntest.MergeLockOrders("testdata/lockorders")
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range merged.Findings() {
		for _, o := range f.Orders {
			fmt.Printf("%s: %s, then %s\n", o.Tests, o.First.Query, o.Second.Query)
		}
	}

	// Output:
	// example.com/bank/closing: LockAccount, then LockUser
	// example.com/bank/renaming: LockUser, then LockAccount
}

// All of it in words.
func ExampleMergedLockOrders_Err() {
	merged, err := txntest.MergeLockOrders("testdata/lockorders")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(merged.Err())

	// Output:
	// txntest: lock order: cycle: accounts, users are locked in orders of which each transaction can wait for the next: agree on one order
	// 	transaction "close account" of the tests of example.com/bank/closing
	// 		locks accounts FOR NO KEY UPDATE, by LockAccount
	// 			example.com/bank/closing.Close (/src/bank/closing/closing.go:12)
	// 		and then users FOR NO KEY UPDATE, by LockUser
	// 			example.com/bank/closing.Close (/src/bank/closing/closing.go:15)
	// 	transaction "rename user" of the tests of example.com/bank/renaming
	// 		locks users FOR NO KEY UPDATE, by LockUser
	// 			example.com/bank/renaming.Rename (/src/bank/renaming/renaming.go:12)
	// 		and then accounts FOR NO KEY UPDATE, by LockAccount
	// 			example.com/bank/renaming.Rename (/src/bank/renaming/renaming.go:15)
}

// A finding says which functions took the locks.
func ExampleLockOrder_Findings() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{orders}})

	_, _ = closeAccount(t.Context(), d, 1), renameUser(t.Context(), d, 2)
	for _, f := range orders.Findings() {
		for _, o := range f.Orders {
			fmt.Printf("%s: %s, then %s\n", o.Label, o.First.Query, o.Second.Query)
			for _, call := range o.Second.Stack {
				name, _, _ := strings.Cut(call, " ")
				fmt.Println("  " + path.Base(name))
			}
		}
	}

	// Output:
	// close account: LockAccount, then LockUser
	//   txntest_test.lock
	//   txntest_test.closeAccount.func1
	//   txntest_test.closeAccount
	//   txntest_test.ExampleLockOrder_Findings
	// rename user: LockUser, then LockAccount
	//   txntest_test.lock
	//   txntest_test.renameUser.func1
	//   txntest_test.renameUser
	//   txntest_test.ExampleLockOrder_Findings
}

// The account is closed in a maintenance window, when nobody renames users.
func ExampleLockOrder_Allow() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries)
	orders.Allow("LockAccount", "LockUser", "accounts are closed while nobody else works")
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{orders}})

	_, _ = closeAccount(t.Context(), d, 1), renameUser(t.Context(), d, 2)
	fmt.Println(orders.Err())

	// Output:
	// <nil>
}

// A LockOrder sees what it is told, also by an observer of one's own that knows better: here,
// that the transactions of migrations run alone.
func ExampleLockOrder_Observe() {
	t, end := newT()
	defer end()
	database := txntest.NewDatabase(t, shop)
	orders := txntest.NewLockOrder(shopQueries)
	d := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{Observers: []txn.Observer{outsideMigrations{orders}}})

	err := txn.WithTx(t.Context(), d, txn.Options{Label: "migrate"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(debit, 1)
		tx.Queue(credit, 2)
		return nil
	})
	fmt.Println(err, orders.Err())

	// Output:
	// <nil> <nil>
}

type outsideMigrations struct{ *txntest.LockOrder }

func (o outsideMigrations) Observe(ctx context.Context, e txn.Event) {
	if e.Transaction().Label != "migrate" {
		o.LockOrder.Observe(ctx, e)
	}
}
