package main

import (
	"bytes"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRun runs the program for as short as it can, and reads what it writes.
func TestRun(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "new", "result")
	var out bytes.Buffer
	err := run(t.Context(), []string{"-latencies", "0s,1ms", "-workers", "3", "-for", "1ms", "-slot", "5ms", "-seed", "7", "-out", name}, &out, io.Discard)
	require.NoError(t, err)

	tables, err := os.ReadFile(name + ".md")
	require.NoError(t, err)
	require.Equal(t, out.String(), string(tables))
	require.NotContains(t, out.String(), "NaN")
	for _, part := range []string{
		"# Results of `cd bench && go run . -for=1ms -latencies=0s,1ms -seed=7 -slot=5ms -workers=3`", "seed: 7", "## What is aimed at", "## Transfer:", "## Hot row:", "## Statement:", "## Where nothing is saved", "## Beside pgbench",
		"### Transfer, 1ms one way, 3 at a time: 3 rounds", "### Statement, no proxy, 3 at a time: 3 rounds", "`result.csv`",
	} {
		require.Contains(t, out.String(), part)
	}

	f, err := os.Open(name + ".csv")
	require.NoError(t, err)
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	column := map[string]int{}
	for i, title := range lines[0] {
		column[title] = i
	}
	trips := map[string]int{}
	for _, c := range contenders {
		trips["transfer "+c.name], trips["hot row "+c.name] = c.trips, c.trips
	}
	for _, c := range statements {
		trips["statement "+c.name] = c.trips
	}
	seen := map[string]int{}
	for _, line := range lines[1:] {
		field := func(title string) string { return line[column[title]] }
		integer := func(title string) int64 {
			n, err := strconv.ParseInt(field(title), 10, 64)
			require.NoError(t, err, line)
			return n
		}
		seen[field("workload")+" "+field("latency_ns")+" "+field("workers")]++
		n := integer("transactions")
		require.Positive(t, n)
		require.Positive(t, integer("wall_ns"))
		if field("contender") == "pgbench" || field("latency_ns") == "" {
			require.Empty(t, field("all_round_trips"))
			continue
		}
		want := int64(trips[field("workload")+" "+field("contender")])
		least := want * integer("all_transactions")
		require.GreaterOrEqual(t, integer("all_round_trips"), least, line)
		require.LessOrEqual(t, integer("all_round_trips"), least+8*integer("workers"), line) // a connection not used before prepares its statements
		require.Greater(t, integer("all_transactions"), n)
		require.GreaterOrEqual(t, integer("p50_ns"), 2*want*integer("latency_ns"))
		require.GreaterOrEqual(t, integer("p99_ns"), integer("p50_ns"))
	}
	require.Len(t, seen, 3*2+2)
	require.Equal(t, rounds*len(statements), seen["statement 1000000 3"])
}

func TestSpread(t *testing.T) {
	t.Parallel()
	require.Equal(t, quartiles{2, 3, 4}, spread([]float64{5, 1, 3, 2, 4}))
	require.Equal(t, quartiles{1.25, 1.5, 1.75}, spread([]float64{2, 1}))
	require.Equal(t, "–", spread(nil).String())
	require.Equal(t, "1.50 (1.25–1.75)", spread([]float64{2, 1}).String())
}

// TestRatiosArePaired: a round in which the machine was slow says as much as the others.
func TestRatiosArePaired(t *testing.T) {
	t.Parallel()
	c := cell{workload: &workloads[0]}
	for round, speed := range []int{1000, 10, 500} {
		c.slots = append(c.slots,
			slot{Contender: "raw", Round: round, Transactions: speed, Wall: time.Second},
			slot{Contender: "queued", Round: round, Transactions: 2 * speed, Wall: time.Second})
	}
	require.Equal(t, quartiles{2, 2, 2}, c.ratios("queued", "raw", (*slot).throughput))
	require.Equal(t, quartiles{0.5, 0.5, 0.5}, c.ratios("queued", "raw", pace))
}

func TestAims(t *testing.T) {
	t.Parallel()
	at := cell{workload: &workloads[0], workers: 16}
	at.slots = []slot{
		{Contender: "raw", Transactions: 100, Wall: time.Second, CPU: time.Second, Allocs: 5300},
		{Contender: "queued", Transactions: 200, Wall: time.Second, CPU: time.Second, Allocs: 16_200},
	}
	var text strings.Builder
	r := report{cells: []*cell{&at}}
	r.writeAims(&text)
	require.Contains(t, text.String(), "| throughput of `queued` ÷ `raw` | ≥ 1.30 | 2.00 (2.00–2.00) | yes |")
	require.Contains(t, text.String(), "| client CPU of `queued` ÷ `raw` | ≤ 1.00 | 0.50 (0.50–0.50) | yes |")
	require.Contains(t, text.String(), "| allocations of `queued` | ≤ 80.0 | 81.0 (81.0–81.0) | no |")
	require.NotContains(t, text.String(), "pgbench")

	least, most := aim{want: 2}, aim{want: 2, most: true}
	for _, c := range []struct {
		low, high   float64
		least, most string
	}{
		{2, 3, "yes", "undecided"},
		{1, 2, "undecided", "yes"},
		{1, 3, "undecided", "undecided"},
		{1, 1.9, "no", "yes"},
		{2.1, 3, "yes", "no"},
	} {
		v := quartiles{c.low, (c.low + c.high) / 2, c.high}
		require.Equal(t, c.least, least.verdict(v), v)
		require.Equal(t, c.most, most.verdict(v), v)
	}
}

func TestParsePgbench(t *testing.T) {
	t.Parallel()
	n, tps, err := parsePgbench("scaling factor: 1\nnumber of transactions actually processed: 2345\n" +
		"latency average = 3.4 ms\ntps = 2331.25 (without initial connection time)\n")
	require.NoError(t, err)
	require.Equal(t, 2345, n)
	require.InDelta(t, 2331.25, tps, 0.001)
	_, _, err = parsePgbench("pgbench: error: connection failed")
	require.Error(t, err)
}
