package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Who lost was told the truth only if somebody won.
func TestRace(t *testing.T) {
	t.Parallel()
	const rule = "taken"
	runner := func(key string, f fate, reason string) outcome {
		return outcome{keys: []string{key}, fate: f, reason: reason}
	}
	for _, c := range []struct {
		name     string
		outcomes []outcome
		right    bool
	}{
		{"nobody", nil, true},
		{"one winner", []outcome{runner("book-1-a", committed, ""), runner("book-1-b", refused, rule)}, true},
		{"two winners", []outcome{runner("book-1-a", committed, ""), runner("book-1-b", committed, "")}, false},
		{"in different races", []outcome{runner("book-1-a", committed, ""), runner("book-2-b", committed, "")}, true},
		{"other races", []outcome{runner("any-1-a", committed, ""), runner("any-1-b", committed, "")}, true},
		{"no winner", []outcome{runner("book-1-a", failed, "57P01"), runner("book-1-b", refused, rule)}, false},
		{"all given up", []outcome{runner("book-1-a", failed, "57P01"), runner("book-1-b", failed, "57P01")}, true},
		{"refused for another reason", []outcome{runner("book-1-a", failed, "57P01"), runner("book-1-b", refused, "in use")}, true},
		{"perhaps a winner", []outcome{runner("book-1-a", unknown, ""), runner("book-1-b", refused, rule)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := newTally(newToll())
			tally.outcomes = c.outcomes
			require.Equal(t, c.right, tally.race("", "book", rule, 1).Right)
		})
	}
}
