//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
)

// The command at work: it serves, and on SIGTERM finishes what it has begun.
func TestServe(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabase(t)
	admin := database.Admin(t)
	p := start(t, []string{"DATABASE_URL=" + database.AppURL()}, "serve", "--listen", "127.0.0.1:0")
	until(t, "it listens", p.stderr.has(`"msg":"listening"`))
	var listening struct{ Address, User, Database string }
	line, _, _ := strings.Cut(p.stderr.String(), "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &listening))
	require.Equal(t, "interlock_app", listening.User)
	url := "http://" + listening.Address

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	post := func(path, body, key string) (int, string, error) {
		r, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
		resp, err := client.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), err
	}
	status, text, err := post("/users", `{"email": "ada@example.com", "name": "Ada"}`, "")
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status, text)
	var user struct{ Account int64 }
	require.NoError(t, json.Unmarshal([]byte(text), &user))

	// A deposit waits for the row when the signal comes.
	tx, err := admin.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "select from accounts where id = $1 for update", user.Account)
	require.NoError(t, err)
	done := make(chan string, 1)
	go func() {
		status, text, err := post(fmt.Sprintf("/accounts/%d/deposits", user.Account), `{"amount_minor": 5}`, "k")
		done <- fmt.Sprint(status, " ", text, err)
	}()
	until(t, "the deposit waits", func() bool {
		var n int
		require.NoError(t, admin.QueryRow(t.Context(), `
			select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'account: deposit' and cardinality(pg_blocking_pids(pid)) > 0`).Scan(&n))
		return n > 0
	})
	p.signal(t, syscall.SIGTERM)
	until(t, "it stops", p.stderr.has(`"msg":"stopping"`))
	until(t, "it does not listen", func() bool {
		_, _, err := post("/users", `{}`, "")
		return err != nil
	})
	require.NoError(t, tx.Rollback(t.Context()))
	require.Contains(t, <-done, "201 ")
	require.Zero(t, p.code(), p.stderr.String())
	require.Contains(t, p.stderr.String(), `"msg":"stopped"`)
	require.Empty(t, p.stdout.String())
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
