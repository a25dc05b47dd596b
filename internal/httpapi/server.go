package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the server. Writing may take as long as reading the request, working on it, and
// finding out what became of its COMMIT together.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 60 * time.Second
	maxHeader     = 16 << 10

	// cutGrace is how long requests whose time is over may take to end their transactions.
	cutGrace = 6 * time.Second
)

// errStopping is why the context of a request ended that went on for longer than the grace.
var errStopping = errors.New("httpapi: the server stops")

// Serve answers requests on l until ctx ends. Then it stops to listen, lets the requests finish
// that have begun, and returns nil; after the grace, those that go on are ended, and it returns
// an error. In any case no handler runs any more when it returns, unless one does not come to
// an end by itself.
func (a *API) Serve(ctx context.Context, l net.Listener) error {
	base, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	s := &http.Server{
		Handler:           a,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("listen: %w", errors.Join(err, s.Close()))
	case <-ctx.Done():
	}
	a.stopping.Store(true)
	a.logger.Info("stopping", "grace", a.grace)
	err := finish(s, a.grace)
	if err == nil {
		return nil
	}
	cut(errStopping)
	if later := finish(s, cutGrace); later != nil {
		return errors.Join(err, s.Close())
	}
	return err
}

func finish(s *http.Server, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return fmt.Errorf("requests did not finish within %s: %w", within, err)
	}
	return nil
}
