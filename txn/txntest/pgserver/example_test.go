package pgserver_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// ask returns the single value of a query, as text.
func ask(url, sql string) string {
	ctx := context.Background()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	var value string
	if err := c.QueryRow(ctx, sql).Scan(&value); err != nil {
		log.Fatal(err)
	}
	return value
}

// started starts a server for an example.
func started() (server *pgserver.Server, stop func()) {
	server, err := pgserver.Start(context.Background(), pgserver.Config{NoSync: true})
	if err != nil {
		log.Fatal(err)
	}
	return server, func() {
		if err := server.Stop(); err != nil {
			log.Fatal(err)
		}
	}
}

// shared is the server that the tests of a process have in common.
func shared() *pgserver.Server {
	server, err := pgserver.Shared(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	return server
}

// A server for a demonstration: with a setting of its own, and gone afterwards.
func ExampleStart() {
	server, err := pgserver.Start(context.Background(), pgserver.Config{
		NoSync:   true,
		Settings: map[string]string{"max_prepared_transactions": "10"},
	})
	if missing, ok := errors.AsType[*pgserver.NotFoundError](err); ok {
		log.Fatal(missing) // says how to get PostgreSQL
	} else if err != nil {
		log.Fatal(err)
	}
	defer server.Stop()
	fmt.Println(ask(server.AppURL("postgres"), "show max_prepared_transactions"))

	// Output:
	// 10
}

// Stop takes all of it away. A second one does nothing.
func ExampleServer_Stop() {
	server, _ := started()
	fmt.Println(server.Stop())
	fmt.Println(server.Stop())

	_, err := pgx.Connect(context.Background(), server.AppURL("postgres"))
	fmt.Println(err != nil)

	// Output:
	// <nil>
	// <nil>
	// true
}

// All who ask get the same.
func ExampleShared() {
	a, b := shared(), shared()
	fmt.Println(a == b, a.AppURL("postgres") == b.AppURL("postgres"))

	// Output:
	// true true
}

// What restarts or crashes a server asks first whether it is anybody else's.
func ExampleServer_Private() {
	server, stop := started()
	defer stop()
	fmt.Println(server.Private())

	// Output:
	// true
}

// Programs and tests connect as the role that owns nothing.
func ExampleServer_AppURL() {
	fmt.Println(ask(shared().AppURL("postgres"), "select current_user"))

	// Output:
	// interlock_app
}

// Databases are made, and migrated, by their owner.
func ExampleServer_OwnerURL() {
	url := shared().OwnerURL("postgres")
	fmt.Println(ask(url, "select current_user"))
	fmt.Println(ask(url, "select rolcreatedb::text from pg_roles where rolname = current_user"))

	// Output:
	// interlock_owner
	// true
}

// The superuser is for what nobody else may do, such as to end others' sessions.
func ExampleServer_AdminURL() {
	fmt.Println(ask(shared().AdminURL("postgres"), "show is_superuser"))

	// Output:
	// on
}

// A program of the server's own version, if its PostgreSQL has it. Not all have pg_dump, say.
func ExampleServer_Program() {
	server, stop := started()
	defer stop()
	out, err := exec.Command(server.Program("postgres"), "--version").Output()
	fmt.Println(strings.HasPrefix(string(out), "postgres (PostgreSQL) "), err)
	fmt.Printf("%q\n", server.Program("no-such-program"))

	// Output:
	// true <nil>
	// ""
}

// The number is made for comparing.
func ExampleServer_VersionNum() {
	server := shared()
	fmt.Println(server.VersionNum() >= 140000)
	fmt.Println(fmt.Sprint(server.VersionNum()) == ask(server.AppURL("postgres"), "show server_version_num"))

	// Output:
	// true
	// true
}

// A restart ends the sessions, and keeps what was committed.
func ExampleServer_Restart() {
	ctx := context.Background()
	server, stop := started()
	defer stop()
	c, err := pgx.Connect(ctx, server.OwnerURL("template1"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	if err := server.Restart(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Ping(ctx) != nil)
	fmt.Println(ask(server.OwnerURL("template1"), "select 'here'"))

	// Output:
	// true
	// here
}

// A crash is recovered from: what was committed is there, what was not is gone.
func ExampleServer_Crash() {
	ctx := context.Background()
	server, stop := started()
	defer stop()
	url := server.AdminURL("postgres")
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	for _, sql := range []string{
		"create table marks (name text)",
		"insert into marks values ('committed')",
		"begin; insert into marks values ('open')",
	} {
		if _, err := c.Exec(ctx, sql); err != nil {
			log.Fatal(err)
		}
	}
	if err := server.Crash(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ask(url, "select string_agg(name, ', ') from marks"))

	// Output:
	// committed
}

// A server that is down for a second, as programs meet it: they are refused, and find it again.
func ExampleServer_Outage() {
	ctx := context.Background()
	server, stop := started()
	defer stop()
	back := make(chan error, 1)
	go func() { back <- server.Outage(ctx, pgserver.Outage{Crash: true, For: time.Second}) }()
	for {
		c, err := pgx.Connect(ctx, server.OwnerURL("template1"))
		if err != nil {
			fmt.Println("refused")
			break
		}
		_ = c.Close(ctx) // not down yet
	}
	if err := <-back; err != nil {
		log.Fatal(err)
	}
	fmt.Println(ask(server.OwnerURL("template1"), "select 'here'"))

	// Output:
	// refused
	// here
}

// Reads on a standby see what was committed on the primary, a moment later, and it takes no
// writes.
func ExampleStartStandby() {
	primary, stop := started()
	defer stop()
	standby, err := pgserver.StartStandby(context.Background(), primary, pgserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer standby.Stop()
	fmt.Println(ask(standby.AppURL("postgres"), "select pg_is_in_recovery()::text"))

	// Output:
	// true
}

// The standby takes over: what a program does then is what a test wants to know.
func ExampleServer_Promote() {
	ctx := context.Background()
	primary, stop := started()
	defer stop()
	standby, err := pgserver.StartStandby(ctx, primary, pgserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer standby.Stop()
	if err := primary.Stop(); err != nil {
		log.Fatal(err)
	}
	if err := standby.Promote(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ask(standby.OwnerURL("postgres"), "select pg_is_in_recovery()::text"))

	// Output:
	// false
}
