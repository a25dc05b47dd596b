package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

// A summary is what the calls reported beside what the database holds.
type summary struct {
	Postgres string  `json:"postgres"` // version
	Workers  int     `json:"workers"`
	Seed     uint64  `json:"seed"`
	Seconds  float64 `json:"seconds"`

	figures             // of all scenes together
	Scenes  []sceneRows `json:"scenes"`

	Killed      ended    `json:"connections_killed"`
	Cut         ended    `json:"connections_cut"`
	Stopped     stopped  `json:"server_stopped"`
	Unexplained []string `json:"unexplained_errors"` // the first of them

	Sums  []sum `json:"sums"`
	Right bool  `json:"right"` // all of them
}

// sceneRows are the figures of one scene.
type sceneRows struct {
	Name string `json:"scene"`
	figures
}

// figures are what clients asked for and were told.
type figures struct {
	// What was asked for, each under one heading.
	Asked     int    `json:"asked"`
	Committed int    `json:"committed"`
	Refused   counts `json:"refused"`  // by rule
	GivenUp   counts `json:"given_up"` // by what failed the last attempt
	Unknown   counts `json:"unknown"`  // by what the key showed in the end

	Calls       int      `json:"calls"`    // of clients, those that asked again counted once
	Replayed    int      `json:"replayed"` // calls that another with the same key had carried out
	AskedAgain  again    `json:"asked_again"`
	Retries     counts   `json:"retries"`      // by SQLSTATE
	CommitsLost resolved `json:"commits_lost"` // COMMITs without answer, by what was found out
	Looks       int      `json:"looks"`        // meanwhile, at what a scene has to look at
	LatencyMS   latency  `json:"latency_ms"`   // until the client had its answer
}

// again is how often clients asked again, and why.
type again struct {
	Unknown  int `json:"unknown"`   // the outcome was unknown
	Done     int `json:"done"`      // of the clients who did not know, how many heard that it was done
	NoServer int `json:"no_server"` // it was stopped
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

// stopped is how often the server was.
type stopped struct {
	Times        int64   `json:"times"`
	Seconds      float64 `json:"seconds"`      // in all, until it answered again
	Transactions int64   `json:"transactions"` // attempts that failed for it
	Commits      int64   `json:"commits"`      // those of them that had sent COMMIT and got no answer
}

type latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// A sum is something that must be true in the end.
type sum struct {
	Scene string `json:"scene,omitempty"` // "" is all
	Name  string `json:"name"`
	Right bool   `json:"right"`
	Found string `json:"found"`
}

// report reads the books, when all calls have returned.
func (l *load) report(ctx context.Context) (*summary, error) {
	if err := l.stage.settle(ctx); err != nil {
		return nil, err
	}
	audits, jobs, err := l.audit(ctx)
	if err != nil {
		return nil, fmt.Errorf("demo: read the books: %w", err)
	}
	all, stored := newTally(l.toll), map[string]int{}
	r := &summary{
		Postgres: l.stage.version(), Workers: l.demo.workers, Seed: l.demo.seed, Seconds: l.took.Seconds(),
		Killed: ended{l.killed(), l.toll.killed.Load(), l.toll.commitKilled.Load()},
		Cut:    ended{l.cut(), l.toll.cut.Load(), l.toll.commitCut.Load()},
		Stopped: stopped{
			l.toll.outages.over.Load(), l.toll.outages.total().Seconds(), l.toll.downed.Load(), l.toll.commitDowned.Load(),
		},
	}
	var sums []sum
	for i, p := range l.parts {
		all.add(p.tally)
		maps.Copy(stored, audits[i].stored)
		r.Scenes = append(r.Scenes, sceneRows{p.name, p.tally.figures(audits[i].stored)})
		for _, s := range audits[i].sums {
			s.Scene = p.name
			sums = append(sums, s)
		}
	}
	r.figures = all.figures(stored)
	r.Unexplained = append([]string{}, all.errors[:min(examples, len(all.errors))]...)
	r.Sums = slices.Concat(requestSums(all, stored), jobs, l.faultSums(), sums)
	r.Right = !slices.ContainsFunc(r.Sums, func(s sum) bool { return !s.Right })
	return r, nil
}

// audit reads all books as of one moment, as the superuser.
func (l *load) audit(ctx context.Context) (audits []audit, jobs []sum, err error) {
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, l.stage.admin, opts, func(tx pgx.Tx) error {
		for _, p := range l.parts {
			a, err := p.audit(ctx, tx, p.tally)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			always, err := invariantSums(ctx, tx, p.invariants)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			a.sums = append(a.sums, always...)
			audits = append(audits, a)
		}
		jobs, err = l.crew.sums(ctx, tx)
		return err
	})
	return audits, jobs, err
}

