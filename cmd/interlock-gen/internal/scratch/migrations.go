package scratch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Apply runs the schema in the database of url. The paths are files, folders and patterns,
// relative to dir and read as sqlc reads them. Folders of migrations are migrated up, those
// for goose by goose itself; other SQL files are run in order. Split cuts a file into
// statements, where it cannot be run as one transaction.
func Apply(ctx context.Context, url, dir string, paths []string, split Split) error {
	files, err := Files(dir, paths)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("the schema has no SQL files: %s", strings.Join(paths, ", "))
	}
	parts, err := detect(dir, files)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	goose := 0
	for _, p := range parts {
		if p.format == formatGoose {
			err = migrate(ctx, url, dir, p.folder, goose)
			goose++
		} else {
			err = run(ctx, conn.PgConn(), dir, p, split)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Split cuts a text of SQL into its statements.
type Split func(sql string) ([]string, error)

// A part of the schema is what comes from one folder, in one format.
type part struct {
	folder string
	format *format
	files  []string // relative to the project
}

// A format of migrations is known by a line that begins with mark. What stands in the same
// file behind a line that begins with down takes the migration back.
type format struct{ name, mark, down string }

var (
	formatPlain   = &format{name: "plain SQL"}
	formatGoose   = &format{name: "a migration for goose", mark: "-- +goose up"}
	formatMigrate = &format{name: "a migration for golang-migrate"} // known by the file's name
	formats       = []*format{
		formatGoose,
		{"a migration for sql-migrate", "-- +migrate up", "-- +migrate down"},
		{"a migration for dbmate", "-- migrate:up", "-- migrate:down"},
		{"a migration for tern", "---- create above / drop below ----", "---- create above / drop below ----"},
	}
)

// detect finds out the formats, and refuses folders that mix them: one of the tools would
// not run the files of the other.
func detect(dir string, files []string) (parts []*part, err error) {
	first := map[string]string{} // the first file of each folder
	found := map[string]*format{}
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		f, folder := formatOf(file, string(source)), filepath.Dir(file)
		if found[folder] == nil {
			found[folder], first[folder] = f, file
		}
		if other := found[folder]; f != other {
			return nil, fmt.Errorf("%s is %s, and %s is %s: the schema in a folder is of one format", first[folder], other.name, file, f.name)
		}
		if n := len(parts); n == 0 || parts[n-1].folder != folder {
			parts = append(parts, &part{folder: folder, format: f})
		}
		last := parts[len(parts)-1]
		last.files = append(last.files, file)
	}
	for _, p := range parts {
		if p.format == formatMigrate {
			slices.SortStableFunc(p.files, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
		}
	}
	return parts, nil
}

func formatOf(file, source string) *format {
	if strings.HasSuffix(file, ".up.sql") {
		return formatMigrate
	}
	for line := range strings.Lines(strings.ToLower(source)) {
		for _, f := range formats {
			if strings.HasPrefix(line, f.mark) {
				return f
			}
		}
	}
	return formatPlain
}

// version is the number with which golang-migrate orders its files, so that 9 comes before
// 10.
func version(file string) uint64 {
	base := filepath.Base(file)
	digits := base[:len(base)-len(strings.TrimLeft(base, "0123456789"))]
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}

// up is the part of a migration that is run.
func (f *format) up(source string) string {
	at := 0
	for line := range strings.Lines(source) {
		if f.down != "" && strings.HasPrefix(strings.ToLower(line), f.down) {
			return source[:at]
		}
		at += len(line)
	}
	return source
}

// migrate lets goose migrate up the folder that is the nth of its own.
func migrate(ctx context.Context, url, dir, folder string, n int) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if n > 0 {
		options = append(options, goose.WithTableName(fmt.Sprintf("goose_db_version_%d", n)))
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS(filepath.Join(dir, folder)), options...)
	if err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	return nil
}

// run runs the files of a part.
func run(ctx context.Context, conn *pgconn.PgConn, dir string, p *part, split Split) error {
	for _, file := range p.files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if err := execute(ctx, conn, p.format.up(string(source)), split); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// execute runs the statements of a file. Sent together they are one transaction, in which
// some cannot run, such as CREATE INDEX CONCURRENTLY: then they are sent one by one.
func execute(ctx context.Context, conn *pgconn.PgConn, source string, split Split) error {
	_, err := conn.Exec(ctx, source).ReadAll()
	refused := (*pgconn.PgError)(nil)
	if !errors.As(err, &refused) || refused.Code != activeTransaction && refused.Code != newEnumValue {
		return err
	}
	statements, splitErr := split(source)
	if splitErr != nil {
		return splitErr
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}

// SQLSTATEs of what needs a transaction of its own.
const (
	activeTransaction = "25001" // a statement that begins and commits by itself
	newEnumValue      = "55P04" // a value of an enum that the transaction has added
)

// Files lists the SQL files of the paths, in the order in which sqlc reads them.
func Files(dir string, paths []string) ([]string, error) {
	var found []string
	for _, path := range paths {
		matches := []string{filepath.Join(dir, path)}
		if strings.ContainsAny(path, "*?[]") {
			var err error
			if matches, err = filepath.Glob(matches[0]); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		for _, match := range matches {
			entries, err := os.ReadDir(match)
			if err != nil {
				if _, err := os.Stat(match); err != nil {
					return nil, err
				}
				found = append(found, match)
			}
			for _, entry := range entries {
				found = append(found, filepath.Join(match, entry.Name()))
			}
		}
	}
	var files []string
	for _, file := range found {
		base := filepath.Base(file)
		if !strings.HasSuffix(base, ".sql") || strings.HasSuffix(base, ".down.sql") || strings.HasPrefix(base, ".") {
			continue
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return nil, err
		}
		files = append(files, rel)
	}
	return files, nil
}
