package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/check"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/generate"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/locks"
	"github.com/interlock-go/interlock/cmd/interlock-gen/internal/project"
)

// version is named in the generated files, so that they change with it.
const version = "v0.1.0"

// databaseVariable names a server to analyse queries with.
const databaseVariable = "INTERLOCK_GEN_DATABASE_URL"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it failed, or the files differ
	exitUsage  = 2 // the command line was wrong; nothing was done
)

// A usageError is a command line that cannot be right.
type usageError struct{ error }

// errDiffers is returned when verify has printed differences.
var errDiffers = errors.New("the generated files are not what would be generated: run interlock-gen generate")

// run runs the command line args and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	case errors.As(err, new(*exitError)):
		return exitFailed
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "interlock-gen: %v\nRun 'interlock-gen --help' for usage.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "interlock-gen: %v\n", err)
	return exitFailed
}

// An exitError is a failure that has been printed.
type exitError struct{}

func (*exitError) Error() string { return "failed" }

// settings are what the flags say.
type settings struct {
	config   string
	database string
	quiet    bool
}

func rootCommand() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "interlock-gen",
		Short: "Generate typed access to PostgreSQL from a schema and queries",
		Long: `Interlock-gen reads sqlc.yaml and writes two Go packages for each of its entries: what
sqlc makes of the queries, in a folder such as db/internal/sqlcgen, and the package on
top of it, such as db, whose types say which query needs which kind of transaction.

The queries are analysed by a PostgreSQL server in a database that is created for the
purpose and dropped again: on a private server, started and removed by each run, or on
the one that --database-url or the environment's ` + databaseVariable + `
names. A run that fails changes no file.

Without a command, interlock-gen generates.

Exit codes: 0 done, 1 failed or files differ, 2 wrong usage.`,
		Args:          cobra.NoArgs,
		RunE:          s.generate,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVarP(&s.config, "config", "c", "", "sqlc's configuration (default: sqlc.yaml here or in a folder above)")
	root.PersistentFlags().StringVar(&s.database, "database-url", "", "database of a role that may create databases, to analyse queries on its server (default $"+databaseVariable+", else a private server)")
	root.PersistentFlags().BoolVarP(&s.quiet, "quiet", "q", false, "print nothing but errors")
	root.AddCommand(
		&cobra.Command{
			Use:   "generate",
			Short: "Write the generated files, and remove those that are generated no more",
			Args:  cobra.NoArgs,
			RunE:  s.generate,
		},
		s.verifyCommand(),
		&cobra.Command{
			Use:   "baseline",
			Short: "Write the warnings that there are to " + check.BaselineName + ", so that only new ones fail",
			Args:  cobra.NoArgs,
			RunE:  s.baseline,
		},
		s.locksCommand(),
		&cobra.Command{
			Use:   "version",
			Short: "Print the versions of interlock-gen and of sqlc in it",
			Args:  cobra.NoArgs,
			RunE:  printVersion,
		},
		&cobra.Command{
			Use:    workerCommand,
			Hidden: true,
			Args:   cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if generate.Worker(cmd.InOrStdin(), cmd.ErrOrStderr()) != 0 {
					return &exitError{}
				}
				return nil
			},
		},
	)
	root.CompletionOptions.HiddenDefaultCmd = true
	asUsage(root)
	return root
}

// workerCommand runs the part that has a process of its own.
const workerCommand = "worker"

// asUsage makes every complaint about the command line a usage error.
func asUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		asUsage(sub)
	}
}

func (s *settings) options(cmd *cobra.Command) (generate.Options, error) {
	o := generate.Options{Config: s.config, DatabaseURL: s.database, Version: version}
	o.Notice = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+line) }
	if o.DatabaseURL == "" {
		o.DatabaseURL = os.Getenv(databaseVariable)
	}
	var err error
	if o.Config == "" {
		if o.Config, err = project.Find("."); err != nil {
			return o, err
		}
	}
	self, err := os.Executable()
	o.Worker = []string{self, workerCommand}
	return o, err
}

func (s *settings) generate(cmd *cobra.Command, _ []string) error {
	opts, err := s.options(cmd)
	if err != nil {
		return err
	}
	names, err := generate.Generate(cmd.Context(), opts)
	for _, name := range names {
		if !s.quiet {
			fmt.Fprintln(cmd.OutOrStdout(), name)
		}
	}
	return err
}

func (s *settings) verifyCommand() *cobra.Command {
	offline := false
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Fail if a generated file is changed, missing or left over; write nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := s.options(cmd)
			if err != nil {
				return err
			}
			var differences []string
			if offline {
				differences, err = generate.VerifyOffline(opts)
			} else {
				differences, err = generate.Verify(cmd.Context(), opts)
			}
			if err != nil {
				return err
			}
			for _, line := range differences {
				fmt.Fprintln(cmd.ErrOrStderr(), line)
			}
			if len(differences) > 0 {
				return errDiffers
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "compare hashes with those of the last generation: needs no server, and takes the generator to be the same")
	return cmd
}

func (s *settings) baseline(cmd *cobra.Command, _ []string) error {
	opts, err := s.options(cmd)
	if err != nil {
		return err
	}
	n, err := generate.Baseline(cmd.Context(), opts)
	if err == nil && !s.quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d warnings\n", check.BaselineName, n)
	}
	return err
}

func (s *settings) locksCommand() *cobra.Command {
	mermaid := false
	cmd := &cobra.Command{
		Use:   "locks",
		Short: "Print what each query locks, how, and in which order, as Markdown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := s.options(cmd)
			if err != nil {
				return err
			}
			packages, err := generate.Locks(cmd.Context(), opts)
			if err != nil {
				return err
			}
			text := locks.Markdown(packages)
			if mermaid {
				text = locks.Mermaid(packages)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().BoolVar(&mermaid, "mermaid", false, "print the graph alone, for Mermaid")
	return cmd
}

func printVersion(cmd *cobra.Command, _ []string) error {
	fmt.Fprintf(cmd.OutOrStdout(), "interlock-gen %s\n", version)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/sqlc-dev/sqlc" {
				fmt.Fprintf(cmd.OutOrStdout(), "sqlc %s\n", m.Version)
			}
		}
	}
	return nil
}
