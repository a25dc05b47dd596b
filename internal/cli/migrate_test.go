//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3/lock"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn/txntest"
)

// A step is what the command says of a migration.
type step struct {
	Set         string
	Version     int64
	File, State string
}

// migrate runs the command on the database, as its owner, and returns what it says.
func migrate(t *testing.T, d *txntest.Database, wantCode int, args ...string) (steps []step, stderr string) {
	t.Helper()
	code, stdout, stderr := interlock(t, []string{"DATABASE_URL=" + d.OwnerURL()}, append([]string{"migrate", "--json", "--only", "app"}, args...)...)
	require.Equal(t, wantCode, code, stderr)
	if code == 0 || stdout != "" {
		require.NoError(t, json.Unmarshal([]byte(stdout), &steps), stdout)
	}
	return steps, stderr
}

func states(steps []step) (all []string) {
	for _, s := range steps {
		all = append(all, fmt.Sprint(s.Version, s.State))
	}
	return all
}

// each is the states of all migrations.
func each(steps []step, state string) (all []string) {
	for _, s := range steps {
		all = append(all, fmt.Sprint(s.Version, state))
	}
	return all
}

func empty(t *testing.T) *txntest.Database {
	t.Helper()
	t.Parallel()
	return txntest.NewDatabase(t, txntest.SQL())
}

func table(t *testing.T, admin *pgxpool.Pool, name string) (exists bool) {
	t.Helper()
	require.NoError(t, admin.QueryRow(t.Context(), "select to_regclass($1) is not null", name).Scan(&exists))
	return exists
}

func TestMigrateUpAndDown(t *testing.T) {
	d := empty(t)
	admin := d.Admin(t)

	all, _ := migrate(t, d, 0, "status")
	require.NotEmpty(t, all)
	require.Equal(t, each(all, "pending"), states(all))
	require.False(t, table(t, admin, "goose_db_version"), "status only reads")

	up, stderr := migrate(t, d, 0, "up")
	require.Equal(t, each(all, "applied"), states(up))
	require.Equal(t, "00001_users.sql", up[0].File)
	require.True(t, table(t, admin, "accounts"))
	u, err := url.Parse(d.OwnerURL())
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("migrate up: database %q on %s as %s\n", strings.TrimPrefix(u.Path, "/"), u.Host, u.User.Username()), stderr)

	again, _ := migrate(t, d, 0, "up")
	require.Empty(t, again)
	status, _ := migrate(t, d, 0, "status")
	require.Equal(t, each(all, "applied"), states(status))

	last := all[len(all)-1].Version
	down, _ := migrate(t, d, 0, "down")
	require.Equal(t, []string{fmt.Sprint(last, "reverted")}, states(down))
	status, _ = migrate(t, d, 0, "status")
	require.Equal(t, append(each(all[:len(all)-1], "applied"), fmt.Sprint(last, "pending")), states(status))

	down, _ = migrate(t, d, 0, "down", "--to", "2")
	require.Len(t, down, len(all)-3)
	down, _ = migrate(t, d, 0, "down", "--to", "0")
	require.Equal(t, []string{"2reverted", "1reverted"}, states(down))
	require.False(t, table(t, admin, "users"))
	for _, args := range [][]string{{"down"}, {"down", "--to", "0"}} {
		down, _ = migrate(t, d, 0, args...)
		require.Empty(t, down)
	}

	up, _ = migrate(t, d, 0, "up")
	require.Equal(t, each(all, "applied"), states(up))
}

