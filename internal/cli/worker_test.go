//go:build unix

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/mail/mailtest"
	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A station is a database, and the receivers of what its workers do.
type station struct {
	*txntest.Database
	db       *txn.DB
	admin    *pgxpool.Pool
	mail     *mailtest.Server
	payments *receiver
	search   *receiver
}

func newStation(t *testing.T) *station {
	t.Helper()
	t.Parallel()
	database := testschema.NewDatabase(t)
	return &station{
		Database: database, db: txn.New(database.Pool(t, txn.ConfigurePool), txn.Config{}), admin: database.Admin(t),
		mail: mailtest.NewServer(t), payments: newReceiver(t), search: newReceiver(t),
	}
}

// worker starts the command. Mail goes to the mail server, unless the arguments say otherwise.
func (s *station) worker(t *testing.T, args ...string) *process {
	t.Helper()
	return start(t, []string{"DATABASE_URL=" + s.AppURL()}, append([]string{
		"worker", "--mail", "smtp://" + s.mail.Address(), "--mail-from", "shop@example.com",
		"--payments", s.payments.URL, "--search", s.search.URL + "/posts",
	}, args...)...)
}

func (s *station) signUp(t *testing.T, name string) account.SignedUp {
	t.Helper()
	user, err := account.SignUp(t.Context(), s.db, account.SignUpRequest{Email: name + "@example.com", Name: name})
	require.NoError(t, err)
	return user
}

// states counts the jobs of a kind by their states.
func (s *station) states(t *testing.T, kind string) map[string]int {
	t.Helper()
	rows, err := s.admin.Query(t.Context(), "select state::text, count(*) from river.river_job where kind = $1 group by 1", kind)
	require.NoError(t, err)
	defer rows.Close()
	states := map[string]int{}
	for rows.Next() {
		var state string
		var n int
		require.NoError(t, rows.Scan(&state, &n))
		states[state] = n
	}
	require.NoError(t, rows.Err())
	return states
}

// completed waits until the jobs of a kind are done.
func (s *station) completed(t *testing.T, kind string) {
	t.Helper()
	until(t, kind+" is done", func() bool {
		states := s.states(t, kind)
		return len(states) == 1 && states["completed"] > 0
	})
}

// kill ends a worker as a crash does, at a job of a kind. What it was at counts as running then,
// and nobody looks for it yet.
func (s *station) kill(t *testing.T, p *process, kind string) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	require.Equal(t, -1, p.code())
	require.Equal(t, map[string]int{"running": 1}, s.states(t, kind))
}

// holdCompletion lets the completion of welcome mails wait in the database. The function that it
// returns ends the session that waits, whose client is dead, and lets others pass.
func (s *station) holdCompletion(t *testing.T) (release func()) {
	t.Helper()
	holder, err := s.admin.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(holder.Release)
	for _, sql := range []string{
		`create function wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(1); return new; end $$`,
		`create trigger wait before update on river.river_job for each row
			when (new.kind = 'account.welcome_mail' and new.state = 'completed') execute function wait()`,
		"select pg_advisory_lock(1)",
	} {
		_, err := holder.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	return func() {
		var ended bool
		require.NoError(t, s.admin.QueryRow(t.Context(), "select bool_and(pg_terminate_backend(pid, 5000)) from ("+waitingSQL+") w").Scan(&ended))
		require.True(t, ended)
		_, err := holder.Exec(t.Context(), "select pg_advisory_unlock(1)")
		require.NoError(t, err)
	}
}

const waitingSQL = "select pid from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())"

// waitCompleting returns when a completion waits.
func (s *station) waitCompleting(t *testing.T) {
	t.Helper()
	until(t, "a job is about to be completed", func() bool {
		var n int
		require.NoError(t, s.admin.QueryRow(t.Context(), "select count(*) from ("+waitingSQL+") w").Scan(&n))
		return n > 0
	})
}

// elapse takes an hour off the rows that say what the dead worker did last, instead of waiting
// for so long: its jobs are old enough to be taken over, and its term as the leader is over.
func (s *station) elapse(t *testing.T) {
	t.Helper()
	for _, sql := range []string{
		"update river.river_job set attempted_at = attempted_at - interval '1 hour' where state = 'running'",
		"update river.river_leader set elected_at = elected_at - interval '1 hour', expires_at = expires_at - interval '1 hour'",
	} {
		_, err := s.admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
}

// stop ends a worker as a shutdown does.
func stop(t *testing.T, p *process) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	require.Zero(t, p.code(), p.stderr.String())
	require.Contains(t, p.stderr.String(), `"msg":"stopped"`)
	require.Empty(t, p.stdout.String())
}

// A receiver is an HTTP server that keeps what it is sent, and answers as payment providers and
// search indexes do.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	requests []received
	effects  map[string]string // by the key or the version, of the first request with it
	hold     chan struct{}     // if set, the next request is kept, and has no answer until it is closed
	held     chan struct{}     // closed when that request was kept
}

