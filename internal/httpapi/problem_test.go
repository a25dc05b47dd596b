package httpapi_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/httpapi"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// requireProblem checks what all problems have.
func requireProblem(t *testing.T, name string, a answer) {
	t.Helper()
	require.Equal(t, name, a.problem(), a.text)
	for _, known := range httpapi.ProblemTypes() {
		if known.Name != name {
			continue
		}
		require.Equal(t, known.Status, a.status)
		require.EqualValues(t, known.Status, a.number("status"), "in the body, too")
		require.Equal(t, known.Title, a.body["title"])
	}
	require.Regexp(t, `^/.*#[A-Za-z0-9._-]+$`, a.body["instance"])
	require.True(t, strings.HasSuffix(a.body["instance"].(string), "#"+a.header.Get("X-Request-ID")))
	if a.status == http.StatusServiceUnavailable {
		require.Equal(t, "1", a.header.Get("Retry-After"))
	} else {
		require.Empty(t, a.header.Get("Retry-After"))
	}
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	requireNoLeak(t, a.text)
}

// leaks are in texts of PostgreSQL, its driver, and Go, and in no answer.
var leaks = regexp.MustCompile(`SQLSTATE|pgconn|pgx|txn|ERROR|violates|constraint|goroutine|\.go:|127\.0\.0\.1|json:|encoding|users_|accounts_|transfers_|injected`)

func requireNoLeak(t *testing.T, text string) {
	t.Helper()
	require.NotRegexp(t, leaks, text)
}

// A refused request has a problem, with these members.
type refused struct {
	method, path, body string // POST if there is no method
	headers            []string
	problem            string
	members            map[string]string
	check              func(answer)
}

func (s *site) requireRefused(t *testing.T, r refused) {
	t.Helper()
	a, err := s.do(t.Context(), cmp.Or(r.method, http.MethodPost), r.path, r.body, r.headers...)
	require.NoError(t, err)
	requireProblem(t, r.problem, a)
	for member, want := range r.members {
		require.Equal(t, want, fmt.Sprint(a.body[member]), member)
	}
	if r.check != nil {
		r.check(a)
	}
}