// figures are the tally's, beside what the database holds.
func (t *tally) figures(stored map[string]int) figures {
	histories := t.histories()
	f := figures{
		Asked: len(histories), Refused: counts{}, GivenUp: counts{}, Unknown: counts{},
		Calls:       len(t.outcomes),
		Replayed:    t.count(func(o outcome) bool { return o.fate == repeated }),
		Retries:     t.retries,
		CommitsLost: t.lost(),
		Looks:       t.looks,
		LatencyMS:   latencyOf(t.latencies),
	}
	for _, o := range t.outcomes {
		f.AskedAgain.Unknown += o.unsure
		f.AskedAgain.NoServer += o.absent
		if o.unsure > 0 && (o.fate == repeated || o.fate == done) {
			f.AskedAgain.Done++
		}
	}
	for key, h := range histories {
		switch fate := h.fate(); fate {
		case committed:
			f.Committed++
		case refused:
			f.Refused[h.reasons[fate]]++
		case unknown:
			f.Unknown[lookedUp(stored[key])]++
		default:
			f.GivenUp[h.reasons[fate]]++
		}
	}
	return f
}

func lookedUp(stored int) string {
	if stored > 0 {
		return "committed"
	}
	return "not committed"
}

func latencyOf(all []time.Duration) latency {
	sorted := slices.Sorted(slices.Values(all))
	ms := func(p float64) float64 { return float64(percentile(sorted, p).Microseconds()) / 1000 }
	return latency{P50: ms(0.50), P95: ms(0.95), P99: ms(0.99), Max: ms(1)}
}

// requestSums compare what the calls said with the keys in the database.
func requestSums(t *tally, stored map[string]int) []sum {
	histories := t.histories()
	var twice, missing, claimed, denied, alien, torn keys
	for key, h := range histories {
		there := stored[key]
		if there > 1 {
			twice = append(twice, key)
		}
		switch fate := h.fate(); fate {
		case committed:
			if there != 1 {
				missing = append(missing, key)
			}
			if !h.claimed() {
				claimed = append(claimed, key)
			}
		case unknown: // may be there or not
		default:
			if there != 0 {
				denied = append(denied, key+": "+h.reasons[fate])
			}
		}
	}
	for key := range stored {
		if histories[key] == nil {
			alien = append(alien, key)
		}
	}
	for _, o := range t.outcomes {
		if slices.ContainsFunc(o.keys, func(key string) bool { return stored[key] != stored[o.keys[0]] }) {
			torn = append(torn, o.keys...)
		}
	}
	return []sum{
		{Name: "every request id at most once", Right: twice.none(), Found: fmt.Sprintf("%s of %d are there twice", twice, len(histories))},
		{
			Name: "every acknowledged one exactly once", Right: missing.none() && claimed.none(),
			Found: fmt.Sprintf("%s are missing; %s were done by no call or by several", missing, claimed),
		},
		{
			Name: "every other one as reported", Right: denied.none() && alien.none(),
			Found: fmt.Sprintf("%s are there though refused or given up; %s were never asked for", denied, alien),
		},
		{
			Name: "both requests of a transaction or none", Right: torn.none(),
			Found: fmt.Sprintf("%s are there without the other one", torn),
		},
		foundOutSum(t),
		{
			Name: "every error explained by a rule or a fault", Right: len(t.errors) == 0,
			Found: fmt.Sprintf("%d are not", len(t.errors)),
		},
	}
}

