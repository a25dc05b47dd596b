package txn

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/internal/sqltext"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func TestTransactionControl(t *testing.T) {
	for sql, want := range map[string]bool{
		"commit":                            true,
		"  -- x\n /* y /* z */ */ ;COMMIT":  true,
		"prepare  transaction 'x'":          true,
		"prepare q as select 1":             false,
		"select 'commit'":                   false,
		"committed":                         false,
		"-- commit":                         false,
		"/* commit":                         false,
		"":                                  false,
		"-- x\rcommit":                      true, // a line ends there, too
		"update t set a = 1; commit":        true,
		"update t set a = 1; commit; begin": true,
		"select 'x'; /* */ begin":           true,
		"select 'it''s; commit'":            false,
		"select $a$; commit; $a$":           false,
		"select \"; commit\"":               false,
		"select E'\\'; commit; '":           false, // not clear: shows in the connection's status
		"create function f() begin atomic select 1; select 2; end": false,
		"-- name: X :exec\nrollback to sp":                         true,
		"end_of_month":                                             false,
	} {
		require.Equal(t, want, transactionControl(sql), "%q", sql)
	}
}

func TestSessionSetting(t *testing.T) {
	for sql, want := range map[string]bool{
		"set work_mem = 1":                       true,
		"SET SESSION work_mem = 1":               true,
		"/* */ reset all":                        true,
		"discard plans":                          true,
		"select 1; set work_mem = 1":             true,
		"set local work_mem = 1; set a.b = 1":    true,
		"set local work_mem = 1":                 false,
		"set constraints all deferred":           false,
		"set transaction read only":              false,
		"update t set a = 1":                     false,
		"select 'x; set work_mem = 1'; select 2": false,
	} {
		require.Equal(t, want, sessionSetting(sql), "%q", sql)
	}
}

// texts are the seeds of the fuzz tests, and whether each may be several statements.
var texts = map[string]bool{
	"":                                   false,
	";":                                  false,
	"select 1":                           false,
	"select 1;":                          false,
	"select 1;;  ; -- x\n /* ; */ ;":     false,
	";;select 1":                         false,
	"-- a; b\nselect 1":                  false,
	"-- a; b\rselect 1; select 2":        true,
	"/* a; /* b; */ c; */ select 1":      false,
	"select 1 /* */ ; /* */ select 2":    true,
	"select 1; select 2":                 true,
	"select 1;select 2;":                 true,
	"select 1 -- x\n; select 2":          true,
	"select ';'":                         false,
	"select ''';'":                       false,
	"select ''; select ''":               true,
	"select 'a' ; 'b":                    true,
	`select "a;b" from t`:                false,
	`select U&"a;\0041" from t`:          false,
	`select "a""; b"`:                    false,
	"select $$;$$":                       false,
	"select $a$ ; $b$ ; $$ ; $a$":        false,
	"select $a$ ; $a$; select 2":         true,
	"select $1; select $2":               true,
	"select $1::text || ';'":             false,
	"select a$b$; select c$b$":           true,
	"select 1$$; select 2":               true,
	`select '\'; select 2 --'`:           true,
	`select E'\'; select 2 --'`:          true, // it may be
	`select E'\\'; select 2`:             true,
	"select E'a' \n 'b\\'; select 2 --'": true,
	"select N';', B'1', X'ff'":           false,
	"do $$ begin perform 1; end $$":      false,
	"create function f() returns int begin atomic; select 1; end": true, // it may be
	"begin":                         false,
	"commit; begin":                 true,
	"select 1; rollback":            true,
	"release a":                     false,
	"prepare transaction 'x'":       false,
	"prepare transaction; select 1": true,
	"end":                           false,
	"select 1 ;\v select 2":         true,
	"select 1;\u00a0":               true,
	"select '\u00e4;'":              false,
}

func TestSeveral(t *testing.T) {
	for sql, want := range texts {
		require.Equal(t, want, several(sql), "%q", sql)
	}
}

