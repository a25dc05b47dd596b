// Mutants shows that the tests can fail: it breaks the code in one line at a time, as the
// table says, and demands that the named test notices.
//
//	go run ./internal/mutants            # all, from the repository's root
//	go run ./internal/mutants 'budget'   # those whose rule, file or test matches
//
// It works on copies of the tree. The named tests must pass there before anything is changed.
// A change that does not compile, or for which no test was run, is a fault of the table and no
// success. The exit code is 1 if a change went unnoticed, or could not be judged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutants: ")
	workers := flag.Int("workers", 2, "how many `copies` of the tree to work on at once")
	limit := flag.Duration("limit", 2*time.Minute, "how long a test may take")
	output := flag.Bool("output", false, "print what the failing tests say")
	flag.Parse()
	pattern, err := regexp.Compile(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	chosen := slices.DeleteFunc(slices.Clone(table), func(m mutant) bool {
		return !pattern.MatchString(m.rule) && !pattern.MatchString(m.file) && !pattern.MatchString(m.test)
	})
	if len(chosen) == 0 {
		log.Fatalf("nothing in the table matches %q", flag.Arg(0))
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := runner{root: ".", limit: *limit, workers: *workers, output: *output, out: os.Stdout}
	ok, err := r.onServer(ctx, chosen)
	if err != nil {
		log.Print(err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// onServer runs all tests on one server, so that each need not start its own. It is not one
// that was given: a test that fails keeps its database there.
func (r *runner) onServer(ctx context.Context, mutants []mutant) (ok bool, err error) {
	server, err := pgserver.Start(ctx, pgserver.Config{NoSync: true, Settings: map[string]string{"max_prepared_transactions": "100"}})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	fmt.Printf("date: %s\ncpus: %d\ngo: %s\npostgresql: %d.%d\n", time.Now().UTC().Format(time.DateTime), runtime.NumCPU(),
		runtime.Version(), server.VersionNum()/10000, server.VersionNum()%10000)
	r.env = append(os.Environ(), "INTERLOCK_TEST_DATABASE_URL="+server.AdminURL("postgres"))
	return r.run(ctx, mutants)
}
