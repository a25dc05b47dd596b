package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A report is what the calls reported beside what the database holds.
type report struct {
	Postgres string  `json:"postgres"` // version
	Accounts int     `json:"accounts"`
	Workers  int     `json:"workers"`
	Seed     uint64  `json:"seed"`
	Seconds  float64 `json:"seconds"`

	// The transfers, each under one heading.
	Asked     int    `json:"transfers_asked"`
	Committed int    `json:"committed"`
	Refused   counts `json:"refused"`  // by rule
	GivenUp   counts `json:"given_up"` // by what failed the last attempt
	Unknown   counts `json:"unknown"`  // by what the key showed in the end

	Calls       int      `json:"calls"`
	Replayed    int      `json:"replayed"` // calls that another with the same key had carried out
	Retries     counts   `json:"retries"`  // by SQLSTATE
	Killed      ended    `json:"connections_killed"`
	Cut         ended    `json:"connections_cut"`
	CommitsLost resolved `json:"commits_lost"` // COMMITs without answer, by what was found out
	Looks       int      `json:"looks"`        // at the sum of the balances, meanwhile
	LatencyMS   latency  `json:"latency_ms"`
	Unexplained []string `json:"unexplained_errors"` // the first of them

	Sums  []sum `json:"sums"`
	Right bool  `json:"right"` // all of them
}

// ended are connections that a fault ended.
type ended struct {
	Connections  int64 `json:"connections"`
	Transactions int64 `json:"transactions"` // attempts in the middle of which it came
	Commits      int64 `json:"commits"`      // those of them that had sent COMMIT and got no answer
}

func (e ended) String() string {
	return fmt.Sprintf("%d in the middle of a transaction, %d of these between COMMIT and its answer", e.Transactions, e.Commits)
}

type latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// A sum is something that must be true in the end.
type sum struct {
	Name  string `json:"name"`
	Right bool   `json:"right"`
	Found string `json:"found"`
}

// report reads the books, when all calls have returned.
func (l *load) report(ctx context.Context) (*report, error) {
	if err := l.stage.settle(ctx); err != nil {
		return nil, err
	}
	b, err := readBooks(ctx, l.stage.admin)
	if err != nil {
		return nil, fmt.Errorf("demo: read the books: %w", err)
	}
	t := l.tally
	transfers := t.histories()
	r := &report{
		Postgres: l.stage.version(), Accounts: len(l.accounts), Workers: l.demo.workers,
		Seed: l.demo.seed, Seconds: l.took.Seconds(),
		Asked: len(transfers), Refused: counts{}, GivenUp: counts{}, Unknown: counts{},
		Calls:       len(t.outcomes),
		Replayed:    t.count(func(o outcome) bool { return o.fate == replayed }),
		Retries:     t.retries,
		Killed:      ended{l.killed(), t.killed.Load(), t.commitKilled.Load()},
		Cut:         ended{l.cut(), t.cut.Load(), t.commitCut.Load()},
		CommitsLost: t.found(),
		Looks:       t.looks,
		LatencyMS:   latencyOf(t.latencies),
		Unexplained: append([]string{}, t.errors[:min(examples, len(t.errors))]...),
	}
	for key, h := range transfers {
		switch f := h.fate(); f {
		case committed:
			r.Committed++
		case refused:
			r.Refused[h.reasons[f]]++
		case unknown:
			r.Unknown[lookedUp(b.stored[key])]++
		default:
			r.GivenUp[h.reasons[f]]++
		}
	}
	r.Sums = slices.Concat(l.moneySums(b), requestSums(t, transfers, b), []sum{l.faultSum()})
	r.Right = !slices.ContainsFunc(r.Sums, func(s sum) bool { return !s.Right })
	return r, nil
}

func lookedUp(stored int) string {
	if stored > 0 {
		return "committed"
	}
	return "not committed"
}

func latencyOf(all []time.Duration) latency {
	slices.Sort(all)
	ms := func(p float64) float64 { return float64(percentile(all, p).Microseconds()) / 1000 }
	return latency{P50: ms(0.50), P95: ms(0.95), P99: ms(0.99), Max: ms(1)}
}

// moneySums: transfers move money, they make none.
func (l *load) moneySums(b books) []sum {
	opened, t := l.opened(), l.tally
	return []sum{
		{
			"balances constant", b.balances == opened && t.wrong == 0,
			fmt.Sprintf("%s, opened with %s; %d of %d looks meanwhile saw another sum", b.balances, opened, t.wrong, t.looks),
		},
		{
			"ledger equals balances", b.ledger == b.balances && b.all == 0 && b.differing == 0 && b.unbalanced == 0,
			fmt.Sprintf("%s; %d accounts differ; %d transfers do not sum to zero", b.ledger, b.differing, b.unbalanced),
		},
	}
}

