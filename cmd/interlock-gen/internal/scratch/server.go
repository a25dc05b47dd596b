package scratch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// A Server has room for scratch databases.
type Server struct {
	url     string // of a database on the server, with a role that may create databases
	made    []string
	private *pgserver.Server // nil: somebody else's
}

// Start starts a private, throw-away server; if databaseURL is given, it uses the server of
// that database instead, whose role must be allowed to create databases there.
func Start(ctx context.Context, databaseURL string) (*Server, error) {
	if databaseURL != "" {
		if _, err := pgx.ParseConfig(databaseURL); err != nil {
			return nil, errors.New("the database URL cannot be parsed (not shown, it may hold a password)")
		}
		return &Server{url: databaseURL}, nil
	}
	private, err := pgserver.Start(ctx, pgserver.Config{NoSync: true})
	if err != nil {
		return nil, fmt.Errorf("start a server to analyse queries on (--database-url names another): %w", err)
	}
	// Migrations may create roles and extensions, which an ordinary role may not.
	return &Server{url: private.AdminURL("postgres"), private: private}, nil
}

// Close drops what Create created and stops the server if it is a private one. It works
// after the context of the other calls has ended.
func (s *Server) Close() error {
	if s.private != nil {
		return s.private.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if len(s.made) == 0 {
		return nil
	}
	return s.run(ctx, func(conn *pgx.Conn) error {
		var errs []error
		for _, name := range s.made {
			if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
				errs = append(errs, fmt.Errorf("drop the scratch database %s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
}

// Create makes an empty database and returns its URL.
func (s *Server) Create(ctx context.Context) (string, error) {
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails
	name := "interlock_gen_" + hex.EncodeToString(random)
	s.made = append(s.made, name)
	err := s.run(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("create a scratch database: %w", err)
	}
	return withDatabase(s.url, name), nil
}

func (s *Server) run(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return fn(conn)
}

// withDatabase is the connection string for another database of the same server, in either
// of the two forms.
func withDatabase(connection, name string) string {
	if strings.HasPrefix(connection, "postgres://") || strings.HasPrefix(connection, "postgresql://") {
		if u, err := url.Parse(connection); err == nil {
			u.Path = "/" + name
			return u.String()
		}
	}
	return connection + " dbname=" + name
}