type received struct{ Path, Key, Body string }

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{effects: map[string]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	got := received{Path: req.URL.Path, Key: req.Header.Get("Idempotency-Key"), Body: string(body)}
	if got.Key == "" {
		got.Key = req.URL.RequestURI()
	}
	hold, held := r.keep(got)
	if hold != nil {
		close(held)
		select {
		case <-hold:
		case <-req.Context().Done():
			return
		}
	}
	var payment struct {
		Amount int64 `json:"amount_minor"`
	}
	_ = json.Unmarshal(body, &payment)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"reference": "ref-%s", "amount_minor": %d}`, got.Key, payment.Amount)
}

func (r *receiver) keep(got received) (hold, held chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, got)
	if _, seen := r.effects[got.Key]; !seen {
		r.effects[got.Key] = got.Body
	}
	hold, held = r.hold, r.held
	r.hold = nil
	return hold, held
}

// holdNext keeps the next request without an answer. The channel is closed when it came.
func (r *receiver) holdNext(t *testing.T) (held <-chan struct{}) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold, r.held = make(chan struct{}), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func(hold chan struct{}) func() { return func() { close(hold) } }(r.hold)))
	return r.held
}

func (r *receiver) counts() (requests, effects int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests), len(r.effects)
}

// onlyFile is the content of the one file in a directory.
func onlyFile(t *testing.T, path string) string {
	t.Helper()
	files, err := os.ReadDir(path)
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(filepath.Join(path, files[0].Name()))
	require.NoError(t, err)
	return string(text)
}

// The process that commits dies before it hears that it has; nothing but the database knows of
// the mail. The first worker dies before it has delivered it, the second one delivers.
func TestMailOutlivesProcesses(t *testing.T) {
	s := newStation(t)
	proxy := txntest.NewProxy(t, s.AppURL())
	server := start(t, []string{"DATABASE_URL=" + proxy.URL()}, "serve", "--listen", "127.0.0.1:0")
	until(t, "it listens", server.stderr.has(`"msg":"listening"`))
	var listening struct{ Address string }
	line, _, _ := strings.Cut(server.stderr.String(), "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &listening))
	committed := proxy.Arm(faultproxy.Fault{SQL: "^commit$", Answer: true, Do: faultproxy.Hold{}})
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Post("http://"+listening.Address+"/users", "application/json",
			strings.NewReader(`{"email": "ada@example.com", "name": "Ada"}`))
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	require.NoError(t, committed.Wait(t.Context()))
	server.signal(t, syscall.SIGKILL)
	require.Equal(t, -1, server.code())
	require.Error(t, <-answered, "the user does not hear of it either")
	committed.Disarm()
	require.Equal(t, map[string]int{"available": 1}, s.states(t, "account.welcome_mail"))

	held := s.mail.Hold(mailtest.Connected)
	first := s.worker(t)
	require.NoError(t, held.Wait(t.Context()))
	s.kill(t, first, "account.welcome_mail")
	held.Release()
	require.Empty(t, s.mail.Received())

	s.elapse(t)
	second := s.worker(t)
	s.completed(t, "account.welcome_mail")
	stop(t, second)
	received := s.mail.Received()
	require.Len(t, received, 1)
	require.Equal(t, []string{"ada@example.com"}, received[0].To)
}

// The worker dies between delivery and the job's completion: another one delivers again. By the
// key, the receiver makes one effect of it.
func TestDeliveredTwiceIsOneEffect(t *testing.T) {
	t.Parallel()
	t.Run("mail server", func(t *testing.T) {
		s := newStation(t)
		user := s.signUp(t, "ada")
		held := s.mail.Hold(mailtest.Taken)
		first := s.worker(t)
		require.NoError(t, held.Wait(t.Context()))
		s.kill(t, first, "account.welcome_mail")
		held.Release()
		require.Len(t, s.mail.Received(), 1)

		s.elapse(t)
		second := s.worker(t)
		s.completed(t, "account.welcome_mail")
		stop(t, second)
		received := s.mail.Received()
		require.Len(t, received, 2)
		require.Equal(t, fmt.Sprintf("<welcome/%d@example.com>", user.UserID), received[0].ID)
		require.Equal(t, received[0].ID, received[1].ID)
	})

	// Nobody is asked to wait here, so the completion itself is held: in the database.
	t.Run("directory", func(t *testing.T) {
		s := newStation(t)
		s.signUp(t, "ada")
		spool := t.TempDir()
		release := s.holdCompletion(t)
		first := s.worker(t, "--mail", spool)
		s.waitCompleting(t)
		text := onlyFile(t, spool)
		s.kill(t, first, "account.welcome_mail")
		release()
		require.Equal(t, map[string]int{"running": 1}, s.states(t, "account.welcome_mail"))

		s.elapse(t)
		second := s.worker(t, "--mail", spool)
		s.completed(t, "account.welcome_mail")
		stop(t, second)
		require.Equal(t, text, onlyFile(t, spool), "the date, too, is the first one's")
	})

	t.Run("payment provider", func(t *testing.T) {
		s := newStation(t)
		user := s.signUp(t, "ada")
		var product int64
		require.NoError(t, s.admin.QueryRow(t.Context(),
			"insert into products (name, price_minor, received, stock) values ('Mug', 1250, 5, 5) returning id").Scan(&product))
		require.NoError(t, txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: order"}, func(ctx context.Context, tx *txn.Tx) error {
			placed, err := order.Place(ctx, tx, nil, order.PlaceRequest{
				UserID: user.UserID, Key: "k", Items: []order.Item{{ProductID: product, Quantity: 2}},
				Address: order.Address{Name: "Ada", Street: "1 Main Street", City: "Town", PostalCode: "12345", Country: "DE"},
				Method:  db.PaymentMethodCard,
			})
			if err != nil {
				return err
			}
			return order.RequestCharge(ctx, tx, placed.OrderID)
		}))
		held := s.payments.holdNext(t)
		first := s.worker(t)
		<-held
		s.kill(t, first, "order.charge")

		s.elapse(t)
		second := s.worker(t)
		s.completed(t, "order.charge")
		stop(t, second)
		requests, effects := s.payments.counts()
		require.Equal(t, 2, requests)
		require.Equal(t, 1, effects, "one key, one charge")
		var status string
		require.NoError(t, s.admin.QueryRow(t.Context(), "select status::text from payments").Scan(&status))
		require.Equal(t, "completed", status)
	})

	t.Run("search index", func(t *testing.T) {
		s := newStation(t)
		user := s.signUp(t, "ada")
		require.NoError(t, txn.WithTx(t.Context(), s.db, txn.Options{Label: "test: publish"}, func(ctx context.Context, tx *txn.Tx) error {
			created, err := blog.Create(ctx, tx, blog.CreateRequest{Author: user.UserID, Title: "Title", Content: strings.Repeat("content ", 20), Key: "k"})
			if err != nil {
				return err
			}
			_, err = blog.Publish(ctx, tx, blog.PublishRequest{Post: created.Post.ID, Author: user.UserID})
			return err
		}))
		held := s.search.holdNext(t)
		first := s.worker(t)
		<-held
		s.kill(t, first, "blog.index_post")

		s.elapse(t)
		second := s.worker(t)
		s.completed(t, "blog.index_post")
		stop(t, second)
		requests, effects := s.search.counts()
		require.Equal(t, 2, requests)
		require.Equal(t, 1, effects, "one version of one document")
	})
}

// On SIGTERM a worker takes no further job, and ends when the one at work is done.
func TestWorkerStops(t *testing.T) {
	s := newStation(t)
	s.signUp(t, "ada")
	held := s.mail.Hold(mailtest.Taken)
	p := s.worker(t, "--log-level", "DEBUG")
	require.NoError(t, held.Wait(t.Context()))
	s.completed(t, "booking.sweep")
	s.completed(t, "order.release_expired")
	p.signal(t, syscall.SIGTERM)
	until(t, "it stops", p.stderr.has(`"msg":"stopping`))
	s.signUp(t, "bob")
	held.Release()
	require.Zero(t, p.code(), p.stderr.String())
	require.Equal(t, map[string]int{"completed": 1, "available": 1}, s.states(t, "account.welcome_mail"))
	require.Len(t, s.mail.Received(), 1)
	requireRecord(t, p, map[string]any{"msg": "worked", "level": "INFO", "job": map[string]any{"kind": "account.welcome_mail", "attempt": 1.0}})
	requireRecord(t, p, map[string]any{
		"msg": "transaction", "label": "account: read for the welcome mail", "attempts": 1.0, "outcome": "committed",
		"job": map[string]any{"kind": "account.welcome_mail", "attempt": 1.0},
	})
}