// What requests are refused for that the database has no part in, or as it is.
func TestRefusals(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada, bob := s.customer(t), s.customer(t)
	frozen, full := s.customer(t), s.customer(t)
	for _, sql := range []string{
		fmt.Sprintf("update accounts set status = 'frozen' where id = %d", frozen),
		// A balance near the limit: its entries must sum to it.
		fmt.Sprintf(`with t as (insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
			select 'deposit', 'fill', id, %d, 9223372036854774000 from accounts where code = 'external' returning id, from_account, to_account, amount_minor),
			e as (insert into ledger_entries (transfer_id, account_id, amount_minor)
			select id, from_account, -amount_minor from t union all select id, to_account, amount_minor from t)
			update accounts set balance_minor = balance_minor + 9223372036854774000 where id = %[1]d`, full),
	} {
		_, err := s.admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	transfer := func(from, to, amount int64) string {
		return fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": %d}`, from, to, amount)
	}
	const key = "Idempotency-Key: k"
	ok := s.post(t, "/transfers", transfer(ada, bob, 1), "Idempotency-Key: taken")
	require.Equal(t, http.StatusCreated, ok.status, ok.text)

	for name, c := range map[string]refused{
		"no key":                {path: "/transfers", body: transfer(ada, bob, 1), problem: "idempotency-key-missing"},
		"no key of a deposit":   {path: fmt.Sprintf("/accounts/%d/deposits", ada), body: `{"amount_minor": 1}`, problem: "idempotency-key-missing"},
		"an empty key":          {path: "/transfers", body: transfer(ada, bob, 1), headers: []string{"Idempotency-Key: "}, problem: "idempotency-key-invalid"},
		"a key with a space":    {path: "/transfers", body: transfer(ada, bob, 1), headers: []string{"Idempotency-Key: a b"}, problem: "idempotency-key-invalid"},
		"a key too long":        {path: "/transfers", body: transfer(ada, bob, 1), headers: []string{"Idempotency-Key: " + strings.Repeat("k", 191)}, problem: "idempotency-key-invalid"},
		"another request's key": {path: "/transfers", body: transfer(ada, bob, 2), headers: []string{"Idempotency-Key: taken"}, problem: "idempotency-key-reused"},

		"no type":               {path: "/users", body: `{}`, headers: []string{"Content-Type: "}, problem: "unsupported-media-type"},
		"a form":                {path: "/users", body: `email=a`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, problem: "unsupported-media-type"},
		"another text":          {path: "/users", body: `{}`, headers: []string{"Content-Type: application/json; charset=latin1"}, problem: "unsupported-media-type"},
		"no body":               {path: "/users", headers: []string{"Content-Type: application/json"}, problem: "malformed-request"},
		"half a body":           {path: "/users", body: `{"email": "a`, problem: "malformed-request"},
		"no object":             {path: "/users", body: `["email"]`, problem: "malformed-request"},
		"null":                  {path: "/users", body: `null`, problem: "invalid-request", members: map[string]string{"field": "email"}},
		"another field":         {path: "/users", body: `{"email": "a@example.com", "name": "A", "admin": true}`, problem: "malformed-request"},
		"other letters":         {path: "/users", body: `{"EMAIL": "a@example.com", "name": "A"}`, problem: "malformed-request"},
		"a field twice":         {path: "/transfers", body: fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 1, "amount_minor": 100}`, ada, bob), headers: []string{key}, problem: "malformed-request", members: map[string]string{"field": "amount_minor"}},
		"more behind":           {path: "/users", body: `{"email": "a@example.com", "name": "A"} {}`, problem: "malformed-request"},
		"a broken letter":       {path: "/users", body: "{\"email\": \"a@example.com\", \"name\": \"\xff\"}", problem: "malformed-request"},
		"an amount in decimals": {path: "/transfers", body: fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 1.5}`, ada, bob), headers: []string{key}, problem: "malformed-request", members: map[string]string{"field": "amount_minor"}},
		"an amount as text":     {path: "/transfers", body: fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": "1"}`, ada, bob), headers: []string{key}, problem: "malformed-request", members: map[string]string{"field": "amount_minor"}},
		"an amount beyond all":  {path: "/transfers", body: fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 9223372036854775808}`, ada, bob), headers: []string{key}, problem: "malformed-request", members: map[string]string{"field": "amount_minor"}},
		"no amount":             {path: "/transfers", body: fmt.Sprintf(`{"from": %d, "to": %d}`, ada, bob), headers: []string{key}, problem: "invalid-request", members: map[string]string{"field": "amount_minor"}},
		"a body of brackets":    {path: "/users", body: strings.Repeat("[", 1<<19), problem: "malformed-request", members: map[string]string{"detail": "The body is nested too deeply."}},
		"a large body":          {path: "/users", body: `{"email": "` + strings.Repeat("a", 1<<20) + `"}`, problem: "request-too-large"},

		"an address that is none": {path: "/users", body: `{"email": "ada", "name": "A"}`, problem: "invalid-request", members: map[string]string{"field": "email"}},
		"a name too long":         {path: "/users", body: `{"email": "a@example.com", "name": "` + strings.Repeat("n", 201) + `"}`, problem: "invalid-request", members: map[string]string{"field": "name"}},
		"a zero byte":             {path: "/users", body: `{"email": "a@example.com", "name": "\u0000"}`, problem: "invalid-request"},
		"a memo too long":         {path: "/transfers", body: fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 1, "memo": %q}`, ada, bob, strings.Repeat("m", 501)), headers: []string{key}, problem: "invalid-request", members: map[string]string{"field": "memo"}},
		"an address in use":       {path: "/users", body: `{"email": "USER-1@example.com", "name": "A"}`, problem: "email-taken"},
		"nothing":                 {path: "/transfers", body: transfer(ada, bob, 0), headers: []string{key}, problem: "amount-not-positive"},
		"less than nothing":       {path: "/transfers", body: transfer(ada, bob, -5), headers: []string{key}, problem: "amount-not-positive"},
		"to oneself":              {path: "/transfers", body: transfer(ada, ada, 5), headers: []string{key}, problem: "same-account"},
		"to nobody":               {path: "/transfers", body: transfer(ada, 1<<40, 5), headers: []string{key}, problem: "unknown-account", members: map[string]string{"account": "1099511627776"}},
		"to a frozen account":     {path: "/transfers", body: transfer(ada, frozen, 5), headers: []string{key}, problem: "account-not-open", members: map[string]string{"account": fmt.Sprint(frozen), "account_status": "frozen"}},
		"more than there is":      {path: "/transfers", body: transfer(ada, bob, 5000), headers: []string{key}, problem: "insufficient-funds", members: map[string]string{"account": fmt.Sprint(ada), "available_minor": "999", "needed_minor": "5000"}},
		"out of it, too":          {path: fmt.Sprintf("/accounts/%d/withdrawals", ada), body: `{"amount_minor": 5000}`, headers: []string{key}, problem: "insufficient-funds"},
		"more than fits":          {path: fmt.Sprintf("/accounts/%d/deposits", full), body: `{"amount_minor": 5000}`, headers: []string{key}, problem: "balance-overflow"},
		"a system account":        {method: http.MethodGet, path: "/accounts/1/balance", problem: "unknown-account", members: map[string]string{"account": "1"}},

		"no such account's balance":   {method: http.MethodGet, path: "/accounts/99999/balance", problem: "unknown-account"},
		"no such account's statement": {method: http.MethodGet, path: "/accounts/99999/statement", problem: "unknown-account"},
		"a limit that is none":        {method: http.MethodGet, path: fmt.Sprintf("/accounts/%d/statement?limit=all", ada), problem: "invalid-request", members: map[string]string{"field": "limit"}},
		"a page before the first":     {method: http.MethodGet, path: fmt.Sprintf("/accounts/%d/statement?before=-1", ada), problem: "invalid-request", members: map[string]string{"field": "before"}},
		"a limit twice":               {method: http.MethodGet, path: fmt.Sprintf("/accounts/%d/statement?limit=1&limit=2", ada), problem: "invalid-request", members: map[string]string{"field": "limit"}},
		"a parameter misspelt":        {method: http.MethodGet, path: fmt.Sprintf("/accounts/%d/statement?befor=1", ada), problem: "invalid-request", members: map[string]string{"field": "befor"}},
		"an id that is none":          {method: http.MethodGet, path: "/accounts/ada/balance", problem: "not-found"},
		"an id with a sign":           {method: http.MethodGet, path: "/accounts/+1/balance", problem: "not-found"},
		"a query that ends early":     {method: http.MethodGet, path: fmt.Sprintf("/accounts/%d/statement?limit=1;before=2", ada), problem: "malformed-request"},
		"half a letter":               {method: http.MethodGet, path: fmt.Sprintf("/accounts/%d/statement?limit=%%2", ada), problem: "malformed-request"},
		"null, and nothing required":  {method: http.MethodPatch, path: "/orders/1", body: "null", problem: "malformed-request"},
		"a roundabout path":           {path: "/transfers/../users", body: `{"email": "a@example.com", "name": "A"}`, problem: "not-found"},
		"another path":                {method: http.MethodGet, path: "/money", problem: "not-found"},
		"no such problem":             {method: http.MethodGet, path: "/problems/none", problem: "not-found"},
		"another method": {method: http.MethodDelete, path: "/transfers", problem: "method-not-allowed", check: func(a answer) {
			require.Equal(t, "POST", a.header.Get("Allow"))
		}},
		"a page of another origin": {path: "/transfers", body: transfer(ada, bob, 1), headers: []string{key, "Sec-Fetch-Site: cross-site"}, problem: "cross-origin"},
		"an old page of another":   {path: "/transfers", body: transfer(ada, bob, 1), headers: []string{key, "Origin: https://example.net"}, problem: "cross-origin"},
	} {
		t.Run(name, func(t *testing.T) { s.requireRefused(t, c) })
	}
	require.EqualValues(t, 999, s.balance(t, ada), "nothing has moved")
	for _, r := range s.log.all(t, "request") {
		require.NotEqual(t, "ERROR", r["level"], r)
		require.NotZero(t, r["status"], r)
	}
}