// foundOutSum: a server that stays up can be asked about every COMMIT. One that stops takes with
// it what could be asked; then the client hears of it when it asks again.
func foundOutSum(t *tally) sum {
	found := t.found()
	unsure, unexcused := t.unsure()
	left := t.count(func(o outcome) bool { return o.fate == unknown })
	silent := max(0, found.Unknown-unsure) // which no client was told of
	s := sum{
		Name: "every COMMIT without answer found out", Right: left == 0 && unexcused == 0 && silent == 0,
		Found: fmt.Sprintf("%d of %d stayed unknown", max(left, unexcused+silent), t.lost().total()),
	}
	if unsure > 0 {
		s.Found += fmt.Sprintf("; %d left nobody or nothing to ask, and the client heard when it asked again", unsure-unexcused)
	}
	return s
}

// faultSums: what the other sums show is worth what the faults are that they had to stand.
func (l *load) faultSums() []sum {
	if !l.demo.faults {
		return nil
	}
	return []sum{{
		Name: "as many faults as asked for", Right: !slices.ContainsFunc(l.faults(), (*fault).incomplete),
		Found: fmt.Sprintf("%s, %s, %s; between COMMIT and its answer %s, %s", l.kills, l.cuts, l.restarts, l.commitKills, l.commitCuts),
	}}
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

// print prints the report as tables.
func (r *summary) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(w)
	row("run", "PostgreSQL %s, %d goroutines, seed %d", r.Postgres, r.Workers, r.Seed)
	row("requests asked", "%d in %.1f s, %.0f a second", r.Asked, r.Seconds, float64(r.Asked)/r.Seconds)
	row("  committed", "%d", r.Committed)
	row("  refused", "%d: %s", r.Refused.total(), r.Refused)
	row("  given up, not done", "%d: %s", r.GivenUp.total(), named(r.GivenUp))
	row("  unknown, looked up", "%d: %s", r.Unknown.total(), r.Unknown)
	row("calls", "%d, of which %d sent a request again and got its first result", r.Calls, r.Replayed)
	row("asked again", "%d for an unknown outcome (%d had been done), %d for lack of a server",
		r.AskedAgain.Unknown, r.AskedAgain.Done, r.AskedAgain.NoServer)
	row("retries", "%d: %s", r.Retries.total(), named(r.Retries))
	row("connections killed", "%d by the server, %s", r.Killed.Connections, r.Killed)
	row("connections cut", "%d on the way, %s", r.Cut.Connections, r.Cut)
	row("server stopped", "%d times, %.1f s in all, which failed %d attempts", r.Stopped.Times, r.Stopped.Seconds, r.Stopped.Transactions)
	row("COMMIT without answer", "%d: found out %d committed, %d not committed, %d unknown",
		r.CommitsLost.total(), r.CommitsLost.Committed, r.CommitsLost.NotCommitted, r.CommitsLost.Unknown)
	row("latency", "%s", r.LatencyMS)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "scene\tasked\tcommitted\trefused\tgiven up\tunknown\tretries\tasked again\tlatency")
	for _, s := range r.Scenes {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", s.Name, s.Asked, s.Committed, s.Refused.total(), s.GivenUp.total(),
			s.Unknown.total(), s.Retries.total(), s.AskedAgain.Unknown+s.AskedAgain.NoServer, s.LatencyMS)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	scene := ""
	for i, s := range r.Sums {
		if i == 0 || s.Scene != scene {
			scene = s.Scene
			fmt.Fprintf(w, "\n%s\n", cmp.Or(scene, "all scenes"))
		}
		row("  "+s.Name, "%s  %s", map[bool]string{true: "yes", false: "NO "}[s.Right], s.Found)
	}
	for _, text := range r.Unexplained {
		row("unexplained", "%s", text)
	}
	return w.Flush()
}

func (l latency) String() string {
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s, max %s", milliseconds(l.P50), milliseconds(l.P95), milliseconds(l.P99), milliseconds(l.Max))
}

// conditions are PostgreSQL's names of the SQLSTATEs that a demonstration meets.
var conditions = map[string]string{
	"23505": "unique_violation", "40001": "serialization_failure", "40P01": "deadlock_detected", "53300": "too_many_connections",
	"55P03": "lock_not_available", "57P01": "admin_shutdown", "57P02": "crash_shutdown", "57P03": "cannot_connect_now",
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
