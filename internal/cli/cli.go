// Package cli is the command interlock: what talks to a database.
//
// Its demonstration doubles as an example of a program on top of the services: stage.go and
// load.go are how such a program opens its database and calls a service under load.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // the command ran and failed, or was interrupted
	exitUsage = 2 // the command line was wrong; nothing was done
)

// A usageError is a command line that cannot be right.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errInterrupted stands for whatever failed because the user did not want to wait for it.
var errInterrupted = errors.New("interrupted")

// Main runs the command line args and returns the process's exit code. SIGINT and SIGTERM
// cancel what is running; a second one ends the process.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, rootCommand(&demo{}), args, stdout, stderr)
}

func run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	switch _, usage := errors.AsType[*usageError](err); {
	case err == nil:
		return exitOK
	case usage:
		fmt.Fprintf(stderr, "interlock: %v\nRun 'interlock --help' for usage.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "interlock: %v\n", err)
	return exitError
}

func rootCommand(d *demo) *cobra.Command {
	root := &cobra.Command{
		Use:   "interlock",
		Short: "Typed transactions for PostgreSQL: demonstration, HTTP API, jobs and migrations",
		Long: `Interlock runs the reference application of the transaction layer: demo shows the
layer at work under load and faults, serve offers its services by HTTP, worker does what
they leave for later, migrate brings a database to the application's schema.

Results go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed or interrupted, 2 wrong usage (nothing was done).`,
		Example: `  interlock demo
  interlock migrate up --database-url postgres://owner@db.example.com/shop`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(demoCommand(d), serveCommand(), workerCommand(), migrateCommand())
	asUsage(root)
	return root
}

// asUsage makes every command's complaint about its command line a usage error, which shows no
// more of it than names: a database's URL in the wrong place may hold a password.
func asUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		// The error about an unknown letter shows the whole word.
		if e, ok := errors.AsType[unknownFlagError](err); ok && e.GetSpecifiedShortnames() != "" {
			err = fmt.Errorf("unknown flag: -%s", e.GetSpecifiedName())
		}
		return &usageError{err}
	})
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case cmd.HasSubCommands() && !strings.ContainsAny(args[0], ":=@"):
			return &usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())}
		}
		return &usageError{fmt.Errorf("%s takes no argument of this kind", cmd.CommandPath())}
	}
	for _, sub := range cmd.Commands() {
		asUsage(sub)
	}
}

// An unknownFlagError is the flag package's.
type unknownFlagError interface {
	error
	GetSpecifiedName() string
	GetSpecifiedShortnames() string // the word in which the letter is
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// printJSON writes a result for a program to read.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
