package money_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db/money"
)

func TestString(t *testing.T) {
	for _, c := range []struct {
		amount money.Minor
		want   string
	}{
		{0, "0.00"},
		{5, "0.05"},
		{-5, "-0.05"},
		{1205, "12.05"},
		{-1205, "-12.05"},
		{math.MaxInt64, "92233720368547758.07"},
		{math.MinInt64, "-92233720368547758.08"},
	} {
		require.Equal(t, c.want, c.amount.String())
	}
}

func TestSumsDoNotDrift(t *testing.T) {
	require.Equal(t, money.Minor(30), money.Minor(10)+money.Minor(20))
	tenth, fifth := 0.1, 0.2
	require.NotEqual(t, 0.3, tenth+fifth, "the fault that whole minor units avoid")
}
