package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// databaseVariable names the database where no flag does.
const databaseVariable = "DATABASE_URL"

// databaseURL is the database that a command works on: the flag's, or the variable's.
func databaseURL(flag string) string { return cmp.Or(flag, os.Getenv(databaseVariable)) }

// databaseOf says where the database of a command is.
func databaseOf(command, flag string) (*pgx.ConnConfig, error) {
	url := databaseURL(flag)
	if url == "" {
		return nil, &usageError{fmt.Errorf("%s: no database: give --database-url or set %s", command, databaseVariable)}
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil || misread(url) {
		// While it cannot be parsed, nobody knows where in it the password is, and the parser's
		// error may quote it.
		return nil, &usageError{errors.New(command + ": the database URL cannot be parsed (not shown, it may hold a password); " +
			"it has the form postgres://user:password@host:port/database, special characters percent-encoded")}
	}
	return cfg, nil
}

// misread reports whether a URL has an @ behind the place where the host ends. A password
// with a slash in it is the likely reason: a part of it would be taken for the name of the
// database then, and shown.
func misread(url string) bool {
	_, rest, isURL := strings.Cut(url, "://")
	end := strings.IndexAny(rest, "/?#")
	return isURL && end >= 0 && strings.Contains(rest[end:], "@")
}

// hosts says where cfg connects to: to the first of several that answers.
func hosts(cfg *pgx.ConnConfig) string {
	var all []string
	add := func(host string, port uint16) {
		// A host comes twice if it is tried with and without encryption.
		if h := net.JoinHostPort(host, strconv.Itoa(int(port))); !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	add(cfg.Host, cfg.Port)
	for _, f := range cfg.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(all, " or ")
}
