package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
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
	for _, c := range slices.Concat(contenders, statements) {
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

// TestStatementsChangeOneAccount is TestContendersMoveMoney for the single statement.
func TestStatementsChangeOneAccount(t *testing.T) {
	t.Parallel()
	for _, c := range statements {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, c, 0, 1)
			require.NoError(t, f.transfer(t.Context(), 1, 2, 300))
			require.NoError(t, f.transfer(t.Context(), 2, 1, -5))
			require.Equal(t, [2]int64{700, 1005}, f.balances(t))
			require.Error(t, f.transfer(t.Context(), 1, 2, 701))
			require.Error(t, f.transfer(t.Context(), 1<<40, 1, 1))
			require.Equal(t, [2]int64{700, 1005}, f.balances(t))
		})
	}
}

// BenchmarkDirect runs one transfer at a time, without a proxy, for what the client itself does:
// its allocations, and profiles of it.
func BenchmarkDirect(b *testing.B) {
	for _, c := range contenders {
		b.Run("contender="+c.name, func(b *testing.B) {
			f := setup(b, c, direct, 1)
			f.warm(b, 1)
			b.ReportAllocs()
			n, used := 0, cpu()
			for b.Loop() {
				if err := f.swing(b.Context(), n); err != nil {
					b.Fatal(err)
				}
				n++
			}
			if used = cpu() - used; used > 0 {
				b.ReportMetric(float64(used)/float64(n), "cpu-ns/op")
			}
		})
	}
}
