package txn_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The tests whose names begin with TestFaults count what becomes of many calls under faults.
// In their short form they take a part of the faults, in their long one all.
var long = flag.Bool("faults.long", false, "the long form of the tests TestFaults…, with a table of what was counted")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *long {
		if err := report.print(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// report is what the long form prints.
var report table

type table struct {
	mu   sync.Mutex
	rows [][]string
}

// add adds a row: what was tried, and what was counted.
func (r *table) add(what, counted string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, []string{what, counted})
}

func (r *table) print() error {
	version, err := serverVersion(context.Background())
	if err != nil {
		return err
	}
	fmt.Printf("date: %s\ncpus: %d\ngo: %s\npostgresql: %s\n\n",
		time.Now().UTC().Format(time.DateTime), runtime.NumCPU(), runtime.Version(), version)
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range r.rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func serverVersion(ctx context.Context) (version string, err error) {
	server, err := pgserver.Shared(ctx)
	if err != nil {
		return "", err
	}
	c, err := pgx.Connect(ctx, server.AdminURL("postgres"))
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	err = c.QueryRow(ctx, "show server_version").Scan(&version)
	return version, err
}

// A tally is what came of many calls.
type tally struct {
	points  int // calls that a fault befell
	errors  int
	unknown int // calls that could not say what became of their work
	lost    int // said to be done, and not there
	doubled int
	lies    int // said not to be done, and there
	slowest time.Duration
}

func (c *tally) count(err error, effects int) {
	_, unknown := errors.AsType[*txn.CommitUnknownError](err)
	done := err == nil || errors.Is(err, txn.ErrAlreadyCommitted)
	c.points++
	switch {
	case effects > 1:
		c.doubled++
	case unknown:
		c.unknown++
	case done && effects == 0:
		c.lost++
	case !done && effects == 1:
		c.lies++
	}
	if err != nil {
		c.errors++
	}
}

// took notes how long after its fault a call said what became of it.
func (c *tally) took(d time.Duration) { c.slowest = max(c.slowest, d) }

func (c *tally) add(other tally) {
	c.points += other.points
	c.errors += other.errors
	c.unknown += other.unknown
	c.lost += other.lost
	c.doubled += other.doubled
	c.lies += other.lies
	c.took(other.slowest)
}

// clean requires that no call did anything but what it said.
func (c *tally) clean(t *testing.T) {
	t.Helper()
	require.Zero(t, c.lost, "lost: %s", c)
	require.Zero(t, c.doubled, "doubled: %s", c)
	require.Zero(t, c.lies, "untrue: %s", c)
}

func (c *tally) String() string {
	s := fmt.Sprintf("%d points, %d errors, %d lost, %d doubled, %d untrue, %d unknown", c.points, c.errors, c.lost, c.doubled, c.lies, c.unknown)
	if c.slowest > 0 {
		s += fmt.Sprintf(", known after %.2f s", c.slowest.Seconds())
	}
	return s
}

// watched runs do, and requires that then, or soon, no goroutine is left that began in it,
// however indirectly. Tests that run at the same time have others.
func watched(t *testing.T, do func(ctx context.Context)) {
	t.Helper()
	name := t.Name() + " " + time.Now().String()
	pprof.Do(t.Context(), pprof.Labels("watched", name), do)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Empty(c, labelled(t, name), "goroutines are left")
	}, 20*time.Second, 20*time.Millisecond)
}

// unwatched runs what begins goroutines that are to outlive it.
func unwatched(ctx context.Context, do func(ctx context.Context)) {
	pprof.Do(ctx, pprof.Labels("watched", ""), do)
}

// labelled are the goroutines with the label, as a profile lists them.
func labelled(t *testing.T, name string) string {
	t.Helper()
	var profile bytes.Buffer
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&profile, 1))
	var found strings.Builder
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(record, `"watched":`+strconv.Quote(name)) {
			found.WriteString(record + "\n\n")
		}
	}
	return found.String()
}
