package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Without an observer the clock is not even read, and no timer is started.
func TestUnobserved(t *testing.T) {
	d := &DB{cfg: Config{WarnAfter: time.Nanosecond}}
	tr := d.newTransaction(t.Context(), Options{}, false, 1, 1)
	defer tr.cancel()
	require.False(t, tr.observed())
	require.Zero(t, tr.start)
	require.Zero(t, tr.now())
	require.Zero(t, tr.usage().Duration)
	require.Nil(t, tr.warning)
	allocated := testing.AllocsPerRun(100, func() {
		tr.ran("", "select 1", tr.now(), 0, nil)
		tr.tellCommitted()
		tr.tellRolledBack(nil, tr.usage(), false, 0)
	})
	require.Zero(t, allocated)
}
