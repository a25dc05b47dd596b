package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTransactionControl(t *testing.T) {
	for sql, want := range map[string]bool{
		"commit":                           true,
		"  -- x\n /* y /* z */ */ ;COMMIT": true,
		"prepare  transaction 'x'":         true,
		"prepare q as select 1":            false,
		"select 'commit'":                  false,
		"committed":                        false,
		"-- commit":                        false,
		"/* commit":                        false,
		"":                                 false,
		"update t set a = 1; commit":       false, // shows in the connection's status
		"-- name: X :exec\nrollback to sp": true,
		"end_of_month":                     false,
	} {
		require.Equal(t, want, transactionControl(sql), "%q", sql)
	}
}

func TestQueryName(t *testing.T) {
	require.Equal(t, "GetAccount", queryName("-- name: GetAccount :one\nselect 1"))
	require.Equal(t, "select 1", queryName(" select\n\t1 "))
	long := queryName("select '" + string(make([]byte, 100)) + "'")
	require.LessOrEqual(t, len(long), 64)
}

func TestMillisecondsRoundUp(t *testing.T) {
	require.EqualValues(t, 1, milliseconds(time.Nanosecond), "zero would mean no limit")
	require.EqualValues(t, 1, milliseconds(time.Millisecond))
	require.EqualValues(t, 2, milliseconds(time.Millisecond+1))
}

func TestDelayIsJitterUnderAGrowingCeiling(t *testing.T) {
	d := &DB{cfg: Config{}.withDefaults()}
	for attempt, ceiling := range map[int]time.Duration{1: 5 * time.Millisecond, 3: 20 * time.Millisecond, 40: time.Second} {
		longest := time.Duration(0)
		for range 1000 {
			delay := d.delay(attempt)
			require.LessOrEqual(t, delay, ceiling)
			longest = max(longest, delay)
		}
		require.Greater(t, longest, ceiling/2)
	}
}
