package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A report is the results as people read them. The slots are beside it, as writeSlots has them.
type report struct {
	cells   []*cell
	machine []string // what it ran on
	command string
	slots   string // the file's name
	bench   bool   // there was a pgbench
}

// quartiles of some numbers.
type quartiles struct{ low, median, high float64 }

func spread(all []float64) quartiles {
	if len(all) == 0 {
		return quartiles{math.NaN(), math.NaN(), math.NaN()}
	}
	all = slices.Sorted(slices.Values(all))
	at := func(share float64) float64 {
		i, part := math.Modf(share * float64(len(all)-1))
		value := all[int(i)]
		if part > 0 {
			value += part * (all[int(i)+1] - value)
		}
		return value
	}
	return quartiles{at(0.25), at(0.5), at(0.75)}
}

func (q quartiles) String() string {
	if math.IsNaN(q.median) {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", ratio(q.median), ratio(q.low), ratio(q.high))
}

func ratio(r float64) string {
	if r >= 9.95 {
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return strconv.FormatFloat(r, 'f', 2, 64)
}

// of are the contender's slots.
func (c *cell) of(contender string) (some []slot) {
	for _, s := range c.slots {
		if s.Contender == contender {
			some = append(some, s)
		}
	}
	return some
}

// names are those of the contenders that ran, in the order of the list.
func (c *cell) names() (names []string) {
	for _, contender := range c.contenders {
		names = append(names, contender.name)
	}
	if len(c.of("pgbench")) > 0 {
		names = append(names, "pgbench")
	}
	return names
}

// ratios compares a contender with another round by round: in the same round both had the same
// machine.
func (c *cell) ratios(contender, with string, value func(*slot) float64) quartiles {
	others := map[int]float64{}
	for _, s := range c.of(with) {
		others[s.Round] = value(&s)
	}
	var all []float64
	for _, s := range c.of(contender) {
		if r := value(&s) / others[s.Round]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			all = append(all, r)
		}
	}
	return spread(all)
}

// spread of what a contender's slots say.
func (c *cell) spread(contender string, value func(*slot) float64) quartiles {
	var all []float64
	for _, s := range c.of(contender) {
		all = append(all, value(&s))
	}
	return spread(all)
}

func (c *cell) median(contender string, value func(*slot) float64) float64 {
	return c.spread(contender, value).median
}

// percentile of the time of one transaction, over all slots.
func percentile(times []time.Duration, share float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[int(share*float64(len(times)-1))]
}

func (c *cell) times(contender string) (times []time.Duration) {
	for _, s := range c.of(contender) {
		times = append(times, s.Times...)
	}
	return times
}

func (s *slot) trips() float64  { return float64(s.AllRoundTrips) / float64(s.AllTransactions) }
func (s *slot) allocs() float64 { return s.per(float64(s.Allocs)) }

func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "# Results of `%s`\n\n", r.command)
	for _, line := range r.machine {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprintf(w, "\nHow it is measured and what the columns mean: [benchmarks](../benchmarks.md). Each slot that the tables are made of is in `%s`.\n", r.slots)
	r.writeAims(w)
	for i := range workloads {
		r.writeRatios(w, &workloads[i])
	}
	r.writePairs(w)
	r.writeDirect(w)
	fmt.Fprint(w, "\n## Each comparison\n")
	for _, c := range r.cells {
		c.write(w)
	}
}

// writeRatios is a workload at a glance.
func (r *report) writeRatios(w io.Writer, of *workload) {
	var cells []*cell
	head, rule := "| throughput ÷ `raw` |", "| --- |"
	for _, c := range r.cells {
		if c.workload == of && c.latency != direct {
			cells = append(cells, c)
			head += fmt.Sprintf(" %s, %d at a time |", c.latency, c.workers)
			rule += " ---: |"
		}
	}
	if len(cells) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s: %s\n\n%s\n%s\n", strings.ToUpper(of.name[:1])+of.name[1:], of.what, head, rule)
	for _, contender := range of.contenders {
		fmt.Fprintf(w, "| `%s` |", contender.name)
		for _, c := range cells {
			fmt.Fprintf(w, " %s |", c.ratios(contender.name, "raw", (*slot).throughput))
		}
		fmt.Fprintln(w)
	}
}

