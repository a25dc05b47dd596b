package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if len(os.Args) == 2 && os.Args[1] == proxyWord {
		err = serveProxy(os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	latencies []time.Duration
	workers   []int
	within    time.Duration
	slot      time.Duration
	seed      uint64
	out       string
	fsync     bool
	command   string // with which this run can be repeated
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	latencies := flags.String("latencies", "0s,1ms,5ms", "one-way latencies of the network, comma-separated")
	workers := flags.String("workers", "1,16", "how many transactions at a time, comma-separated")
	flags.DurationVar(&o.within, "for", 30*time.Minute, "how long to measure; each comparison has three rounds at least")
	flags.DurationVar(&o.slot, "slot", 200*time.Millisecond, "how long a turn takes without latency")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64(), "of the order of turns and of the accounts")
	flags.StringVar(&o.out, "out", "bench", "the files to write, without .md and .csv")
	flags.BoolVar(&o.fsync, "fsync", false, "a server that waits for its disk at each COMMIT")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for text := range strings.SplitSeq(*latencies, ",") {
		d, err := time.ParseDuration(text)
		if err != nil {
			return o, err
		}
		o.latencies = append(o.latencies, d)
	}
	for text := range strings.SplitSeq(*workers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return o, err
		}
		o.workers = append(o.workers, n)
	}
	o.command = "cd bench && go run ."
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "out" { // which is of this machine alone
			o.command += " -" + f.Name + "=" + f.Value.String()
		}
	})
	return o, nil
}

// cells are the comparisons: each workload at each latency and with each number of workers; and
// without a proxy the statement, for what Interlock itself costs, and the transfer beside
// pgbench.
func (o *options) cells() (all []*cell) {
	for i := range workloads {
		for _, latency := range o.latencies {
			for _, workers := range o.workers {
				all = append(all, &cell{workload: &workloads[i], latency: latency, workers: workers})
			}
		}
	}
	for i := range workloads {
		switch workloads[i].name {
		case "statement":
			for _, workers := range o.workers {
				all = append(all, &cell{workload: &workloads[i], latency: direct, workers: workers})
			}
		case "transfer":
			all = append(all, &cell{workload: &workloads[i], latency: direct, workers: 8})
		}
	}
	return all
}

// run compares, prints the tables to out and what happens to log, and writes the files.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil { // now, not when all is measured
		return err
	}
	began := load()
	server, err := pgserver.Start(ctx, pgserver.Config{NoSync: !o.fsync})
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	url, err := database(ctx, server)
	if err != nil {
		return err
	}
	way, err := newWire(url)
	if err != nil {
		return err
	}
	defer way.close()
	c := course{url: url, admin: server.AdminURL("bench"), wire: way, slot: o.slot, seed: o.seed, bench: server.Program("pgbench")}
	c.log = func(format string, args ...any) { fmt.Fprintf(log, format, args...) }
	r := report{
		cells: o.cells(), bench: c.bench != "", slots: filepath.Base(o.out) + ".csv",
		command: o.command,
	}
	r.machine, err = machine(ctx, c.admin)
	if err != nil {
		return err
	}
	if err := c.run(ctx, r.cells, o.within); err != nil {
		return err
	}
	if began != "" {
		r.machine = append(r.machine, fmt.Sprintf("load average: %s before, %s after", began, load()))
	}
	r.machine = append(r.machine, fmt.Sprintf("seed: %d", o.seed))
	return r.save(o.out, out)
}

// save prints the tables and writes both files.
func (r *report) save(name string, out io.Writer) error {
	var text strings.Builder
	r.write(&text)
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if err := os.WriteFile(name+".md", []byte(text.String()), 0o644); err != nil {
		return err
	}
	f, err := os.Create(name + ".csv")
	if err != nil {
		return err
	}
	if err := writeSlots(f, r.cells); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
