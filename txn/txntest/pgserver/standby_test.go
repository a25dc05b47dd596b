//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pgserver_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func startStandby(t *testing.T, primary *pgserver.Server, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	standby, err := pgserver.StartStandby(t.Context(), primary, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Stop()) })
	return standby
}

// arrives waits until the standby has as many rows as the primary.
func arrives(t *testing.T, standby *pgx.Conn, rows int) {
	t.Helper()
	until(t, "the rows arrive", func() bool {
		var n int
		err := standby.QueryRow(t.Context(), "select count(*) from kept").Scan(&n)
		return err == nil && n == rows
	})
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := start(t, pgserver.Config{Settings: map[string]string{"max_connections": "310"}})
	p := connect(t, primary.AdminURL("postgres"))
	exec := func(c *pgx.Conn, sql string) error {
		_, err := c.Exec(t.Context(), sql)
		return err
	}
	require.NoError(t, exec(p, "create table kept as select 1 as n; grant select, insert on kept to "+pgserver.AppRole))

	standby := startStandby(t, primary, pgserver.Config{Settings: map[string]string{"cluster_name": "second"}})
	require.NotEqual(t, primary.AppURL("postgres"), standby.AppURL("postgres"))
	require.Equal(t, primary.VersionNum(), standby.VersionNum())
	require.True(t, standby.Private())
	s := connect(t, standby.AppURL("postgres"))
	arrives(t, s, 1)
	var name, connections string
	require.NoError(t, s.QueryRow(t.Context(), "select current_setting('cluster_name'), current_setting('max_connections')").Scan(&name, &connections))
	require.Equal(t, "second", name)
	require.Equal(t, "310", connections, "as the primary has it")

	require.NoError(t, exec(p, "insert into kept values (2)"))
	arrives(t, s, 2)
	err := exec(s, "insert into kept values (3)")
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "25006", pgErr.Code, "read_only_sql_transaction")

	// It goes on where it was after either end.
	require.NoError(t, standby.Restart(t.Context()))
	require.NoError(t, standby.Crash(t.Context()))
	require.NoError(t, exec(p, "insert into kept values (3)"))
	arrives(t, connect(t, standby.AppURL("postgres")), 3)

	require.NoError(t, standby.Promote(t.Context()))
	s = connect(t, standby.AppURL("postgres"))
	require.NoError(t, exec(s, "insert into kept values (4)"))
	arrives(t, s, 4)
	require.NoError(t, exec(p, "insert into kept values (5), (6)"), "nobody told the old primary")
	require.NoError(t, standby.Restart(t.Context()))
	arrives(t, connect(t, standby.AppURL("postgres")), 4)
	require.ErrorContains(t, standby.Promote(t.Context()), "55000", "it is none any more")
	require.Error(t, primary.Promote(t.Context()))

	third := startStandby(t, standby, pgserver.Config{NoSync: true})
	arrives(t, connect(t, third.AppURL("postgres")), 4)
	require.NoError(t, standby.Stop())
	require.NoError(t, third.Promote(t.Context()), "without a primary")
}

func TestStandbyThatCannotBe(t *testing.T) {
	t.Parallel()
	primary := start(t, pgserver.Config{Settings: map[string]string{"max_wal_senders": "0", "wal_level": "minimal"}})
	_, err := pgserver.StartStandby(t.Context(), primary, pgserver.Config{Version: "15"})
	require.ErrorContains(t, err, "version of its primary")
	_, err = pgserver.StartStandby(t.Context(), primary, pgserver.Config{})
	require.ErrorContains(t, err, "55000", "wal_level")
	require.NoError(t, primary.Stop())
	_, err = pgserver.StartStandby(t.Context(), primary, pgserver.Config{})
	require.Error(t, err)
}
