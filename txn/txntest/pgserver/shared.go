package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
)

var shared struct {
	sync.Mutex
	server *Server
	failed *NotFoundError
}

// Shared returns the server that the tests of this process have in common: the one of
// INTERLOCK_TEST_DATABASE_URL, else one started with the first call, without fsync and with
// room for 300 connections and 100 prepared transactions. It ends with the process; nobody
// should Stop, Restart or Crash it.
func Shared(ctx context.Context) (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		return shared.server, nil
	}
	if shared.failed != nil {
		return nil, shared.failed // looked for once, not again for each test
	}
	var err error
	if given := os.Getenv("INTERLOCK_TEST_DATABASE_URL"); given != "" {
		shared.server, err = attach(ctx, given)
	} else {
		shared.server, err = Start(ctx, Config{NoSync: true, Settings: map[string]string{"max_prepared_transactions": "100"}})
	}
	if missing, ok := errors.AsType[*NotFoundError](err); ok {
		shared.failed = missing
	}
	return shared.server, err
}

// attach makes a Server of one that runs already. Errors do not show the URL, which may hold
// a password.
func attach(ctx context.Context, given string) (*Server, error) {
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("pgserver: INTERLOCK_TEST_DATABASE_URL is not of the form postgres://superuser:password@host:port/database")
	}
	s := &Server{base: u}
	if err := s.createRoles(ctx); err != nil {
		return nil, fmt.Errorf("pgserver: INTERLOCK_TEST_DATABASE_URL: %w", err)
	}
	return s, nil
}

// givenURL is the URL of a given server with another user and database.
func givenURL(base *url.URL, user *url.Userinfo, database string) string {
	u := *base
	u.User = user
	u.Path = "/" + database
	q := u.Query()
	for _, name := range []string{"dbname", "database"} {
		q.Del(name)
	}
	if user != base.User {
		q.Del("user")
		q.Del("password")
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}
