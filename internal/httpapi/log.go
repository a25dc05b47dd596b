package httpapi

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/interlock-go/interlock/txn"
)

// requestIDHeader is where a proxy's request id comes in, and where each answer has its own.
const requestIDHeader = "X-Request-ID"

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// A record is what is logged of a request.
type record struct {
	id      string
	route   string // "" if there is none
	status  int
	problem string // "" if there is none
	err     error  // behind a problem that is not the client's

	// Of a request whose outcome is unknown, what a client is told.
	keyed    bool   // it has an Idempotency-Key
	repeated string // what a repetition shows, if it has none

	mu           sync.Mutex // Observe may be called from other goroutines
	transactions []transaction
}

// A transaction is one that the request ran.
type transaction struct {
	Label      string `json:"label"`
	Attempts   int    `json:"attempts"`
	Outcome    string `json:"outcome"`
	RoundTrips int    `json:"round_trips"` // of the last attempt
}

type recordKey struct{}

// recordOf is the record of the request that the context belongs to. Outside of requests it
// is one that nobody reads.
func recordOf(ctx context.Context) *record {
	if rec, ok := ctx.Value(recordKey{}).(*record); ok {
		return rec
	}
	return &record{}
}

// logged gives a request its record, and writes it when the request was answered.
func (a *API) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &record{id: r.Header.Get(requestIDHeader)}
		if !requestID.MatchString(rec.id) {
			rec.id = rand.Text()
		}
		w.Header().Set(requestIDHeader, rec.id)
		r = r.WithContext(context.WithValue(r.Context(), recordKey{}, rec))
		start := time.Now()
		defer func() { a.log(r, rec, time.Since(start)) }()
		next.ServeHTTP(w, r)
	})
}

func (a *API) log(r *http.Request, rec *record, took time.Duration) {
	rec.mu.Lock()
	transactions := slices.Clone(rec.transactions)
	rec.mu.Unlock()
	level := slog.LevelInfo
	switch {
	case rec.status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
	case rec.status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("route", rec.route), slog.String("path", r.URL.Path),
		slog.Int("status", rec.status), slog.Duration("duration", took),
	}
	if rec.problem != "" {
		attrs = append(attrs, slog.String("problem", rec.problem))
	}
	if len(transactions) > 0 {
		attrs = append(attrs, slog.Any("transactions", transactions))
	}
	if rec.err != nil {
		attrs = append(attrs, slog.String("error", rec.err.Error()))
	}
	a.logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// An Observer notes the transactions of a request for its record: put one into
// txn.Config.Observers.
type Observer struct{}

// Observe is called by package txn.
func (Observer) Observe(ctx context.Context, e txn.Event) {
	switch e := e.(type) {
	case txn.CommitEvent:
		note(ctx, e.Info, "committed", e.Usage)
	case txn.RollbackEvent:
		switch {
		case e.Retry:
		case e.Unknown:
			note(ctx, e.Info, "unknown", e.Usage)
		default:
			note(ctx, e.Info, "rolled back", e.Usage)
		}
	}
}

func note(ctx context.Context, i txn.Info, outcome string, u txn.Usage) {
	rec := recordOf(ctx)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.transactions = append(rec.transactions, transaction{i.Label, i.Attempt, outcome, u.RoundTrips})
}

// LogHandler returns a handler that adds the request's id to each record under a request's
// context, such as those of txn.NewSlogObserver.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := recordOf(ctx).id; id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
