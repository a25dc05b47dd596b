package txn

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Full jitter: anything from zero to the bound, which doubles up to the limit and does not
// overflow.
func TestDelay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ base, most time.Duration }{
		{defaultBaseDelay, defaultMaxDelay},
		{time.Nanosecond, 3 * time.Nanosecond},
		{time.Hour, 2 * time.Hour},
		{time.Hour, time.Minute},
		{time.Nanosecond, math.MaxInt64 - 1},
		{1000 * time.Hour, math.MaxInt64 - 1},
	} {
		d := &DB{cfg: Config{BaseDelay: c.base, MaxDelay: c.most}}
		bound := min(c.base, c.most)
		for attempt := 1; attempt < 100; attempt++ {
			longest, shortest := time.Duration(0), c.most
			for range 200 {
				delay := d.delay(attempt)
				longest, shortest = max(longest, delay), min(shortest, delay)
			}
			require.GreaterOrEqual(t, shortest, time.Duration(0))
			require.LessOrEqual(t, longest, bound, "base %s, most %s, attempt %d", c.base, c.most, attempt)
			require.LessOrEqual(t, shortest, bound/4, "it may be short")
			require.GreaterOrEqual(t, longest, bound-bound/4, "or long")
			if bound > c.most/2 {
				bound = c.most
			} else {
				bound *= 2
			}
		}
	}
}