// Without a choice up and status mean all sets, and down the application's.
func TestMigrateSets(t *testing.T) {
	d := empty(t)
	admin := d.Admin(t)
	run := func(want int, args ...string) (sets map[string]int, stderr string) {
		code, stdout, stderr := interlock(t, []string{"DATABASE_URL=" + d.OwnerURL()}, append([]string{"migrate", "--json"}, args...)...)
		require.Equal(t, want, code, stderr)
		var steps []step
		if code == 0 {
			require.NoError(t, json.Unmarshal([]byte(stdout), &steps), stdout)
		}
		sets = map[string]int{}
		for _, s := range steps {
			sets[s.Set]++
		}
		return sets, stderr
	}
	all, _ := run(0, "status")
	require.Equal(t, 1, all["txn"])
	require.Greater(t, all["app"], 5)
	require.Greater(t, all["river"], 5)

	up, _ := run(0, "up", "--only", "txn")
	require.Equal(t, map[string]int{"txn": 1}, up)
	require.True(t, table(t, admin, "interlock.commit_token"))
	require.False(t, table(t, admin, "users"), "another application takes it alone")

	up, _ = run(0, "up")
	require.Equal(t, map[string]int{"app": all["app"], "river": all["river"]}, up)
	require.True(t, table(t, admin, "river.river_job"))
	again, _ := run(0, "up")
	require.Empty(t, again)
	down, _ := run(0, "down")
	require.Equal(t, map[string]int{"app": 1}, down)
	down, _ = run(0, "down", "--only", "txn", "--to", "0")
	require.Equal(t, map[string]int{"txn": 1}, down)
	require.False(t, table(t, admin, "interlock.commit_token"))

	down, _ = run(0, "down", "--only", "river")
	require.Equal(t, map[string]int{"river": 1}, down)
	down, _ = run(0, "down", "--only", "river", "--to", "2")
	require.Equal(t, map[string]int{"river": all["river"] - 3}, down)
	down, _ = run(0, "down", "--only", "river", "--to", "0")
	require.Equal(t, map[string]int{"river": 2}, down)
	require.False(t, table(t, admin, "river.river_job"))
	down, _ = run(0, "down", "--only", "river")
	require.Empty(t, down)
	up, _ = run(0, "up", "--only", "river")
	require.Equal(t, map[string]int{"river": all["river"]}, up)

	_, stderr := run(2, "down", "--only", "app,txn")
	require.Contains(t, stderr, "name one set")
	_, stderr = run(2, "up", "--only", "tables")
	require.Contains(t, stderr, "no set is called \"tables\": there are app, txn, river")
}

// People get lines, and the flag goes before the environment.
func TestMigrateForPeople(t *testing.T) {
	d := empty(t)
	run := func(command string) string {
		code, stdout, stderr := interlock(t, []string{"DATABASE_URL=postgres://127.0.0.1:1/other"}, "migrate", command, "--database-url", d.OwnerURL())
		require.Zero(t, code, stderr)
		return stdout
	}
	// As wide as the longest number.
	require.Regexp(t, `(?m)^app    1 +pending  00001_users\.sql$`, run("status"))
	require.Regexp(t, `(?m)^app    1 +applied  00001_users\.sql$`, run("up"))
	require.Equal(t, "nothing to do\n", run("up"))
}

func TestMigrationThatFailsHalfway(t *testing.T) {
	d := empty(t)
	admin := d.Admin(t)
	_, err := admin.Exec(t.Context(), "create table settings (id int)")
	require.NoError(t, err)
	done, stderr := migrate(t, d, 1, "up")
	require.Equal(t, []string{"1applied", "2applied"}, states(done), "what was done is said all the same")
	require.Contains(t, stderr, "42P07")
	status, _ := migrate(t, d, 0, "status")
	require.Equal(t, []string{"1applied", "2applied", "3pending"}, states(status)[:3])

	code, stdout, _ := interlock(t, []string{"DATABASE_URL=" + d.OwnerURL()}, "migrate", "up")
	require.Equal(t, 1, code)
	require.Empty(t, stdout, "not: nothing to do")
}

// A database may have been migrated by a newer program.
func TestMigrationsOfANewerProgram(t *testing.T) {
	d := empty(t)
	migrate(t, d, 0, "up")
	_, err := d.Admin(t).Exec(t.Context(), "insert into goose_db_version (version_id, is_applied) values (99999, true)")
	require.NoError(t, err)
	status, _ := migrate(t, d, 0, "status")
	require.Equal(t, step{"app", 99999, "", "unknown"}, status[len(status)-1])
	_, stderr := migrate(t, d, 1, "down")
	require.Contains(t, stderr, "version not found")
}

// waiting counts the sessions that look for goose's lock.
func waiting(t *testing.T, admin *pgxpool.Pool) (n int) {
	t.Helper()
	require.NoError(t, admin.QueryRow(t.Context(), `
		select count(*) from pg_stat_activity
		where datname = current_database() and query = 'SELECT pg_try_advisory_lock($1)'`).Scan(&n))
	return n
}