// After --stop-timeout the job at work is cancelled, and tried again later.
func TestWorkerStopsInTime(t *testing.T) {
	s := newStation(t)
	s.signUp(t, "ada")
	held := s.mail.Hold(mailtest.Connected)
	p := s.worker(t, "--stop-timeout", "1ms")
	require.NoError(t, held.Wait(t.Context()))
	stop(t, p)
	require.Empty(t, s.mail.Received())
	states := s.states(t, "account.welcome_mail")
	require.Equal(t, 1, states["retryable"]+states["available"], "%v", states)
	requireRecord(t, p, map[string]any{"msg": "worked", "level": "WARN", "job": map[string]any{"kind": "account.welcome_mail"}})
}

// requireRecord looks for a record of the log that has these attributes.
func requireRecord(t *testing.T, p *process, want map[string]any) {
	t.Helper()
	for line := range strings.Lines(p.stderr.String()) {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &got), line)
		if contains(got, want) {
			return
		}
	}
	require.Fail(t, "no such record", "%v\n%s", want, p.stderr.String())
}

func contains(got, want map[string]any) bool {
	for k, v := range want {
		if group, ok := v.(map[string]any); ok {
			inner, _ := got[k].(map[string]any)
			if !contains(inner, group) {
				return false
			}
		} else if got[k] != v {
			return false
		}
	}
	return true
}

