package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

func demoCommand(d *demo) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Move money under load and faults, and show that none was lost",
		Long: `Demo starts a throw-away PostgreSQL server of its own, with fsync on, migrates it,
opens accounts, and lets many goroutines transfer money between them. Some of the
transfers deadlock with one another, some ask for more than there is, some are sent
by two at once. All the while the server kills connections that are at work, and
a proxy breaks others on the way, before or after any message. Some of each end between
a COMMIT and its answer: then the server is asked what became of the transaction, and
what was not committed is tried again.

At the end it compares what every call reported with what the database holds, and
fails (exit code 1) if money or a request was lost or doubled, or a call told
something else than the truth, or could not tell, or fewer faults than asked for hit
a transaction.

It never touches an existing database. Server and data are gone afterwards, however
the program ends.`,
		Example: `  interlock demo
  interlock demo --transfers 100000 --kills 1000 --cuts 0 --postgres npm
  interlock demo --seed 7 --json | jq .sums`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.check(); err != nil {
				return &usageError{err}
			}
			return d.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntVar(&d.accounts, "accounts", 300, "how many accounts to open")
	f.IntVar(&d.transfers, "transfers", 30_000, "how many transfers to ask for; more follow if the faults\nare not done by then")
	f.IntVar(&d.workers, "workers", 32, "how many goroutines ask")
	f.IntVar(&d.kills, "kills", 220, "how many connections the server kills in the middle of a transaction")
	f.IntVar(&d.cuts, "cuts", 60, "how many connections break on the way in the middle of a transaction")
	f.IntVar(&d.commits, "commits", 30, "how many of the kills, and how many of the cuts, are between a COMMIT and its answer,\nat least")
	f.Uint64Var(&d.seed, "seed", 0, "ask for the same transfers as an earlier run (default: one by chance)")
	f.StringVar(&d.postgres, "postgres", "", "which PostgreSQL: installed, npm (fetched), a major version, or an absolute directory\nof binaries (default $INTERLOCK_TEST_POSTGRES, else the newest found)")
	f.BoolVar(&d.json, "json", false, "print the result as JSON")
	return cmd
}

// A demo is one run of the command.
type demo struct {
	accounts, transfers, workers int
	kills, cuts, commits         int
	seed                         uint64
	postgres                     string
	json                         bool

	beforeReport func(context.Context, *pgxpool.Pool) error // for tests: as the superuser
}

func (d *demo) check() error {
	switch {
	case d.accounts < 4:
		return errors.New("demo: --accounts must be at least 4")
	case d.transfers < 1:
		return errors.New("demo: --transfers must be at least 1")
	case d.workers < 1, d.workers > maxWorkers:
		return fmt.Errorf("demo: --workers must be 1 to %d", maxWorkers)
	case d.kills < 0, d.cuts < 0, d.commits < 0:
		return errors.New("demo: --kills, --cuts and --commits must not be negative")
	}
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

	l := newLoad(d, s)
	if err := l.open(ctx); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "%d accounts are open; %d goroutines ask for %d transfers (seed %d)\n",
		d.accounts, d.workers, d.transfers, d.seed)
	show := startProgress(stderr, l.line)
	err = l.run(ctx)
	show.stop()
	if err != nil {
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

func (d *demo) print(w io.Writer, r *report) error {
	if d.json {
		return printJSON(w, r)
	}
	return r.print(w)
}