func TestMigrateTwiceAtOnce(t *testing.T) {
	d := empty(t)
	all, _ := migrate(t, d, 0, "status")
	admin := d.Admin(t)
	other, err := admin.Acquire(t.Context())
	require.NoError(t, err)
	defer other.Release()
	_, err = other.Exec(t.Context(), "select pg_advisory_lock($1)", lock.DefaultLockID)
	require.NoError(t, err)

	env := []string{"DATABASE_URL=" + d.OwnerURL()}
	both := []*process{start(t, env, "migrate", "up", "--json", "--only", "app"), start(t, env, "migrate", "up", "--json", "--only", "app")}
	interrupted := start(t, env, "migrate", "up", "--json", "--only", "app")
	until(t, "all wait", func() bool { return waiting(t, admin) == 3 })

	status, _ := migrate(t, d, 0, "status")
	require.Equal(t, each(all, "pending"), states(status), "status does not wait")
	interrupted.signal(t, syscall.SIGINT)
	require.Equal(t, 1, interrupted.code())
	require.Contains(t, interrupted.stderr.String(), "interlock: interrupted\n")
	require.Empty(t, interrupted.stdout.String())

	_, err = other.Exec(t.Context(), "select pg_advisory_unlock($1)", lock.DefaultLockID)
	require.NoError(t, err)
	var done []int
	for _, p := range both {
		require.Zero(t, p.code(), p.stderr.String())
		var steps []step
		require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &steps))
		done = append(done, len(steps))
	}
	require.ElementsMatch(t, []int{0, len(all)}, done, "one migrates, the other finds nothing to do")
}

func TestMigrateWhere(t *testing.T) {
	d := empty(t)
	u, err := url.Parse(d.OwnerURL())
	require.NoError(t, err)
	for _, c := range []struct {
		name, url string
		code      int
		stderr    string
	}{
		{"no URL", "", 2, "give --database-url or set DATABASE_URL"},
		{"no port", "postgres://owner:s3cret@host:port/db", 2, "cannot be parsed"},
		{"not encoded", "postgres://owner:s3cret%zz@host/db", 2, "cannot be parsed"},
		{"slash in it", "postgres://owner:12/s3cret@host/db", 2, "cannot be parsed"},
		{"@ and slash in it", "postgres://owner:s3cret@12/s3cret@host/db", 2, "cannot be parsed"},
		{"? in it", "postgres://owner:12?s3cret@host/db", 2, "cannot be parsed"},
		{"# in it", "postgres://owner:12#s3cret@host/db", 2, "cannot be parsed"},
		{"other kind", "mysql://owner:s3cret@host/db", 2, "cannot be parsed"},
		{"words", "host=h password=s3cret port=none", 2, "cannot be parsed"},
		{"setting", "postgres://owner@host/db?password=s3cret&sslmode=often", 2, "cannot be parsed"},
		{"unreachable", "postgres://owner:s3cret@127.0.0.1:1/db", 1, "failed to connect"},
		{"several", "postgres://owner:s3cret@127.0.0.1:1,127.0.0.1:2/db", 1, `database "db" on 127.0.0.1:1 or 127.0.0.1:2 as owner`},
		{"parameter", "postgres://owner@127.0.0.1:1/db?password=s3cret", 1, "failed to connect"},
		{"wrong password", "postgres://" + u.User.Username() + ":s3cret@" + u.Host + u.Path, 1, "28P01"},
		{"setting of the session", d.OwnerURL() + "&lock_timeout=soon", 1, "22023"},
		{"no such database", "postgres://" + u.User.String() + "@" + u.Host + "/s3cret-none", 1, "3D000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, command := range []string{"up", "down", "status"} {
				code, stdout, stderr := interlock(t, []string{"DATABASE_URL=" + c.url}, "migrate", command)
				require.Equal(t, c.code, code, stderr)
				require.Contains(t, stderr, c.stderr)
				require.Empty(t, stdout)
				if c.name != "no such database" { // there it is the database's name
					require.NotContains(t, stderr, "s3cret")
				}
				password, _ := u.User.Password()
				require.NotContains(t, stderr, password)
			}
		})
	}
}