// block makes calls that need an account's row wait, until the function that it returns is called.
func (s *site) block(t *testing.T, id int64) (release func()) {
	t.Helper()
	tx, err := s.admin.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "select from accounts where id = $1 for update", id)
	require.NoError(t, err)
	release = func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }
	t.Cleanup(release)
	return release
}

// blocked returns when a session waits for a lock.
func (s *site) blocked(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, s.admin.QueryRow(t.Context(), `
			select count(*) from pg_stat_activity
			where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`).Scan(&n))
		return n > 0
	}, 30*time.Second, 5*time.Millisecond)
}

// What goes wrong with the database, and whose answer says what is known.
func TestFailures(t *testing.T) {
	s := setup(t, txn.Config{
		ResolveCommits: txn.ResolveNever, AcquireTimeout: 2 * time.Second, Options: txn.Options{MaxAttempts: 1},
	}, httpapi.Config{RequestTimeout: 5 * time.Second})
	ada, bob := s.customer(t), s.customer(t)
	n := 0
	transfer := func() (answer, string) {
		n++
		key := fmt.Sprintf("Idempotency-Key: key-%d", n)
		return s.post(t, "/transfers", fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 1}`, ada, bob), key), key
	}
	again := func(key string) answer {
		return s.post(t, "/transfers", fmt.Sprintf(`{"from": %d, "to": %d, "amount_minor": 1}`, ada, bob), key)
	}

	s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Do: faultproxy.Fail{SQLState: "XX000", Constraint: "secret"}})
	a, _ := transfer()
	requireProblem(t, "internal", a)
	require.NotContains(t, a.text, "secret")
	logged := s.log.all(t, "request")
	last := logged[len(logged)-1]
	require.Equal(t, "ERROR", last["level"])
	require.Contains(t, last["error"], "XX000", "the log has what the client has not")
	require.Equal(t, a.header.Get("X-Request-ID"), last["request_id"])

	s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Do: faultproxy.Fail{SQLState: "40001"}})
	a, _ = transfer()
	requireProblem(t, "busy", a)
	s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Do: faultproxy.Fail{SQLState: "55P03"}})
	a, _ = transfer()
	requireProblem(t, "busy", a)
	cuts := s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Every: true, Do: faultproxy.Cut{}})
	a, _ = transfer()
	requireProblem(t, "busy", a)
	cuts.Disarm()
	require.EqualValues(t, 1000, s.balance(t, ada))

	// The answer to COMMIT is lost. With the key, the client finds out.
	s.proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
	a, key := transfer()
	requireProblem(t, "unknown-outcome", a)
	require.Equal(t, "Unknown outcome: repeat with the same Idempotency-Key", a.body["title"])
	a = again(key)
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.Equal(t, true, a.body["replayed"], "it had been committed")

	s.proxy.Arm(faultproxy.Fault{SQL: "^commit", Do: faultproxy.Cut{}})
	a, key = transfer()
	requireProblem(t, "unknown-outcome", a)
	a = again(key)
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.Equal(t, false, a.body["replayed"], "it had not")
	require.EqualValues(t, 998, s.balance(t, ada))

	s.proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
	const newcomer = `{"email": "new@example.com", "name": "New"}`
	a = s.post(t, "/users", newcomer)
	requireProblem(t, "unknown-outcome-without-key", a)
	require.Equal(t, "The request may have been carried out, or not. "+
		"If the repetition is refused because of the e-mail address, the user is there.", a.body["detail"])
	requireProblem(t, "email-taken", s.post(t, "/users", newcomer))

	s.proxy.Refuse(true)
	s.proxy.Arm(faultproxy.Fault{From: faultproxy.Client, Do: faultproxy.Cut{All: true}}) // idle connections, too
	requireProblem(t, "busy", s.get(t, fmt.Sprintf("/accounts/%d/balance", ada)))
	requireProblem(t, "not-ready", s.get(t, "/readyz"))
	require.Equal(t, http.StatusOK, s.get(t, "/healthz").status, "alive without a database")
	s.proxy.Refuse(false)
	require.Equal(t, http.StatusOK, s.get(t, "/readyz").status)

	// Panics end the request, and not the server.
	s.api.Handle("GET /panic", func() error { panic("injected: " + key) })
	requireProblem(t, "internal", s.get(t, "/panic"))
	require.Len(t, s.log.all(t, "panic"), 1)
}

// COMMIT was done, this was found out, and only what it answered is lost.
func TestAnswerLost(t *testing.T) {
	s := setup(t, txn.Config{Options: txn.Options{MaxAttempts: 1}}, httpapi.Config{})
	ada := s.customer(t)
	path, body := fmt.Sprintf("/accounts/%d/deposits", ada), `{"amount_minor": 5}`
	s.proxy.Arm(faultproxy.Fault{SQL: "RecordTransfer", Answer: true, Do: faultproxy.Cut{}})
	s.proxy.Arm(faultproxy.Fault{SQL: "FindTransferByKey", Nth: 2, Do: faultproxy.Fail{SQLState: "XX000"}})
	a := s.post(t, path, body, "Idempotency-Key: k")
	requireProblem(t, "answer-lost", a)
	a = s.post(t, path, body, "Idempotency-Key: k")
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.Equal(t, true, a.body["replayed"])
	require.EqualValues(t, 1005, s.balance(t, ada))

	// A service that asked again for what was lost, in vain, has changed something all the same.
	s.api.Handle("GET /lost", func() error {
		return fmt.Errorf("book: %w; asked again: %w", txn.ErrAnswerLost, &pgconn.PgError{Code: "40001"})
	})
	requireProblem(t, "answer-lost", s.get(t, "/lost"))
}

// A request that waits for too long is ended, and so is its transaction.
func TestTimeout(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{RequestTimeout: time.Second})
	ada := s.customer(t)
	path, body := fmt.Sprintf("/accounts/%d/deposits", ada), `{"amount_minor": 5}`
	release := s.block(t, ada)
	requireProblem(t, "timeout", s.post(t, path, body, "Idempotency-Key: k"))
	release()
	require.EqualValues(t, 1000, s.balance(t, ada))
	a := s.post(t, path, body, "Idempotency-Key: k")
	require.Equal(t, http.StatusCreated, a.status, a.text)
	require.Equal(t, false, a.body["replayed"])
}

// A client that goes away ends its transaction. Nobody gets the answer, and the log says so.
func TestClientGone(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	ada := s.customer(t)
	s.block(t, ada)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := s.do(ctx, http.MethodPost, fmt.Sprintf("/accounts/%d/deposits", ada), `{"amount_minor": 5}`, "Idempotency-Key: k")
		left <- err
	}()
	s.blocked(t)
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	require.Eventually(t, func() bool {
		logged := s.log.all(t, "request")
		last := logged[len(logged)-1]
		return last["problem"] == "client-gone" && last["level"] == "INFO"
	}, 30*time.Second, 5*time.Millisecond)
}

// Each type that there is has a test that provokes it, and its URI leads to its description.
func TestProblemTypes(t *testing.T) {
	s := setup(t, txn.Config{}, httpapi.Config{})
	var tests strings.Builder
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		tests.Write(text)
	}
	names := map[string]bool{}
	for _, p := range httpapi.ProblemTypes() {
		require.False(t, names[p.Name], "%s twice", p.Name)
		names[p.Name] = true
		a := s.get(t, "/problems/"+p.Name)
		require.Equal(t, http.StatusOK, a.status)
		require.Equal(t, "/problems/"+p.Name, a.body["type"])
		require.Equal(t, p.Title, a.body["title"])
		require.EqualValues(t, p.Status, a.number("status"))
		require.Contains(t, tests.String(), `"`+p.Name+`"`, "no test has it")
	}
}
