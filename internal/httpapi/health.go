package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// readyTimeout is how long the database may take to answer a question that it can answer at
// once.
const readyTimeout = 2 * time.Second

// healthy is what both checks answer.
type healthy struct {
	Status string `json:"status"`
}

func (a *API) health() {
	a.handle("GET /healthz", func(*http.Request) (answer, error) {
		return answer{status: http.StatusOK, body: healthy{"alive"}}, nil
	})
	a.handle("GET /readyz", a.ready)
	a.handle("GET /problems/{name}", describe)
}

// ready asks the database for a row that the migrations made: so the tables are there, and the
// role may read them.
func (a *API) ready(r *http.Request) (answer, error) {
	if a.stopping.Load() {
		return answer{}, refuse(unready, "The server stops.")
	}
	opts := txn.Options{Label: "http: ready", Timeout: readyTimeout, MaxAttempts: 1}
	err := txn.WithReadTx(r.Context(), a.db, opts, func(ctx context.Context, rx *txn.ReadTx) error {
		_, err := db.NewRead(rx).GetSystemAccount(ctx, "external")
		return err
	})
	if err != nil {
		p := because(unready, err, nil)
		p.detail = "The database does not answer as it should."
		return answer{}, p
	}
	return answer{status: http.StatusOK, body: healthy{"ready"}}, nil
}
