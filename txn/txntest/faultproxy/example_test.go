package faultproxy_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// What a transaction costs, and what becomes of it when the server refuses its COMMIT.
func ExampleProxy() {
	ctx := context.Background()
	server, err := pgserver.Shared(ctx)
	if err != nil {
		log.Fatal(err)
	}
	proxy, err := faultproxy.Start(ctx, server.AppURL("postgres")) // in a test: txntest.NewProxy
	if err != nil {
		log.Fatal(err)
	}
	defer proxy.Close()
	conn, err := pgx.Connect(ctx, proxy.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	transaction := func() error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "select 1", pgx.QueryExecModeExec)
			return err
		})
	}
	proxy.Reset()
	fmt.Println(transaction(), "after", proxy.RoundTrips(), "round trips")

	fault := proxy.Arm(faultproxy.Fault{SQL: "^commit$", Do: faultproxy.Fail{SQLState: "40001"}})
	if refused, ok := errors.AsType[*pgconn.PgError](transaction()); ok {
		fmt.Println(refused.Code, "at COMMIT")
	}
	fmt.Println("fired:", fault.Fired())
	// Output:
	// <nil> after 3 round trips
	// 40001 at COMMIT
	// fired: 1
}
