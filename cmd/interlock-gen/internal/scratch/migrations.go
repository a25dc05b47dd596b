package scratch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Apply runs the schema in the database of url. The paths are files, folders and patterns,
// relative to dir and read as sqlc reads them. Folders of migrations for goose are migrated
// up by goose; other SQL files are run in order.
func Apply(ctx context.Context, url, dir string, paths []string) error {
	files, err := Files(dir, paths)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("the schema has no SQL files: %s", strings.Join(paths, ", "))
	}
	format, err := detect(dir, files)
	if err != nil {
		return err
	}
	return format(ctx, url, dir, files)
}

// A format applies files, which are relative to dir.
type format func(ctx context.Context, url, dir string, files []string) error

// marks tell the formats of migrations apart, as sqlc tells them apart.
var marks = []struct {
	mark   string
	name   string
	format format
}{
	{"-- +goose up", "goose", migrate},
	{"-- +migrate up", "sql-migrate", nil},
	{"-- migrate:up", "dbmate", nil},
	{"---- create above / drop below ----", "tern", nil},
}

// detect finds out the format, and refuses those that cannot be applied: running their
// files as they are would also run what takes the migration back.
func detect(dir string, files []string) (format, error) {
	refused := func(file, name string) error {
		return fmt.Errorf("%s is a migration for %s, which is not supported yet: use migrations for goose, or plain SQL files", file, name)
	}
	var found format
	var first string
	for i, file := range files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		name, apply := "plain SQL", format(run)
		switch {
		case strings.HasSuffix(file, ".up.sql"):
			return nil, refused(file, "golang-migrate")
		case exists(filepath.Join(dir, filepath.Dir(file), "atlas.sum")):
			return nil, refused(file, "Atlas")
		}
		for line := range strings.Lines(strings.ToLower(string(source))) {
			for _, m := range marks {
				if strings.HasPrefix(line, m.mark) {
					name, apply = m.name, m.format
				}
			}
		}
		if apply == nil {
			return nil, refused(file, name)
		}
		if i == 0 {
			found, first = apply, name
		} else if name != first {
			return nil, fmt.Errorf("%s is %s, and %s is %s: a schema is of one format", files[0], first, file, name)
		}
	}
	return found, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// migrate lets goose migrate up, one folder after another.
func migrate(ctx context.Context, url, dir string, files []string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	var folders []string
	for _, file := range files {
		if folder := filepath.Dir(file); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	for i, folder := range folders {
		options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
		if i > 0 {
			options = append(options, goose.WithTableName(fmt.Sprintf("goose_db_version_%d", i)))
		}
		provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS(filepath.Join(dir, folder)), options...)
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		if _, err := provider.Up(ctx); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	return nil
}

// run runs plain SQL files.
func run(ctx context.Context, url, dir string, files []string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, file := range files {
		source, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if _, err := conn.PgConn().Exec(ctx, string(source)).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

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
