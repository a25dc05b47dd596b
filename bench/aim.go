package main

import (
	"fmt"
	"io"
	"time"
)

// An aim is what the library is meant to reach.
type aim struct {
	what  string
	where cell // workload, latency, workers
	most  bool // want is a limit from above
	want  float64
	value func(c *cell) float64
}

func faster(ours, than string) func(*cell) float64 {
	return func(c *cell) float64 { return c.ratios(ours, than, (*slot).throughput).median }
}

func work(ours, than string) func(*cell) float64 {
	return func(c *cell) float64 { return c.ratios(ours, than, (*slot).cpu).median }
}

func slower(ours, than string) func(*cell) float64 {
	return func(c *cell) float64 { return c.ratios(ours, than, pace).median }
}

func allocations(ours string) func(*cell) float64 {
	return func(c *cell) float64 { return c.median(ours, (*slot).allocs) }
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

// writeAims says what of it was reached. Aims for which nothing was measured are left out.
func (r *report) writeAims(w io.Writer) {
	fmt.Fprint(w, "\n## What is aimed at\n\nMedians. One run on a machine that does other things may miss what another reaches: see the quartiles below.\n\n"+
		"| where | what | wanted | measured | |\n| --- | --- | ---: | ---: | --- |\n")
	for _, a := range aims {
		for _, c := range r.cells {
			if c.workload != a.where.workload || c.latency != a.where.latency || c.workers != a.where.workers {
				continue
			}
			v := a.value(c)
			if v != v { // nothing to compare with
				continue
			}
			sign, verdict := "≥", "no"
			if a.most {
				sign = "≤"
			}
			if v >= a.want != a.most || v == a.want {
				verdict = "yes"
			}
			fmt.Fprintf(w, "| %s | %s | %s %s | %s | %s |\n", c, a.what, sign, ratio(a.want), ratio(v), verdict)
		}
	}
}
