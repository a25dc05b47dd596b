// Postgres prints the version of the PostgreSQL that the tests would take, or "none". Its
// argument is a word as in INTERLOCK_TEST_POSTGRES.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func main() {
	server, err := pgserver.Start(context.Background(), pgserver.Config{Version: os.Args[1], NoSync: true})
	if _, ok := errors.AsType[*pgserver.NotFoundError](err); ok {
		fmt.Println("none")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d.%d\n", server.VersionNum()/10000, server.VersionNum()%10000)
	if err := server.Stop(); err != nil {
		log.Fatal(err)
	}
}
