// Package txntest tests transactions against a real PostgreSQL server: a database for each
// test, a check at the test's end that nothing was left open, barriers that force an
// interleaving, and a proxy that counts round trips and breaks connections where a test says.
//
//	var schema = txntest.SQL("create table counters (id int primary key, n int not null)")
//
//	func TestIncrement(t *testing.T) {
//		t.Parallel()
//		database := txntest.NewDatabase(t, schema)
//		db := txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{}) // as the ordinary role
//		…
//	}
//
// The server is the one of [pgserver.Shared]: a private one, started with the first test, or
// the one that INTERLOCK_TEST_DATABASE_URL names.
//
// # A database per test
//
// The schema is applied once per server to a template database, which is then cloned for
// each test, in some tens of milliseconds. Databases are dropped at the end of their test.
// That of a failed test is kept, and the test's log says how to connect to it. A private
// server ends with the test process: to look at a kept database afterwards, run the test
// against a server of yours by INTERLOCK_TEST_DATABASE_URL. There the names of databases
// begin with interlock_test_ and interlock_template_; drop them when you like.
//
// Where the code under test does not mind running in a transaction, [Tx] is quicker: one that
// is rolled back at the test's end, and in which each call that joins has a savepoint.
//
// # Roles
//
// The schema belongs to pgserver.OwnerRole. Tests run as pgserver.AppRole, which may read and
// write rows, use sequences and call functions, and nothing else: what a superuser would be
// allowed hides real failures. [Database.Admin] is the superuser, to inject faults and watch sessions.
//
// # The check at the end
//
// When a test is over and its pools are closed, its database must hold no session, and so no
// open transaction, no prepared transaction and no lock; and the queries given to
// [Database.Invariant] must return no row. [CheckClean] does the same for any database.
//
// # Interleavings
//
// A [Barrier] brings goroutines to one point, and [WaitBlocked] returns when a session waits
// for another's lock. Neither waits for ever.
//
// # Orders of locks
//
// A [LockOrder] watches the transactions of a whole test run, and finds those that could
// deadlock, though they never met: two that take the same locks in different orders. The
// command lockorder does so for the tests of several packages together.
//
// # Round trips and faults
//
// [NewProxy] puts a proxy in front of the database, which counts what passes, makes it take
// longer, and breaks a connection where a [faultproxy.Fault] says:
//
//	proxy := txntest.NewProxy(t, database.AppURL())
//	db, err := txn.Open(ctx, proxy.URL(), txn.Config{})
//	…
//	proxy.Reset()
//	transfer(ctx, db)
//	require.Equal(t, 2, proxy.RoundTrips())
//
//	cut := proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
//	err = transfer(ctx, db)                     // committed, but the answer was lost
//	require.NoError(t, cut.WaitSession(ctx))    // the server has done what it was going to do
//
// What else can go wrong, and where, is in the documentation of package faultproxy. It is a
// package of its own so that programs, which must not link package testing, have it too.
package txntest