// writePairs is what Interlock costs where it saves nothing.
func (r *report) writePairs(w io.Writer) {
	began := false
	for _, c := range r.cells {
		if c.name != "statement" || c.latency != direct {
			continue
		}
		if !began {
			began = true
			fmt.Fprint(w, "\n## Where nothing is saved\n\nOne statement, with as many round trips as by hand, without a proxy.\n\n"+
				"| | at a time | round trips | time ÷ by hand | client CPU ÷ by hand |\n| --- | ---: | ---: | ---: | ---: |\n")
		}
		for _, p := range pairs {
			i := slices.IndexFunc(statements, func(s contender) bool { return s.name == p.ours })
			fmt.Fprintf(w, "| `%s` ÷ `%s` | %d | %d | %s | %s |\n", p.ours, p.byHand, c.workers, statements[i].trips,
				c.ratios(p.ours, p.byHand, pace), c.ratios(p.ours, p.byHand, (*slot).cpu))
		}
	}
}

// pace is the inverse of throughput.
func pace(s *slot) float64 { return 1 / s.throughput() }

// writeDirect is the transfer beside pgbench.
func (r *report) writeDirect(w io.Writer) {
	for _, c := range r.cells {
		if c.name != "transfer" || c.latency != direct {
			continue
		}
		fmt.Fprintf(w, "\n## Beside pgbench\n\nThe transfer, %d at a time, without a proxy.\n\n| | throughput ÷ `pgbench` | client CPU ÷ `pgbench` |\n| --- | ---: | ---: |\n", c.workers)
		if !r.bench {
			fmt.Fprint(w, "| `pgbench` | there is none beside this PostgreSQL | |\n")
			continue
		}
		for _, name := range c.names() {
			fmt.Fprintf(w, "| `%s` | %s | %s |\n", name,
				c.ratios(name, "pgbench", (*slot).throughput), c.ratios(name, "pgbench", (*slot).cpu))
		}
	}
}

// write is all that was measured of a cell.
func (c *cell) write(w io.Writer) {
	fmt.Fprintf(w, "\n### %s: %d rounds\n\n", strings.ToUpper(c.String()[:1])+c.String()[1:], len(c.of("raw")))
	fmt.Fprint(w, "| | round trips | transactions/s | ÷ `raw` | p50 µs | p99 µs | client CPU µs | ÷ `raw` | allocs |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, name := range c.names() {
		trips, p50, p99, allocs, used := "–", "–", "–", "–", "–"
		if times := c.times(name); len(times) > 0 {
			p50, p99 = micros(percentile(times, 0.5)), micros(percentile(times, 0.99))
			allocs = number(c.median(name, (*slot).allocs), 0)
		}
		if c.latency != direct {
			trips = number(c.median(name, (*slot).trips), 2)
		}
		if ns := c.median(name, (*slot).cpu); ns > 0 {
			used = number(ns/1000, 1)
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, trips,
			number(c.median(name, (*slot).throughput), 0), c.ratios(name, "raw", (*slot).throughput), p50, p99,
			used, c.ratios(name, "raw", (*slot).cpu), allocs)
	}
}

func micros(d time.Duration) string { return number(float64(d)/1000, 0) }

func number(v float64, decimals int) string { return strconv.FormatFloat(v, 'f', decimals, 64) }

// writeSlots writes a line for each slot. What was not measured is empty: the latency and the
// round trips without a proxy, and pgbench's memory and times.
func writeSlots(w io.Writer, cells []*cell) error {
	lines := csv.NewWriter(w)
	_ = lines.Write([]string{"workload", "latency_ns", "workers", "round", "turn", "contender",
		"transactions", "wall_ns", "cpu_ns", "allocs", "bytes", "p50_ns", "p99_ns", "all_transactions", "all_round_trips"})
	for _, c := range cells {
		latency := ""
		if c.latency != direct {
			latency = strconv.FormatInt(int64(c.latency), 10)
		}
		for _, s := range c.slots {
			line := []string{c.name, latency, strconv.Itoa(c.workers), strconv.Itoa(s.Round), strconv.Itoa(s.Turn), s.Contender,
				strconv.Itoa(s.Transactions), whole(s.Wall), whole(s.CPU), "", "", "", "", strconv.Itoa(s.AllTransactions), ""}
			if len(s.Times) > 0 {
				copy(line[9:], []string{whole(s.Allocs), whole(s.Bytes), whole(percentile(s.Times, 0.5)), whole(percentile(s.Times, 0.99))})
			}
			if s.AllRoundTrips >= 0 {
				line[14] = strconv.Itoa(s.AllRoundTrips)
			}
			_ = lines.Write(line)
		}
	}
	lines.Flush()
	return lines.Error()
}

func whole[N int64 | uint64 | time.Duration](n N) string { return fmt.Sprintf("%d", n) }
