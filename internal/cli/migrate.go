package cli

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
	"github.com/spf13/cobra"

	"github.com/interlock-go/interlock/schema"
	"github.com/interlock-go/interlock/txn"
)

func migrateCommand() *cobra.Command {
	m := &migration{}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Migrate a database to the schema of the reference application",
		Long: `Migrate applies or takes back the migrations that are built into this program, with
goose, each in a transaction of its own. Before it does anything it prints host and
database. Several at once wait for one another, for up to five minutes.

There are three sets, each with a version table of its own: app, the tables of the reference
application; txn, the library's table of idempotency keys, which other applications can
take over alone; and river, the tables of the job queue River, by River's own migrator. Up
and status mean all unless --only names some; down means app.

Tables of txn and river are in schemas of those names (interlock, river): the role that the
application connects as needs USAGE of them.

The database is the one of --database-url, else of the environment's ` + databaseVariable + `.
Connect as the role that is to own the tables, and to the server itself: the advisory
lock that the waiting is done with does not work through a connection pooler in
transaction mode. Settings of the session may be part of the URL, such as
?lock_timeout=5s for a database in use.`,
		Example: `  interlock migrate status --database-url postgres://owner@db.example.com/shop
  DATABASE_URL=postgres://owner@db.example.com/shop interlock migrate up --json`,
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("migrate: say up, down or status")}
		},
	}
	cmd.PersistentFlags().StringVar(&m.url, "database-url", "", "database to migrate, as a URL or as key=value words (default $"+databaseVariable+")")
	cmd.PersistentFlags().StringSliceVar(&m.only, "only", nil, "sets to migrate: "+strings.Join(setNames(), ", "))
	cmd.PersistentFlags().BoolVar(&m.json, "json", false, "print the result as JSON")

	up := &cobra.Command{
		Use:   "up",
		Short: "Apply all migrations that are pending",
		RunE:  m.command(migrator.up),
	}
	down := &cobra.Command{
		Use:   "down",
		Short: "Take back the last migration, or all above --to; what its tables hold is lost",
		RunE:  m.command(migrator.down),
	}
	down.Flags().Var(&m.to, "to", "take back all migrations above this version; 0 for all")
	status := &cobra.Command{
		Use:   "status",
		Short: "List the migrations and which are applied; only reads",
		RunE:  m.command(migrator.status),
	}
	cmd.AddCommand(up, down, status)
	return cmd
}

// A set is migrations that belong together, with a version table of their own.
type set struct {
	name string
	open func(context.Context, *pgx.ConnConfig) (migrator, error)
}

// sets are all there are, the application's first.
var sets = []set{
	{"app", ofGoose(schema.FS, goose.DefaultTablename)},
	{"txn", ofGoose(txn.Migrations, "interlock_txn_version")},
	{"river", openRiver},
}

// A migrator brings one set up and down in one database. What was done is returned also when
// it failed halfway.
type migrator interface {
	up(context.Context, target) ([]step, error)
	down(context.Context, target) ([]step, error)
	status(context.Context, target) ([]step, error) // only reads
	close() error
}

func setNames() (names []string) {
	for _, s := range sets {
		names = append(names, s.name)
	}
	return names
}

// A migration is one run of the command.
type migration struct {
	url  string
	only []string
	json bool
	to   target
}

// chosen returns the sets that the command means.
func (m *migration) chosen(command string) (chosen []set, err error) {
	for _, name := range m.only {
		i := slices.IndexFunc(sets, func(s set) bool { return s.name == name })
		if i < 0 {
			return nil, &usageError{fmt.Errorf("migrate: no set is called %q: there are %s", name, strings.Join(setNames(), ", "))}
		}
		chosen = append(chosen, sets[i])
	}
	switch {
	case len(chosen) == 0 && command == "down":
		return sets[:1], nil
	case len(chosen) == 0:
		return sets, nil
	case len(chosen) > 1 && command == "down":
		return nil, &usageError{errors.New("migrate down: name one set")}
	}
	return chosen, nil
}

// A target is the version to go down to, if one was given.
type target struct {
	version int64
	given   bool
}

func (t *target) Type() string { return "version" }

func (t *target) String() string {
	if !t.given {
		return ""
	}
	return strconv.FormatInt(t.version, 10)
}

func (t *target) Set(s string) error {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 {
		return errors.New("not a version: versions are whole numbers from 0")
	}
	*t = target{v, true}
	return nil
}

// A step is a migration as the command reports it.
type step struct {
	Set        string `json:"set"`
	Version    int64  `json:"version"`
	File       string `json:"file"`  // "" for one that this program does not have
	State      string `json:"state"` // applied, reverted, pending, or unknown: applied, and not in this program
	DurationMS int64  `json:"duration_ms,omitempty"`
}

