package bench

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestContendersMoveMoney keeps a contender from being quick by doing less.
func TestContendersMoveMoney(t *testing.T) {
	t.Parallel()
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const clerks, nobody = 4, 1 << 40
			f := setup(t, c, 0, clerks)
			a, b := f.accounts[0], f.accounts[1]
			require.NoError(t, f.transfer(t.Context(), a, b, 300))
			require.Equal(t, [2]int64{700, 1300}, f.balances(t))
			require.NoError(t, f.transfer(t.Context(), b, a, 1300))
			require.Equal(t, [2]int64{2000, 0}, f.balances(t))
			require.ErrorIs(t, f.transfer(t.Context(), b, a, 1), c.refusal)
			require.ErrorIs(t, f.transfer(t.Context(), a, b, 2001), c.refusal)
			require.ErrorIs(t, f.transfer(t.Context(), a, nobody, 1), c.unknown)
			require.ErrorIs(t, f.transfer(t.Context(), nobody, a, 1), c.unknown)
			require.Equal(t, [2]int64{2000, 0}, f.balances(t))

			// Both directions at once: none deadlocks, none is lost.
			require.NoError(t, f.transfer(t.Context(), a, b, opening))
			var all sync.WaitGroup
			errs := make([]error, clerks)
			for i := range clerks {
				all.Go(func() {
					for range 25 {
						errs[i] = errors.Join(errs[i], f.transfer(t.Context(), f.accounts[i%2], f.accounts[(i+1)%2], int64(i+1)))
					}
				})
			}
			all.Wait()
			require.NoError(t, errors.Join(errs...))
			require.Equal(t, [2]int64{opening + 50, opening - 50}, f.balances(t))
		})
	}
}

// TestRoundTrips checks what docs/benchmarks.md says of each contender, and that the proxy
// delays each of them.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, c := range contenders {
		for _, latency := range []time.Duration{0, time.Millisecond} {
			t.Run(fmt.Sprintf("%s at %s", c.name, latency), func(t *testing.T) {
				t.Parallel()
				f := setup(t, c, latency, 1)
				f.warm(t, 1)
				least := math.MaxInt
				for n := range 4 {
					f.proxy.Reset()
					start := time.Now()
					require.NoError(t, f.swing(t.Context(), n))
					took, trips := time.Since(start), f.proxy.RoundTrips()
					require.GreaterOrEqual(t, took, time.Duration(2*trips)*latency)
					least = min(least, trips) // connections that were idle for a second are asked whether they live
				}
				require.Equal(t, c.trips, least)
			})
		}
	}
}

// BenchmarkTransfer runs one transfer at a time.
func BenchmarkTransfer(b *testing.B) {
	for _, latency := range distances(b) {
		for _, c := range contenders {
			b.Run(fmt.Sprintf("latency=%s/contender=%s", latency, c.name), func(b *testing.B) { oneAtATime(b, c, latency) })
		}
	}
}

// BenchmarkDirect is BenchmarkTransfer without the proxy, whose work would be counted as the
// client's.
func BenchmarkDirect(b *testing.B) {
	for _, c := range contenders {
		b.Run("contender="+c.name, func(b *testing.B) { oneAtATime(b, c, direct) })
	}
}

func oneAtATime(b *testing.B, c contender, latency time.Duration) {
	f := setup(b, c, latency, 1)
	f.warm(b, 1)
	b.ReportAllocs()
	times := make([]time.Duration, 0, 1<<17) // so that it seldom grows: that would show in B/op
	m := f.meter()
	for b.Loop() {
		start := time.Now()
		if err := f.swing(b.Context(), len(times)); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	m.report(b, times)
}

// BenchmarkHotAccounts runs transfers between the same two accounts from 16 goroutines, each
// with a connection: each waits for the others' locks, which are held for as long as a
// transaction lasts.
func BenchmarkHotAccounts(b *testing.B) {
	const clerks = 16
	for _, latency := range distances(b) {
		for _, c := range contenders {
			b.Run(fmt.Sprintf("latency=%s/contender=%s", latency, c.name), func(b *testing.B) {
				f := setup(b, c, latency, clerks)
				f.warm(b, clerks)
				var turn atomic.Int64
				var all sync.WaitGroup
				var errs [clerks]error
				var times [clerks][]time.Duration
				m := f.meter()
				b.ResetTimer()
				for i := range clerks {
					all.Go(func() {
						for n := turn.Add(1); n <= int64(b.N) && errs[i] == nil; n = turn.Add(1) {
							start := time.Now()
							errs[i] = f.swing(b.Context(), int(n))
							times[i] = append(times[i], time.Since(start))
						}
					})
				}
				all.Wait()
				b.StopTimer()
				require.NoError(b, errors.Join(errs[:]...))
				m.report(b, slices.Concat(times[:]...))
			})
		}
	}
}

// BenchmarkRatio lets the contenders take turns, so that whatever else the machine does hits
// all alike, and reports the median time of each over that of raw.
func BenchmarkRatio(b *testing.B) {
	for _, latency := range distances(b) {
		b.Run(fmt.Sprintf("latency=%s", latency), func(b *testing.B) {
			fixtures := make([]*fixture, len(contenders))
			for i, c := range contenders {
				fixtures[i] = setup(b, c, latency, 1)
				fixtures[i].warm(b, 1)
			}
			times := make([][]time.Duration, len(contenders))
			order := rand.New(rand.NewPCG(1, 1)) // nobody is always after the same one
			n := 0
			for b.Loop() {
				for _, who := range order.Perm(len(fixtures)) {
					start := time.Now()
					if err := fixtures[who].swing(b.Context(), n); err != nil {
						b.Fatal(err)
					}
					times[who] = append(times[who], time.Since(start))
				}
				n++
			}
			b.ReportMetric(0, "ns/op") // all together: of no meaning
			b.ReportMetric(float64(median(times[0])), "raw-ns/op")
			for i, c := range contenders[1:] {
				b.ReportMetric(float64(median(times[i+1]))/float64(median(times[0])), c.name+"/raw")
			}
		})
	}
}

func median(d []time.Duration) time.Duration { return percentile(d, 50) }

// percentile sorts d.
func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[(len(d)-1)*p/100]
}

// A meter reports what a benchmark used from its beginning on.
type meter struct {
	f   *fixture
	cpu time.Duration
}

func (f *fixture) meter() meter {
	if f.proxy != nil {
		f.proxy.Reset()
	}
	return meter{f, cpu()}
}

// report is called at the end, with the time that each transfer took.
func (m meter) report(b *testing.B, times []time.Duration) {
	if used := cpu() - m.cpu; used > 0 {
		b.ReportMetric(float64(used)/float64(len(times)), "cpu-ns/op")
	}
	if m.f.proxy != nil {
		b.ReportMetric(float64(m.f.proxy.RoundTrips())/float64(len(times)), "rt/op")
	}
	b.ReportMetric(float64(percentile(times, 50)), "p50-ns/op")
	b.ReportMetric(float64(percentile(times, 99)), "p99-ns/op")
}
