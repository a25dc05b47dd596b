package txntest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// An invariant is a query that must return no row.
type invariant struct{ name, query string }

// Invariant adds a query to the check at the test's end. It must return no row; each row
// that it returns is printed. It runs as the superuser, whom no row security hides rows from.
func (d *Database) Invariant(name, query string) {
	d.invariants = append(d.invariants, invariant{name, query})
}

// Check fails the test for whatever CheckClean finds in the database, and for each invariant
// that does not hold. It runs by itself at the test's end; a test may call it in between,
// after closing its pools.
func (d *Database) Check(t testing.TB) {
	t.Helper()
	check(t, d.AdminURL(), d.invariants)
}

// CheckClean fails the test if the database of adminURL holds at this moment a session other
// than the check's own, a prepared transaction or a lock, and says what was found. Sessions
// that are ending are given two seconds. adminURL must be a superuser's: others do not see
// what sessions do.
func CheckClean(t testing.TB, adminURL string) {
	t.Helper()
	check(t, adminURL, nil)
}

func check(t testing.TB, adminURL string, invariants []invariant) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), finishPatience)
	defer cancel()
	err := connected(ctx, adminURL, func(admin *pgx.Conn) error {
		if err := awaitNobody(ctx, admin); err != nil {
			return err
		}
		left, err := leftOpen(ctx, admin)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			t.Errorf("txntest: left open in the database:\n\t%s", strings.Join(left, "\n\t"))
		}
		for _, i := range invariants {
			rows, err := lines(ctx, admin, i.query)
			if err != nil {
				t.Errorf("txntest: invariant %q: %v", i.name, err)
			} else if len(rows) > 0 {
				t.Errorf("txntest: invariant %q does not hold:\n\t%s", i.name, strings.Join(rows, "\n\t"))
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("txntest: check: %v", err)
	}
}

const (
	// A session is anybody's but the watcher's. Background workers come and go by themselves.
	sessionsSQL = `
		select format('session %s of %s (%s): %s%s%s, last statement %s ago: %s',
			a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'unnamed'), a.state,
			', in a transaction for ' || (clock_timestamp() - a.xact_start),
			', waits for ' || a.wait_event_type || ' ' || a.wait_event
				|| coalesce(' behind ' || nullif(array_to_string(pg_blocking_pids(a.pid), ', '), ''), ''),
			clock_timestamp() - a.query_start, left(regexp_replace(a.query, '\s+', ' ', 'g'), 120))
		from pg_stat_activity a
		where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
		order by a.pid`

	preparedSQL = `
		select format('prepared transaction %s of %s for %s', gid, owner, clock_timestamp() - prepared)
		from pg_prepared_xacts where database = current_database() order by gid`

	// The predicate locks of a serializable transaction may outlive it, as long as others
	// overlap it, and nobody waits for them.
	locksSQL = `
		select format('lock %s %s %s of %s%s', l.locktype, l.mode,
			coalesce(l.relation::regclass::text, concat_ws(',', l.classid, l.objid, l.objsubid)),
			coalesce('session ' || l.pid, 'a prepared transaction'), case when not l.granted then ', awaited' end)
		from pg_locks l left join pg_stat_activity a on a.pid = l.pid
		where l.database = (select oid from pg_database where datname = current_database())
			and l.mode <> 'SIReadLock' and l.pid is distinct from pg_backend_pid()
			and coalesce(a.backend_type, 'client backend') = 'client backend'
		order by l.pid, l.locktype, l.mode`
)

// awaitNobody returns when no other session is left, or after two seconds: a socket that was
// closed a moment ago has a session for a moment longer.
func awaitNobody(ctx context.Context, admin *pgx.Conn) error {
	const others = `select count(*) from pg_stat_activity
		where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`
	for deadline := time.Now().Add(2 * time.Second); ; {
		var n int
		if err := admin.QueryRow(ctx, others).Scan(&n); err != nil {
			return err
		}
		if n == 0 || time.Now().After(deadline) {
			return nil
		}
		if _, err := admin.Exec(ctx, "select pg_sleep(0.005)"); err != nil {
			return err
		}
	}
}

// leftOpen describes the sessions, prepared transactions and locks in admin's database.
func leftOpen(ctx context.Context, admin Querier) ([]string, error) {
	var all []string
	for _, sql := range []string{sessionsSQL, preparedSQL, locksSQL} {
		found, err := lines(ctx, admin, sql)
		if err != nil {
			return all, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// lines returns a query's rows as text.
func lines(ctx context.Context, q Querier, sql string) ([]string, error) {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return strings.TrimSuffix(fmt.Sprintln(values...), "\n"), err
	})
}
