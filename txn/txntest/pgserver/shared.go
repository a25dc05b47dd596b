package pgserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

var shared struct {
	sync.Mutex
	server *Server
}

// Shared returns the server that the tests of this process have in common: the one of
// INTERLOCK_TEST_DATABASE_URL, else one started with the first call, without fsync. It ends
// with the process.
func Shared(ctx context.Context) (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		return shared.server, nil
	}
	var err error
	if given := os.Getenv("INTERLOCK_TEST_DATABASE_URL"); given != "" {
		shared.server, err = attach(ctx, given)
	} else {
		shared.server, err = Start(ctx, Config{NoSync: true, Settings: map[string]string{"max_prepared_transactions": "20"}})
	}
	return shared.server, err
}

// attach makes a Server of one that runs already.
func attach(ctx context.Context, given string) (*Server, error) {
	u, err := url.Parse(given)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") || u.Host == "" {
		return nil, errors.New("pgserver: INTERLOCK_TEST_DATABASE_URL must be a URL, postgres://superuser:password@host:port/database (not shown, it may hold a password)")
	}
	// Every process that is given the same URL finds the same passwords of the two roles.
	sum := sha256.Sum256([]byte("interlock roles\x00" + given))
	s := &Server{base: u, password: hex.EncodeToString(sum[:16])}
	err = s.asAdmin(ctx, func(c *pgx.Conn) error {
		var super bool
		err := c.QueryRow(ctx, "select current_setting('server_version_num')::int, current_setting('is_superuser')::bool").
			Scan(&s.version, &super)
		if err == nil && !super {
			err = errors.New("its role is no superuser")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pgserver: INTERLOCK_TEST_DATABASE_URL: %w", err)
	}
	return s, s.createRoles(ctx)
}
