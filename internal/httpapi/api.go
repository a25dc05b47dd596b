package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// Config configures an API.
type Config struct {
	DB *txn.DB // its Observers should have an Observer{}

	// Logger gets a record of each request. Its handler should be a LogHandler.
	Logger *slog.Logger

	// RequestTimeout is how long the work for a request may take. What becomes of a COMMIT that
	// was under way then is still found out, for as long as txn.Config.ResolveTimeout. Default
	// 10 seconds.
	RequestTimeout time.Duration

	// Grace is how long requests may go on after Serve was told to stop. Default 20 seconds.
	Grace time.Duration
}

// Defaults of Config.
const (
	defaultRequestTimeout = 10 * time.Second
	defaultGrace          = 20 * time.Second
)

// An API answers requests. It is an http.Handler; Serve is a server for it.
type API struct {
	db       *txn.DB
	logger   *slog.Logger
	timeout  time.Duration
	grace    time.Duration
	mux      *http.ServeMux
	patterns []string     // of mux
	handler  http.Handler // mux, and what is around it
	stopping atomic.Bool
}

// New returns an API on the services.
func New(c Config) *API {
	a := &API{db: c.DB, logger: c.Logger, timeout: c.RequestTimeout, grace: c.Grace, mux: http.NewServeMux()}
	if a.timeout == 0 {
		a.timeout = defaultRequestTimeout
	}
	if a.grace == 0 {
		a.grace = defaultGrace
	}
	a.health()
	a.accounts()
	a.orders()
	a.bookings()
	a.posts()
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(answering(func(*http.Request) (answer, error) { return answer{}, refuse(crossOrigin, "") }))
	a.handler = a.logged(a.recovering(origins.Handler(http.HandlerFunc(a.route))))
	return a
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// route finds the request's handler. The mux would answer in plain text where it has none, and
// redirect from a path such as /transfers/../users, past the record of the request.
func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.EscapedPath(); p != path.Clean(p) {
		write(w, r, problemAnswer(r, refuse(notFound, "")))
		return
	}
	if _, pattern := a.mux.Handler(r); pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	var says unmatched
	a.mux.ServeHTTP(&says, r)
	kind := notFound
	if says.status == http.StatusMethodNotAllowed {
		kind = methodNotAllowed
		w.Header().Set("Allow", says.Header().Get("Allow"))
	}
	write(w, r, problemAnswer(r, refuse(kind, "")))
}

// unmatched keeps what the mux says to a request that it has no handler for.
type unmatched struct {
	header http.Header
	status int
}

func (u *unmatched) Header() http.Header {
	if u.header == nil {
		u.header = http.Header{}
	}
	return u.header
}
func (u *unmatched) Write(p []byte) (int, error) { return len(p), nil }
func (u *unmatched) WriteHeader(status int)      { u.status = status }

// An answer is what a handler has to say.
type answer struct {
	status      int
	body        any // as JSON
	contentType string
	retryAfter  time.Duration
}

// handle lets a handler answer the requests of a pattern, within the time that there is for one.
func (a *API) handle(pattern string, h func(*http.Request) (answer, error)) {
	a.patterns = append(a.patterns, pattern)
	a.mux.Handle(pattern, answering(func(r *http.Request) (answer, error) {
		ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
		defer cancel()
		recordOf(r.Context()).route = r.Pattern
		got, err := h(r.WithContext(ctx))
		if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
			err = &lateError{err}
		}
		return got, err
	}))
}

// answering writes what a handler answers, or the problem that its error is.
func answering(h func(*http.Request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		got, err := h(r)
		if err != nil {
			got = problemAnswer(r, err)
		}
		write(w, r, got)
	})
}

func write(w http.ResponseWriter, r *http.Request, a answer) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(a.body); err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", a.body, err)) // of this package's own types
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(a.retryAfter/time.Second)))
	}
	recordOf(r.Context()).status = a.status
	w.WriteHeader(a.status)
	_, _ = body.WriteTo(w) // who does not listen any more has to ask again
}

// recovering makes a problem of a panic. The transaction that it went through is rolled back.
func (a *API) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			a.logger.ErrorContext(r.Context(), "panic", "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			write(w, r, problemAnswer(r, refuse(internal, "")))
		}()
		next.ServeHTTP(w, r)
	})
}
