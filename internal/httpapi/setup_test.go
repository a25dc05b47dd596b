package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// lockOrder watches the transactions of all tests.
var lockOrder = txntest.NewLockOrder(db.QueryInfo)

func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }

// A site is a server on a database of the test's own, behind a proxy.
type site struct {
	*txntest.Database
	proxy *faultproxy.Proxy
	admin *pgxpool.Pool
	api   *httpapi.API
	url   string
	http  *http.Client
	log   *records
	stop  context.CancelFunc
	ended chan error // what Serve returns
	users atomic.Int64
}

// setup serves until the test's end.
func setup(t *testing.T, cfg txn.Config, api httpapi.Config) *site {
	t.Helper()
	t.Parallel()
	s := &site{Database: testschema.NewDatabase(t), log: &records{}, ended: make(chan error, 1)}
	s.admin = s.Admin(t)
	s.proxy = txntest.NewProxy(t, s.AppURL())
	poolConfig, err := pgxpool.ParseConfig(s.proxy.URL())
	require.NoError(t, err)
	txn.ConfigurePool(poolConfig)
	pool, err := pgxpool.NewWithConfig(t.Context(), poolConfig)
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	logger := slog.New(httpapi.LogHandler(slog.NewJSONHandler(s.log, nil)))
	cfg.Observers = append(cfg.Observers, httpapi.Observer{}, lockOrder, txn.NewSlogObserver(logger))
	api.DB, api.Logger = txn.New(pool, cfg), logger
	s.api = httpapi.New(api)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.url = "http://" + l.Addr().String()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	s.http = &http.Client{Transport: transport}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s.stop = stop
	finished := make(chan struct{})
	go func() { defer close(finished); s.ended <- s.api.Serve(ctx, l) }()
	t.Cleanup(func() { stop(); transport.CloseIdleConnections(); <-finished })
	return s
}

// An answer is what a client gets.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// problem is the name of the answer's problem, "" if it is none.
func (a answer) problem() string {
	if a.header.Get("Content-Type") != "application/problem+json" {
		return ""
	}
	return strings.TrimPrefix(fmt.Sprint(a.body["type"]), "/problems/")
}

func (a answer) number(name string) int64 {
	n, _ := a.body[name].(json.Number)
	v, _ := n.Int64()
	return v
}

// do sends a request with headers "name: value".
func (s *site) do(ctx context.Context, method, path, body string, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Del(name)
		r.Header.Add(name, value)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		return a, err
	}
	a.text = text.String()
	d := json.NewDecoder(&text)
	d.UseNumber()
	return a, d.Decode(&a.body)
}

func (s *site) get(t *testing.T, path string) answer {
	t.Helper()
	a, err := s.do(t.Context(), http.MethodGet, path, "")
	require.NoError(t, err)
	return a
}

func (s *site) post(t *testing.T, path, body string, headers ...string) answer {
	t.Helper()
	a, err := s.do(t.Context(), http.MethodPost, path, body, headers...)
	require.NoError(t, err)
	return a
}

// customer signs somebody up and returns the account, which holds the welcome bonus.
func (s *site) customer(t *testing.T) int64 {
	t.Helper()
	n := s.users.Add(1)
	a := s.post(t, "/users", fmt.Sprintf(`{"email": "user-%d@example.com", "name": "User %d"}`, n, n))
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.EqualValues(t, account.WelcomeBonus, s.balance(t, a.number("account")))
	return a.number("account")
}

// userOf is whose the account is.
func (s *site) userOf(t *testing.T, account int64) (user int64) {
	t.Helper()
	require.NoError(t, s.admin.QueryRow(t.Context(), "select user_id from accounts where id = $1", account).Scan(&user))
	return user
}

// product puts a product on sale.
func (s *site) product(t *testing.T, name string, price, stock int64) (id int64) {
	t.Helper()
	require.NoError(t, s.admin.QueryRow(t.Context(), `
		insert into products (name, price_minor, received, stock) values ($1, $2, $3, $3) returning id`, name, price, stock).Scan(&id))
	return id
}

const someAddress = `{"name": "Ada", "street": "1 Analytical Row", "city": "London", "country": "GB"}`

func (s *site) balance(t *testing.T, id int64) int64 {
	t.Helper()
	a := s.get(t, fmt.Sprintf("/accounts/%d/balance", id))
	require.Equal(t, http.StatusOK, a.status, a.text)
	return a.number("balance_minor")
}

// records is a log.
type records struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// all are the records with a message.
func (r *records) all(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		if record["msg"] == message {
			found = append(found, record)
		}
	}
	return found
}