// command runs do on each set against the database that the flags name. What was done is
// printed also when it failed halfway.
func (m *migration) command(do func(migrator, context.Context, target) ([]step, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		cfg, err := m.target()
		if err != nil {
			return err
		}
		chosen, err := m.chosen(cmd.Name())
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "migrate %s: database %q on %s as %s\n", cmd.Name(), cfg.Database, hosts(cfg), cfg.User)
		var all []step
		for _, s := range chosen {
			var steps []step
			if steps, err = s.migrate(cmd.Context(), cfg, m.to, do); err != nil {
				err = fmt.Errorf("migrate %s: %w", cmd.Name(), err)
			}
			all = append(all, steps...)
			if err != nil {
				break
			}
		}
		if err != nil && len(all) == 0 {
			return err
		}
		return errors.Join(err, m.print(cmd.OutOrStdout(), all))
	}
}

// migrate runs do on the set.
func (s set) migrate(ctx context.Context, cfg *pgx.ConnConfig, to target, do func(migrator, context.Context, target) ([]step, error)) (steps []step, err error) {
	m, err := s.open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	steps, err = do(m, ctx, to)
	for i := range steps {
		steps[i].Set = s.name
	}
	return steps, err
}

func (m *migration) target() (*pgx.ConnConfig, error) { return databaseOf("migrate", m.url) }

// Waiting for another migration: goose's default would look every five seconds only.
const (
	lockEverySeconds = 1
	lockTries        = 300
)

// A provider is goose on a set's migrations and a database.
type provider struct {
	*goose.Provider
	db    *sql.DB
	table string
}

// ofGoose opens goose on a set's files.
func ofGoose(files fs.FS, table string) func(context.Context, *pgx.ConnConfig) (migrator, error) {
	return func(_ context.Context, cfg *pgx.ConnConfig) (migrator, error) {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockEverySeconds, lockTries))
		if err != nil {
			return nil, err
		}
		db := stdlib.OpenDB(*cfg)
		p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker), goose.WithTableName(table))
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return &provider{p, db, table}, nil
	}
}

func (p *provider) close() error { return p.db.Close() }

func (p *provider) up(ctx context.Context, _ target) ([]step, error) {
	results, err := p.Up(ctx)
	return steps("applied", results, err), err
}

func (p *provider) down(ctx context.Context, to target) ([]step, error) {
	if to.given {
		results, err := p.DownTo(ctx, to.version)
		return steps("reverted", results, err), err
	}
	result, err := p.Down(ctx)
	switch {
	case errors.Is(err, goose.ErrNoNextVersion):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return steps("reverted", []*goose.MigrationResult{result}, nil), nil
}

// status reads goose's table itself: goose would wait for a migration that is running, and
// create the table where there is none.
func (p *provider) status(ctx context.Context, _ target) ([]step, error) {
	tx, err := p.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	applied, err := appliedVersions(ctx, tx, p.table)
	if err != nil {
		return nil, err
	}
	var list []step
	for _, source := range p.ListSources() {
		state := "pending"
		if i := slices.Index(applied, source.Version); i >= 0 {
			state = "applied"
			applied = slices.Delete(applied, i, i+1)
		}
		list = append(list, step{Version: source.Version, File: source.Path, State: state})
	}
	for _, version := range applied {
		list = append(list, step{Version: version, State: "unknown"})
	}
	slices.SortFunc(list, func(a, b step) int { return cmp.Compare(a.Version, b.Version) })
	return list, nil
}

// appliedVersions returns the versions that goose has noted in the database.
func appliedVersions(ctx context.Context, tx *sql.Tx, table string) ([]int64, error) {
	store, err := database.NewStore(goose.DialectPostgres, table)
	if err != nil {
		return nil, err
	}
	var exists bool
	err = tx.QueryRowContext(ctx, "select to_regclass($1) is not null", store.Tablename()).Scan(&exists)
	if err != nil || !exists {
		return nil, err
	}
	noted, err := store.ListMigrations(ctx, tx)
	if err != nil {
		return nil, err
	}
	var versions []int64
	for _, n := range noted {
		if n.Version != 0 { // goose's mark of an empty database
			versions = append(versions, n.Version)
		}
	}
	return versions, nil
}

// steps lists what goose did, which is in the error if it failed halfway.
func steps(state string, results []*goose.MigrationResult, err error) []step {
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}
	var list []step
	for _, r := range results {
		list = append(list, step{Version: r.Source.Version, File: r.Source.Path, State: state, DurationMS: r.Duration.Milliseconds()})
	}
	return list
}

func (m *migration) print(out io.Writer, list []step) error {
	if m.json {
		if list == nil {
			list = []step{}
		}
		return printJSON(out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "nothing to do")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", s.Set, s.Version, s.State, cmp.Or(s.File, "(not in this program)"))
	}
	return w.Flush()
}
