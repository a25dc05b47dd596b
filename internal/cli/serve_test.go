//go:build unix

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A serving is the command at work.
type serving struct {
	*process
	url  string
	user string // of the database
}

func serve(t *testing.T, databaseURL string) serving {
	t.Helper()
	p := start(t, []string{"DATABASE_URL=" + databaseURL}, "serve", "--listen", "127.0.0.1:0")
	until(t, "it listens", p.stderr.has(`"msg":"listening"`))
	var listening struct{ Address, User string }
	line, _, _ := strings.Cut(p.stderr.String(), "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &listening))
	return serving{p, "http://" + listening.Address, listening.User}
}

// post sends a request on a connection of its own.
func (s serving) post(path, body, key string) (status int, text string, err error) {
	r, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// account signs somebody up, and returns the path of deposits.
func (s serving) account(t *testing.T) (id int64, deposits string) {
	t.Helper()
	status, text, err := s.post("/users", `{"email": "ada@example.com", "name": "Ada"}`, "")
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status, text)
	var user struct{ Account int64 }
	require.NoError(t, json.Unmarshal([]byte(text), &user))
	return user.Account, fmt.Sprintf("/accounts/%d/deposits", user.Account)
}

// async sends a request, and returns where its outcome will be.
func (s serving) async(path, body, key string) <-chan string {
	done := make(chan string, 1)
	go func() {
		status, text, err := s.post(path, body, key)
		done <- fmt.Sprint(status, " ", text, err)
	}()
	return done
}

// The command at work: it serves, and on SIGTERM finishes what it has begun.
func TestServe(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	admin := database.Admin(t)
	s := serve(t, database.AppURL())
	require.Equal(t, "interlock_app", s.user)
	id, deposits := s.account(t)

	// A deposit waits for the row when the signal comes.
	unlock := lockAccount(t, admin, id)
	done := s.async(deposits, `{"amount_minor": 5}`, "k")
	untilBlocked(t, admin)
	s.signal(t, syscall.SIGTERM)
	until(t, "it stops", s.stderr.has(`"msg":"stopping"`))
	until(t, "it does not listen", func() bool {
		_, _, err := s.post("/users", `{}`, "")
		return err != nil
	})
	unlock()
	require.Contains(t, <-done, "201 ")
	require.Zero(t, s.code(), s.stderr.String())
	require.Contains(t, s.stderr.String(), `"msg":"stopped"`)
	require.Empty(t, s.stdout.String())
}

// A server that dies takes answers with it. The next one gives them, and no money has moved
// twice, whether it died before COMMIT or after.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	admin := database.Admin(t)
	proxy := txntest.NewProxy(t, database.AppURL())
	s := serve(t, proxy.URL())
	id, deposits := s.account(t)
	kill := func() {
		t.Helper()
		require.NoError(t, s.cmd.Process.Kill())
		require.Equal(t, -1, s.code())
		s = serve(t, proxy.URL())
	}
	requireOnce := func(key string, replayed bool) {
		t.Helper()
		for _, replayed := range []bool{replayed, true} {
			status, text, err := s.post(deposits, `{"amount_minor": 5}`, key)
			require.NoError(t, err)
			require.Equal(t, http.StatusCreated, status, text)
			require.Contains(t, text, fmt.Sprintf(`"replayed":%t`, replayed))
		}
	}

	unlock := lockAccount(t, admin, id)
	lost := s.async(deposits, `{"amount_minor": 5}`, "before")
	untilBlocked(t, admin)
	kill()
	require.Contains(t, <-lost, "0 ", "no answer")
	unlock()
	requireOnce("before", false)

	held := proxy.Arm(faultproxy.Fault{SQL: "^commit$", Answer: true, Do: faultproxy.Hold{}})
	lost = s.async(deposits, `{"amount_minor": 5}`, "after")
	require.NoError(t, held.Wait(t.Context()))
	kill()
	require.Contains(t, <-lost, "0 ", "no answer")
	held.Release()
	requireOnce("after", true)

	var deposited int64
	require.NoError(t, admin.QueryRow(t.Context(), "select sum(amount_minor) from transfers where kind = 'deposit'").Scan(&deposited))
	require.EqualValues(t, 10, deposited)
}

// lockAccount makes deposits wait, until unlock is called.
func lockAccount(t *testing.T, admin *pgxpool.Pool, id int64) (unlock func()) {
	t.Helper()
	tx, err := admin.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	_, err = tx.Exec(t.Context(), "select from accounts where id = $1 for update", id)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}

func untilBlocked(t *testing.T, admin *pgxpool.Pool) {
	t.Helper()
	until(t, "the deposit waits", func() bool {
		var n int
		require.NoError(t, admin.QueryRow(t.Context(), `
			select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'account: deposit' and cardinality(pg_blocking_pids(pid)) > 0`).Scan(&n))
		return n > 0
	})
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	env := []string{"DATABASE_URL=" + database.AppURL()}
	for name, c := range map[string]struct {
		env  []string
		args []string
		code int
		says string
	}{
		"no database":       {nil, nil, 2, "serve: no database: give --database-url or set DATABASE_URL"},
		"a broken URL":      {nil, []string{"--database-url", "postgres://app:s3cret/x@host/db"}, 2, "serve: the database URL cannot be parsed"},
		"no port":           {env, []string{"--listen", "localhost"}, 2, "serve: --listen needs an address and a port"},
		"nobody there":      {nil, []string{"--database-url", "postgres://app:s3cret@127.0.0.1:1/db"}, 1, "serve: "},
		"not one's address": {env, []string{"--listen", "192.0.2.1:80"}, 1, "serve: listen tcp 192.0.2.1:80"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := interlock(t, c.env, append([]string{"serve"}, c.args...)...)
			require.Equal(t, c.code, code, stderr)
			require.Contains(t, stderr, c.says)
			require.NotContains(t, stderr, "s3cret")
			require.Empty(t, stdout)
		})
	}
}