// fuzzServer is a connection of the ordinary role to try texts on.
func fuzzServer(f *testing.F) *pgx.Conn {
	f.Helper()
	server, err := pgserver.Shared(f.Context())
	require.NoError(f, err)
	cfg, err := pgx.ParseConfig(server.AppURL("postgres"))
	require.NoError(f, err)
	cfg.RuntimeParams["statement_timeout"] = "1000"
	c, err := pgx.ConnectConfig(context.Background(), cfg)
	require.NoError(f, err)
	f.Cleanup(func() { _ = c.Close(context.Background()) })
	for sql := range texts {
		f.Add(sql)
	}
	f.Add("pieces:\x00\x02\x01\x04\x09\x04\x02\x01\x04\x04")
	return c
}

// pieces are what texts are put together from that are hard to tell apart.
var pieces = []string{
	"select 1", "select ", ";", "; select 1", "'", "''", "E'", "U&'", "N'", `\`, `\'`, `"`, `""`, `U&"`, "$$", "$a$", "$b$", "$1", "a$", "$",
	"--", "\n", "\r", "/*", "*/", "a", "1", " ", ",", "::text", "||", "+", "*", "(", ")", "\u00e4", "\v", "\f", "as x",
}

// What is taken for one statement is one: the server refuses to prepare several.
func FuzzSeveral(f *testing.F) {
	c := fuzzServer(f)
	f.Fuzz(func(t *testing.T, sql string) {
		if made, ok := strings.CutPrefix(sql, "pieces:"); ok {
			sql = ""
			for _, b := range []byte(made) {
				sql += pieces[int(b)%len(pieces)]
			}
		}
		if several(sql) || !storable(sql) {
			return
		}
		for _, conforming := range []string{"on", "off"} {
			_, err := c.PgConn().Exec(t.Context(), "set standard_conforming_strings = "+conforming).ReadAll()
			require.NoError(t, err)
			_, err = c.PgConn().Prepare(t.Context(), "", sql, nil)
			pg, ok := errors.AsType[*pgconn.PgError](err)
			require.False(t, ok && pg.Code == "42601" && pg.Routine == "exec_parse_message", "%q: %v", sql, err)
			require.False(t, c.IsClosed(), "%q: %v", sql, err)
		}
	})
}

// What is not taken for transaction control leaves the transaction as it was, or failed, or
// what it did shows in the connection's status.
func FuzzTransactionControl(f *testing.F) {
	c := fuzzServer(f)
	f.Fuzz(func(t *testing.T, sql string) {
		if word, _ := sqltext.FirstWord(sql); transactionControl(sql) || !storable(sql) || word == "copy" {
			return
		}
		id := func() string {
			result, err := c.PgConn().Exec(t.Context(), "select pg_current_xact_id()").ReadAll()
			require.NoError(t, err)
			return string(result[0].Rows[0][0])
		}
		_, err := c.PgConn().Exec(t.Context(), "rollback; begin").ReadAll()
		require.NoError(t, err)
		before := id()
		_, _ = c.PgConn().Exec(t.Context(), sql).ReadAll()
		switch c.PgConn().TxStatus() {
		case statusFailed, statusIdle: // nothing more is sent
		case statusActive:
			require.Equal(t, before, id(), "%q", sql)
		default:
			require.Fail(t, "the connection was lost", "%q", sql)
		}
	})
}

func TestQueryName(t *testing.T) {
	require.Equal(t, "GetAccount", queryName("-- name: GetAccount :one\nselect 1"))
	require.Equal(t, "select 1", queryName(" select\n\t1 "))
	long := queryName("select '" + string(make([]byte, 100)) + "'")
	require.LessOrEqual(t, len(long), 64)
}

func TestMillisecondsRoundUp(t *testing.T) {
	require.EqualValues(t, 1, milliseconds(time.Nanosecond), "zero would mean no limit")
	require.EqualValues(t, 1, milliseconds(time.Millisecond))
	require.EqualValues(t, 2, milliseconds(time.Millisecond+1))
}

func TestDelayIsJitterUnderAGrowingCeiling(t *testing.T) {
	d := &DB{cfg: Config{}.withDefaults()}
	for attempt, ceiling := range map[int]time.Duration{1: 5 * time.Millisecond, 3: 20 * time.Millisecond, 40: time.Second} {
		longest := time.Duration(0)
		for range 1000 {
			delay := d.delay(attempt)
			require.LessOrEqual(t, delay, ceiling)
			longest = max(longest, delay)
		}
		require.Greater(t, longest, ceiling/2)
	}
}
