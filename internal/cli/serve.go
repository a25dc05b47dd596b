package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
)

func serveCommand() *cobra.Command {
	s := &httpServer{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Offer the services by HTTP",
		Long: `Serve answers HTTP requests on the services of the reference application: it signs users
up, moves money, places orders, books seats and publishes posts. The routes, and what it
answers when it refuses or fails, are in docs/http.md.

There is no authentication, so it listens on the loopback interface unless --listen says
otherwise. Its log is JSON, on standard error.

On SIGINT or SIGTERM it stops to listen, finishes the requests that have begun, and closes
its connections to the database: within 30 seconds, and with exit code 0 if no request had to
be ended. A second signal ends it at once; what was not committed then is rolled back by the
server.

The database is the one of --database-url, else of the environment's ` + databaseVariable + `, migrated
by interlock migrate up. Connect as a role that owns no table. The pool's size may be
part of the URL, such as ?pool_max_conns=20.`,
		Example: `  interlock serve --database-url postgres://app@db.example.com/shop
  curl http://127.0.0.1:8080/readyz`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&s.listen, "listen", "127.0.0.1:8080", "address and port to listen on; port 0 is a free one, which the log names")
	cmd.Flags().StringVar(&s.url, "database-url", "", "database to work on, as a URL or as key=value words (default $"+databaseVariable+")")
	return cmd
}

// An httpServer is one run of the command.
type httpServer struct {
	listen string
	url    string
}

// Limits of the server's work on the database.
const (
	requestTimeout = 10 * time.Second
	lockTimeout    = 5 * time.Second
	acquireTimeout = 5 * time.Second
	warnAfter      = 3 * time.Second

	// closePatience is for connections that do not come to an end: after it the process does.
	closePatience = 3 * time.Second
)

func (s *httpServer) run(ctx context.Context, stderr io.Writer) (err error) {
	cfg, err := databaseOf("serve", s.url)
	if err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(s.listen); err != nil {
		return &usageError{fmt.Errorf("serve: --listen needs an address and a port, such as 127.0.0.1:8080: %w", err)}
	}
	logger := slog.New(httpapi.LogHandler(slog.NewJSONHandler(stderr, nil)))
	d, err := txn.Open(ctx, databaseURL(s.url), txn.Config{
		// The server's own limits are for the case that this program has no chance to end what
		// it began.
		Options:        txn.Options{Timeout: requestTimeout, LockTimeout: lockTimeout},
		AcquireTimeout: acquireTimeout,
		LabelAppName:   true,
		Observers:      []txn.Observer{httpapi.Observer{}, txn.NewSlogObserver(logger)},
		WarnAfter:      warnAfter,
	})
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { err = errors.Join(err, closeWithin(d, closePatience)) }()

	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	logger.Info("listening", "address", l.Addr().String(), "database", cfg.Database, "server", hosts(cfg), "user", cfg.User)
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		logger.Warn("everybody who can reach the address can use it: there is no authentication")
	}
	api := httpapi.New(httpapi.Config{DB: d, Logger: logger, RequestTimeout: requestTimeout})
	if err := api.Serve(ctx, l); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	logger.Info("stopped")
	return nil
}

// closeWithin closes the pool, which waits for the connections that are in use.
func closeWithin(d *txn.DB, patience time.Duration) error {
	closed := make(chan struct{})
	go func() { d.Close(); close(closed) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-closed:
		return nil
	case <-timer.C:
		return errors.New("connections to the database are in use, and are left to end with the process")
	}
}
