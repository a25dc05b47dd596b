package main

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// pgbenchSQL is the transfer in four statements, as PostgreSQL's own client for benchmarks can
// say it. It does not look at the balance: the table's CHECK would.
var pgbenchSQL = fmt.Sprintf(`\set from random(1, %d)
\set to random(1, %d)
\set to :to + case when :to >= :from then 1 else 0 end
\set first least(:from, :to)
\set second greatest(:from, :to)
begin;
select balance from wallets where id = :first for no key update;
select balance from wallets where id = :second for no key update;
update wallets set balance = balance + -1 where id = :from;
update wallets set balance = balance + 1 where id = :to;
commit;
`, accounts, accounts-1)

// pgbench is an entrant that does nothing but send and receive: a measure for what a driver can
// reach. Its turn is at least a second, because it counts in seconds. Its processor time is that
// of its process, which begins anew in each turn.
func (c *course) pgbench(clients int) entrant {
	dir, err := os.MkdirTemp("", "bench")
	script := filepath.Join(dir, "transfer.sql")
	if err == nil {
		err = os.WriteFile(script, []byte(pgbenchSQL), 0o600)
	}
	run := func(ctx context.Context, length time.Duration, seed uint64) (slot, error) {
		if err != nil {
			return slot{}, err
		}
		cmd := exec.CommandContext(ctx, c.bench, "-n", "-M", "prepared", "-f", script,
			"-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, runtime.NumCPU())),
			"-T", strconv.Itoa(int(math.Ceil(length.Seconds()))), "--random-seed", strconv.FormatUint(seed%(1<<31), 10))
		cmd.Env = append(os.Environ(), libpq(c.url)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return slot{}, fmt.Errorf("%w: %s", err, out)
		}
		n, tps, err := parsePgbench(string(out))
		if err != nil {
			return slot{}, err
		}
		return slot{
			Transactions:    n,
			Wall:            time.Duration(float64(n) / tps * float64(time.Second)),
			CPU:             cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
			AllTransactions: n,
			AllRoundTrips:   -1,
		}, nil
	}
	return entrant{"pgbench", run, func() { _ = os.RemoveAll(dir) }}
}

// libpq gives the connection string in the environment, where others do not see the password.
func libpq(dsn string) []string {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil
	}
	password, _ := u.User.Password()
	return []string{
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(), "PGPASSWORD=" + password,
		"PGDATABASE=" + strings.TrimPrefix(u.Path, "/"), "PGSSLMODE=disable",
	}
}

var (
	pgbenchCount = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
	pgbenchTPS   = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)`)
)

// parsePgbench reads what pgbench prints from PostgreSQL 14 on.
func parsePgbench(out string) (n int, tps float64, err error) {
	count, rate := pgbenchCount.FindStringSubmatch(out), pgbenchTPS.FindStringSubmatch(out)
	if count == nil || rate == nil {
		return 0, 0, fmt.Errorf("pgbench did not say how many transactions there were: %s", out)
	}
	if n, err = strconv.Atoi(count[1]); err == nil {
		tps, err = strconv.ParseFloat(rate[1], 64)
	}
	return n, tps, err
}