func TestWorkerFails(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	bare := txntest.NewDatabase(t, txntest.SQL())
	spool := t.TempDir()
	to := func(change ...string) []string {
		return append([]string{"--mail", spool, "--payments", "http://127.0.0.1:1", "--search", "http://127.0.0.1:1/posts"}, change...)
	}
	url := func(url string) []string { return []string{"DATABASE_URL=" + url} }
	for name, c := range map[string]struct {
		env  []string
		args []string
		code int
		says string
	}{
		"no database":       {nil, to(), 2, "worker: no database: give --database-url or set DATABASE_URL"},
		"a broken URL":      {nil, to("--database-url", "postgres://app:s3cret/x@host/db"), 2, "worker: the database URL cannot be parsed"},
		"a broken pool":     {url("postgres://app:s3cret@host/db?pool_max_conns=many"), to(), 2, "worker: the settings of the pool"},
		"a small pool":      {url("postgres://app:s3cret@host/db?pool_max_conns=1"), to(), 2, "worker: pool_max_conns must be at least 4"},
		"nowhere":           {url(database.AppURL()), nil, 2, "worker: say where effects go: --mail, --payments and --search"},
		"no search":         {url(database.AppURL()), to("--search", ""), 2, "worker: say where effects go"},
		"no such directory": {url(database.AppURL()), to("--mail", spool+"/none"), 2, "worker: --mail: mail: stat"},
		"another protocol":  {url(database.AppURL()), to("--mail", "imap://host:25"), 2, "worker: --mail: a URL has the form smtp://user@host:port"},
		"no mail port":      {url(database.AppURL()), to("--mail", "smtp://host"), 2, "worker: --mail: mail: a mail server needs a host and a port"},
		"a password":        {url(database.AppURL()), to("--mail", "smtp://u:s3cret@host:25"), 2, "worker: --mail: a command line is no place for a password"},
		"a broken mail URL": {url(database.AppURL()), to("--mail", "smtp://u:s3cret/@host:25"), 2, "worker: --mail: the URL cannot be parsed"},
		"a sender's name":   {url(database.AppURL()), to("--mail-from", "Shop <a@b>"), 2, "worker: --mail: mail: messages need an address"},
		"a payments path":   {url(database.AppURL()), to("--payments", "/v1"), 2, "worker: --payments: payment: the provider's URL"},
		"a currency":        {url(database.AppURL()), to("--currency", "Euro"), 2, "worker: --payments: payment: the currency"},
		"a search query":    {url(database.AppURL()), to("--search", "http://host/?s3cret"), 2, "worker: --search: search: the index's URL"},
		"no concurrency":    {url(database.AppURL()), to("--concurrency", "0"), 2, "worker: --concurrency must be 1 to 500"},
		"no stop timeout":   {url(database.AppURL()), to("--stop-timeout", "0s"), 2, "worker: --stop-timeout must be more than 0"},
		"no level":          {url(database.AppURL()), to("--log-level", "loud"), 2, `invalid argument "loud"`},
		"nobody there":      {url("postgres://app:s3cret@127.0.0.1:1/db"), to(), 1, "worker: "},
		"no tables":         {url(bare.AppURL()), to(), 1, "run interlock migrate up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := interlock(t, c.env, append([]string{"worker"}, c.args...)...)
			require.Equal(t, c.code, code, stderr)
			require.Contains(t, stderr, c.says)
			require.NotContains(t, stderr, "s3cret")
			require.Empty(t, stdout)
		})
	}
}