// requestSums compare what the calls said with the keys in the database.
func requestSums(t *tally, transfers map[string]*history, b books) []sum {
	var twice, missing, claimed, denied, alien, torn keys
	for key, h := range transfers {
		stored := b.stored[key]
		if stored > 1 {
			twice = append(twice, key)
		}
		switch h.fate() {
		case committed:
			if stored != 1 {
				missing = append(missing, key)
			}
			// One call moved the money and says so, unless that one is the one that was lost.
			if h.calls[committed] > 1 || h.calls[committed] == 0 && h.calls[unknown] == 0 {
				claimed = append(claimed, key)
			}
		case unknown: // may be there or not
		default:
			if stored != 0 {
				denied = append(denied, key)
			}
		}
	}
	for key := range b.stored {
		if transfers[key] == nil {
			alien = append(alien, key)
		}
	}
	for _, o := range t.outcomes {
		if slices.ContainsFunc(o.keys, func(key string) bool { return b.stored[key] != b.stored[o.keys[0]] }) {
			torn = append(torn, o.keys...)
		}
	}
	// The server stays up, so that it can be asked about every one.
	found, unsure := t.found(), t.count(func(o outcome) bool { return o.fate == unknown })
	return []sum{
		{"every request id at most once", twice.none(), fmt.Sprintf("%s of %d are there twice", twice, len(transfers))},
		{
			"every acknowledged one exactly once", missing.none() && claimed.none(),
			fmt.Sprintf("%s are missing; %s were moved by no call or by several", missing, claimed),
		},
		{
			"every other one as reported", denied.none() && alien.none(),
			fmt.Sprintf("%s are there though refused or given up; %s were never asked for", denied, alien),
		},
		{"both transfers of a transaction or none", torn.none(), fmt.Sprintf("%s are there without the other one", torn)},
		{
			"every COMMIT without answer found out", unsure == 0 && found.Unknown == 0,
			fmt.Sprintf("%d of %d stayed unknown", max(unsure, found.Unknown), found.total()),
		},
		{"every error explained by a rule or a fault", len(t.errors) == 0, fmt.Sprintf("%d are not", len(t.errors))},
	}
}

// faultSum: what the other sums show is worth what the faults are that they had to stand.
func (l *load) faultSum() sum {
	return sum{
		"as many faults as asked for", !slices.ContainsFunc(l.faults(), (*fault).incomplete),
		fmt.Sprintf("%s, %s; between COMMIT and its answer %s, %s", l.kills, l.cuts, l.commitKills, l.commitCuts),
	}
}

// examples is how many of the things that are wrong are shown.
const examples = 3

// keys are requests that something is wrong with.
type keys []string

func (k keys) none() bool { return len(k) == 0 }

// String is how many, with some examples.
func (k keys) String() string {
	if len(k) == 0 {
		return "0"
	}
	sorted := slices.Sorted(slices.Values(k))
	list := strings.Join(sorted[:min(examples, len(sorted))], ", ")
	if len(sorted) > examples {
		list += ", …"
	}
	return fmt.Sprintf("%d (%s)", len(k), list)
}

// print prints the report as a table.
func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(w)
	row("run", "PostgreSQL %s, %d accounts, %d goroutines, seed %d", r.Postgres, r.Accounts, r.Workers, r.Seed)
	row("transfers asked", "%d in %.1f s, %.0f a second", r.Asked, r.Seconds, float64(r.Asked)/r.Seconds)
	row("  committed", "%d", r.Committed)
	row("  refused", "%d: %s", r.Refused.total(), r.Refused)
	row("  given up, not done", "%d: %s", r.GivenUp.total(), named(r.GivenUp))
	row("  unknown, looked up", "%d: %s", r.Unknown.total(), r.Unknown)
	row("calls", "%d, of which %d sent a request again and got its first result", r.Calls, r.Replayed)
	row("retries", "%d: %s", r.Retries.total(), named(r.Retries))
	row("connections killed", "%d by the server, %s", r.Killed.Connections, r.Killed)
	row("connections cut", "%d on the way, %s", r.Cut.Connections, r.Cut)
	row("COMMIT without answer", "%d: found out %d committed, %d not committed, %d unknown",
		r.CommitsLost.total(), r.CommitsLost.Committed, r.CommitsLost.NotCommitted, r.CommitsLost.Unknown)
	row("latency", "p50 %s, p95 %s, p99 %s, max %s", milliseconds(r.LatencyMS.P50), milliseconds(r.LatencyMS.P95),
		milliseconds(r.LatencyMS.P99), milliseconds(r.LatencyMS.Max))
	fmt.Fprintln(w)
	for _, s := range r.Sums {
		row(s.Name, "%s  %s", map[bool]string{true: "yes", false: "NO "}[s.Right], s.Found)
	}
	for _, text := range r.Unexplained {
		row("unexplained", "%s", text)
	}
	return w.Flush()
}

// conditions are PostgreSQL's names of the SQLSTATEs that a demonstration meets.
var conditions = map[string]string{
	"40001": "serialization_failure", "40P01": "deadlock_detected", "53300": "too_many_connections", "57P01": "admin_shutdown",
}

// named adds the names to SQLSTATEs.
func named(c counts) counts {
	n := counts{}
	for state, count := range c {
		n[strings.TrimSpace(state+" "+conditions[state])] = count
	}
	return n
}

func milliseconds(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }
