package main

import (
	"fmt"
	"io"
	"math"
	"time"
)

// An aim is what the library is meant to reach.
type aim struct {
	what  string
	where cell // workload, latency, workers
	most  bool // want is a limit from above
	want  float64
	value func(c *cell) quartiles
}

func faster(ours, than string) func(*cell) quartiles {
	return func(c *cell) quartiles { return c.ratios(ours, than, (*slot).throughput) }
}

func work(ours, than string) func(*cell) quartiles {
	return func(c *cell) quartiles { return c.ratios(ours, than, (*slot).cpu) }
}

func slower(ours, than string) func(*cell) quartiles {
	return func(c *cell) quartiles { return c.ratios(ours, than, pace) }
}

func allocations(ours string) func(*cell) quartiles {
	return func(c *cell) quartiles { return c.spread(ours, (*slot).allocs) }
}

var aims = func() (all []aim) {
	transfer, hotRow, statement := &workloads[0], &workloads[1], &workloads[2]
	const ms = time.Millisecond
	at := func(w *workload, latency time.Duration, workers int) cell {
		return cell{workload: w, latency: latency, workers: workers}
	}
	all = []aim{
		{"throughput of `queued` ÷ `raw`", at(transfer, 0, 16), false, 1.3, faster("queued", "raw")},
		{"throughput of `interlock` ÷ `begintxfunc`, both a transaction of one statement", at(statement, 0, 16), false, 1, faster("interlock", "begintxfunc")},
		{"throughput of `queued` ÷ `raw`", at(transfer, ms, 16), false, 2.3, faster("queued", "raw")},
		{"throughput of `queued` ÷ `raw`", at(hotRow, ms, 16), false, 3, faster("queued", "raw")},
		{"throughput of `oneflush` ÷ `raw`", at(hotRow, ms, 16), false, 10, faster("oneflush", "raw")},
		{"client CPU of `queued` ÷ `raw`", at(transfer, 0, 16), true, 1, work("queued", "raw")},
		{"allocations of `queued`", at(transfer, 0, 16), true, 80, allocations("queued")},
	}
	for _, workers := range []int{1, 16} {
		for _, p := range pairs {
			what := fmt.Sprintf("`%s` ÷ `%s`, as many round trips", p.ours, p.byHand)
			all = append(all,
				aim{"time of " + what, at(statement, direct, workers), true, 1.05, slower(p.ours, p.byHand)},
				aim{"client CPU of " + what, at(statement, direct, workers), true, 1.05, work(p.ours, p.byHand)},
			)
		}
	}
	for _, ours := range []string{"interlock", "queued"} {
		all = append(all, aim{"throughput of `" + ours + "` ÷ `pgbench`", at(transfer, direct, 8), false, 0.8, faster(ours, "pgbench")})
	}
	return all
}()

// verdict is undecided where the quartiles are on both sides of what is wanted.
func (a *aim) verdict(v quartiles) string {
	worst, best := v.low, v.high
	if a.most {
		worst, best = -v.high, -v.low
	}
	want := a.want
	if a.most {
		want = -want
	}
	switch {
	case worst >= want:
		return "yes"
	case best < want:
		return "no"
	}
	return "undecided"
}

// writeAims says what of it was reached. Aims for which nothing was measured are left out.
func (r *report) writeAims(w io.Writer) {
	fmt.Fprint(w, "\n## What is aimed at\n\nMedians and quartiles. Where what is wanted lies between the quartiles, the run does not decide.\n\n"+
		"| where | what | wanted | measured | |\n| --- | --- | ---: | ---: | --- |\n")
	for _, a := range aims {
		for _, c := range r.cells {
			if c.workload != a.where.workload || c.latency != a.where.latency || c.workers != a.where.workers {
				continue
			}
			v := a.value(c)
			if math.IsNaN(v.median) { // nothing to compare with
				continue
			}
			sign := "≥"
			if a.most {
				sign = "≤"
			}
			fmt.Fprintf(w, "| %s | %s | %s %s | %s | %s |\n", c, a.what, sign, ratio(a.want), v, a.verdict(v))
		}
	}
}
