// Lockorder finds the orders of locks that can end in a deadlock and that no package's tests
// show by themselves: one service locks users and then accounts, another one accounts and then
// users. It reads what the tests wrote, and runs none.
//
//	folder=$(mktemp -d)
//	INTERLOCK_LOCK_ORDER_DIR=$folder go test ./...
//	go run github.com/interlock-go/interlock/txn/txntest/lockorder $folder
//
// The packages whose TestMain calls txntest.LockOrder.Run take part. The exit code is 1 if
// something was found, or the folder could not be read, and 2 if the command line was wrong.
package main

import (
	"fmt"
	"io"
	"os"
	"path"

	"github.com/interlock-go/interlock/txn/txntest"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: lockorder FOLDER, the one that INTERLOCK_LOCK_ORDER_DIR named when the tests ran")
		return 2
	}
	merged, err := txntest.MergeLockOrders(args[0])
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if err := merged.Err(); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if len(merged.Packages) == 0 {
		fmt.Fprintln(stdout, "lock order: no tests wrote what they saw")
		return 0
	}
	fmt.Fprintf(stdout, "lock order: no cycle between the tests of %d packages:", len(merged.Packages))
	for _, p := range merged.Packages {
		fmt.Fprintf(stdout, " %s", path.Base(p))
	}
	fmt.Fprintln(stdout)
	return 0
}
