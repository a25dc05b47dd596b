package db_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Reads that do not depend on one another travel together, with BEGIN and COMMIT: the page of
// a user is one round trip.
func ExampleReadQueries_Queued() {
	ctx := context.Background()
	d, done := open(ctx)
	defer done()
	ada := signedUp(ctx, d, "ada@example.com", "Ada")

	type page struct {
		user     *txn.Pending[db.User]
		accounts *txn.Pending[[]db.Account]
		settings *txn.Pending[db.Setting]
	}
	p, err := txn.WithReadTxValue(ctx, d, txn.Options{Label: "page of a user"},
		func(_ context.Context, rx *txn.ReadTx) (page, error) {
			q := db.NewRead(rx).Queued()
			return page{q.GetUser(ada), q.ListAccountsOfUser(ada), q.GetSettings(ada)}, nil
		})
	if err != nil {
		log.Fatal(err)
	}
	user, err := p.user.Value()
	fmt.Println(user.Name, err)
	accounts, err := p.accounts.Value()
	fmt.Println(len(accounts), err)
	settings, err := p.settings.Value()
	fmt.Println(settings.Locale, err)

	// Output:
	// Ada <nil>
	// 1 <nil>
	// en <nil>
}

// The account is read under a lock, since its status decides; the rest can wait, and travels
// with COMMIT.
func ExampleQueries_Queued() {
	ctx := context.Background()
	d, done := open(ctx)
	defer done()
	ada := signedUp(ctx, d, "ada@example.com", "Ada")
	accounts, err := db.Autocommit(d).ListAccountsOfUser(ctx, ada)
	if err != nil {
		log.Fatal(err)
	}
	account := accounts[0].ID

	freeze := func(ctx context.Context, tx *txn.Tx) error {
		q := db.New(tx)
		locked, err := q.LockAccount(ctx, account)
		if err != nil {
			return err
		}
		if locked.Status != db.AccountStatusOpen {
			return fmt.Errorf("the account is %s", locked.Status)
		}
		q.Queued().SetAccountStatus(db.SetAccountStatusParams{ID: account, Status: db.AccountStatusFrozen})
		q.Queued().AddActivity(db.AddActivityParams{UserID: ada, Action: "freeze", Entity: "accounts", Details: []byte("{}")})
		return nil
	}
	opts := txn.Options{Label: "freeze"}
	fmt.Println(txn.WithTx(ctx, d, opts, freeze))
	fmt.Println(txn.WithTx(ctx, d, opts, freeze))

	// Output:
	// <nil>
	// the account is frozen
}

// Somebody looked at an account, thought, and now closes it, unless it has changed meanwhile.
// One round trip does it or refuses it.
func ExampleQueuedQueries_SetAccountStatusAtVersion() {
	ctx := context.Background()
	d, done := open(ctx)
	defer done()
	ada := signedUp(ctx, d, "ada@example.com", "Ada")
	accounts, err := db.Autocommit(d).ListAccountsOfUser(ctx, ada)
	if err != nil {
		log.Fatal(err)
	}
	seen := accounts[0]

	closeIt := func(_ context.Context, tx *txn.Tx) error {
		q := db.New(tx).Queued()
		q.SetAccountStatusAtVersion(db.SetAccountStatusAtVersionParams{
			ID: seen.ID, Version: seen.Version, Status: db.AccountStatusClosed,
		})
		q.AddActivity(db.AddActivityParams{UserID: ada, Action: "close", Entity: "accounts", Details: []byte("{}")})
		return nil
	}
	opts := txn.Options{Label: "close account"}
	fmt.Println(txn.WithTx(ctx, d, opts, closeIt))

	err = txn.WithTx(ctx, d, opts, closeIt) // a second click, on a page that shows the account open
	fmt.Println(errors.Is(err, txn.ErrStale))
	activity, err := db.Autocommit(d).ListActivity(ctx, db.ListActivityParams{UserID: ada, BeforeID: 1000, MaxRows: 10})
	fmt.Println(len(activity), err)

	// Output:
	// <nil>
	// true
	// 1 <nil>
}

// signedUp makes a user with an account.
func signedUp(ctx context.Context, d *txn.DB, email, name string) int64 {
	user, err := txn.WithTxValue(ctx, d, txn.Options{Label: "sign up"}, func(ctx context.Context, tx *txn.Tx) (db.User, error) {
		q := db.New(tx)
		user, err := q.CreateUser(ctx, db.CreateUserParams{Email: email, Name: name})
		if err == nil {
			q.Queued().CreateSettings(user.ID)
			q.Queued().CreateAccount(user.ID)
		}
		return user, err
	})
	if err != nil {
		log.Fatal(err)
	}
	return user.ID
}

// open returns a DB on a database of the example's own.
func open(ctx context.Context) (d *txn.DB, done func()) {
	server, err := pgserver.Shared(ctx)
	if err != nil {
		log.Fatal(err)
	}
	admin, err := pgx.Connect(ctx, server.AdminURL("postgres"))
	if err != nil {
		log.Fatal(err)
	}
	name := "example_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec(ctx, "create database "+name+" owner "+pgserver.OwnerRole); err != nil {
		log.Fatal(err)
	}
	if err := testschema.Migrated.Apply(ctx, server.OwnerURL(name)); err != nil {
		log.Fatal(err)
	}
	if d, err = txn.Open(ctx, server.OwnerURL(name), txn.Config{}); err != nil {
		log.Fatal(err)
	}
	return d, func() {
		d.Close()
		if _, err := admin.Exec(ctx, "drop database "+name+" with (force)"); err != nil {
			log.Fatal(err)
		}
		_ = admin.Close(ctx)
	}
}

// Which queries lock rows of accounts, how, and in which order: where two of them are used in
// one transaction, deadlocks come from here.
func ExampleQueryInfo() {
	for _, q := range db.QueryInfo {
		for _, l := range q.Locks {
			if l.Table == "accounts" && l.Wait == "" {
				fmt.Printf("%-22s %-4s %-17s by %q\n", q.Name, q.Command, l.Strength, l.Order)
			}
		}
	}

	// Output:
	// LockAccount            one  FOR NO KEY UPDATE by ""
	// LockAccountForKeyShare one  FOR KEY SHARE     by ""
	// LockAccountForShare    one  FOR SHARE         by ""
	// LockAccountForUpdate   one  FOR UPDATE        by ""
	// LockAccounts           many FOR NO KEY UPDATE by "id"
	// LockAccountsForShare   many FOR SHARE         by "id"
	// LockReportTables       exec SHARE             by ""
	// SumBalancesForShare    one  FOR SHARE         by "id"
}
