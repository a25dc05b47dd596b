package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/service/account"
)

// wrong returns the names of the sums that are not right.
func wrong(sums []sum) []string {
	names := []string{}
	for _, s := range sums {
		if !s.Right {
			names = append(names, s.Name)
		}
	}
	return names
}

const (
	atMostOnce   = "every request id at most once"
	exactlyOnce  = "every acknowledged one exactly once"
	asReported   = "every other one as reported"
	bothOrNone   = "both requests of a transaction or none"
	foundOut     = "every COMMIT without answer found out"
	allExplained = "every error explained by a rule or a fault"
)

// What the calls say and what the database holds: each kind of lie is seen.
func TestRequestSums(t *testing.T) {
	t.Parallel()
	calls := func(key string, fates ...fate) (all []outcome) {
		for _, f := range fates {
			all = append(all, outcome{keys: []string{key}, fate: f})
		}
		return all
	}
	again := func(f fate, unexcused int) []outcome {
		return []outcome{{keys: []string{"k"}, fate: f, unsure: 1, unexcused: unexcused}}
	}
	pair := func(f fate) []outcome { return []outcome{{keys: []string{"a", "b"}, fate: f}} }
	for _, c := range []struct {
		name     string
		outcomes []outcome
		stored   map[string]int
		wrong    []string
	}{
		{"committed", calls("k", committed), map[string]int{"k": 1}, nil},
		{"committed, missing", calls("k", committed), nil, []string{exactlyOnce}},
		{"committed, doubled", calls("k", committed), map[string]int{"k": 2}, []string{atMostOnce, exactlyOnce}},
		{"sent twice", calls("k", committed, repeated), map[string]int{"k": 1}, nil},
		{"both say they did it", calls("k", committed, committed), map[string]int{"k": 1}, []string{exactlyOnce}},
		{"nobody says it did it", calls("k", repeated), map[string]int{"k": 1}, []string{exactlyOnce}},
		{"repeated, missing", calls("k", committed, repeated), nil, []string{exactlyOnce}},
		{"the lost one did it", calls("k", unknown, repeated), map[string]int{"k": 1}, []string{foundOut}},
		{"the lost one did not", calls("k", unknown, committed), map[string]int{"k": 1}, []string{foundOut}},
		{"unknown, there", calls("k", unknown), map[string]int{"k": 1}, []string{foundOut}},
		{"unknown, not there", calls("k", unknown), nil, []string{foundOut}},
		{"unknown, doubled", calls("k", unknown), map[string]int{"k": 2}, []string{atMostOnce, foundOut}},
		{"unknown, then given up", calls("k", unknown, failed), map[string]int{"k": 1}, []string{foundOut}},
		{"asked again, was done", again(repeated, 0), map[string]int{"k": 1}, nil},
		{"asked again, was not done", again(committed, 0), map[string]int{"k": 1}, nil},
		{"asked again, done twice", again(committed, 0), map[string]int{"k": 2}, []string{atMostOnce, exactlyOnce}},
		{"asked again, refused, was done", again(refused, 0), map[string]int{"k": 1}, []string{asReported}},
		{"asked again, no outage", again(repeated, 1), map[string]int{"k": 1}, []string{foundOut}},
		{"asked again in vain", again(unknown, 0), nil, []string{foundOut}},
		{"refused", calls("k", refused), nil, nil},
		{"refused, there", calls("k", refused), map[string]int{"k": 1}, []string{asReported}},
		{"given up, there", calls("k", failed), map[string]int{"k": 1}, []string{asReported}},
		{"not explained, there", calls("k", unexplained), map[string]int{"k": 1}, []string{asReported}},
		{"never asked for", calls("k", refused), map[string]int{"other": 1}, []string{asReported}},
		{"both", pair(committed), map[string]int{"a": 1, "b": 1}, nil},
		{"both lost", pair(unknown), map[string]int{"a": 1, "b": 1}, []string{foundOut}},
		{"neither", pair(unknown), nil, []string{foundOut}},
		{"half", pair(unknown), map[string]int{"b": 1}, []string{bothOrNone, foundOut}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := newTally(newToll())
			tally.outcomes = c.outcomes
			require.ElementsMatch(t, c.wrong, wrong(requestSums(tally, c.stored)))
		})
	}
	tally := newTally(newToll())
	tally.noteUnexplained(account.ErrKeyReused)
	require.Equal(t, []string{allExplained}, wrong(requestSums(tally, nil)))
	tally = newTally(newToll())
	tally.foundCommitted.Store(1)
	tally.foundNot.Store(1)
	require.Empty(t, wrong(requestSums(tally, nil)))
	tally.foundUnknown.Store(1)
	require.Equal(t, []string{foundOut}, wrong(requestSums(tally, nil)), "no client was told")
}

// Each thing asked for has one fate, and clients who asked again are counted.
func TestFigures(t *testing.T) {
	t.Parallel()
	tally := newTally(newToll())
	tally.outcomes = []outcome{
		{keys: []string{"a"}, fate: committed, absent: 3},
		{keys: []string{"a"}, fate: repeated},
		{keys: []string{"b", "c"}, fate: repeated, unsure: 2},
		{keys: []string{"d"}, fate: committed, unsure: 1},
		{keys: []string{"e"}, fate: refused, reason: "rule"},
		{keys: []string{"f"}, fate: failed, reason: "57P01"},
		{keys: []string{"g"}, fate: unknown},
		{keys: []string{"h"}, fate: unknown},
	}
	f := tally.figures(map[string]int{"g": 1})
	require.Equal(t, figures{
		Asked: 8, Committed: 4, Refused: counts{"rule": 1}, GivenUp: counts{"57P01": 1},
		Unknown: counts{"committed": 1, "not committed": 1}, Calls: 8, Replayed: 2,
		AskedAgain: again{Unknown: 3, Done: 1, NoServer: 3}, Retries: counts{}, CommitsLost: resolved{Unknown: 3},
	}, f)
}

func TestMoneySums(t *testing.T) {
	t.Parallel()
	const (
		constant = "balances constant"
		ledger   = "ledger equals balances"
	)
	right := books{balances: 2 * account.WelcomeBonus, ledger: 2 * account.WelcomeBonus}
	for _, c := range []struct {
		name   string
		change func(*books, *tally)
		wrong  []string
	}{
		{"right", func(*books, *tally) {}, nil},
		{"money made", func(b *books, _ *tally) { b.balances++; b.ledger++ }, []string{constant}},
		{"half a transfer seen meanwhile", func(_ *books, t *tally) { t.noteLook(true); t.noteLook(false) }, []string{constant}},
		{"ledger differs", func(b *books, _ *tally) { b.ledger-- }, []string{ledger}},
		{"two accounts differ", func(b *books, _ *tally) { b.differing = 2 }, []string{ledger}},
		{"a transfer does not balance", func(b *books, _ *tally) { b.unbalanced = 1 }, []string{ledger}},
		{"the whole does not balance", func(b *books, _ *tally) { b.all = 1 }, []string{ledger}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, tally := right, newTally(newToll())
			c.change(&b, tally)
			s := &accounts{ids: []int64{3, 4}}
			require.ElementsMatch(t, c.wrong, wrong(s.moneySums(b, tally)))
		})
	}
}

func TestFaultSums(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kills, cuts, restarts, commitKills, commitCuts int64
		right                                          bool
	}{
		{220, 60, 3, 20, 20, true},
		{300, 70, 4, 25, 21, true},
		{219, 60, 3, 20, 20, false},
		{220, 59, 3, 20, 20, false},
		{220, 60, 2, 20, 20, false},
		{220, 60, 3, 19, 20, false},
		{220, 60, 3, 20, 19, false},
	} {
		l := newLoad(&demo{faults: true, kills: 220, cuts: 60, restarts: 3, commits: 20}, &stage{}, nil)
		l.toll.killed.Store(c.kills)
		l.toll.cut.Store(c.cuts)
		l.toll.outages.over.Store(c.restarts)
		l.toll.commitKilled.Store(c.commitKills)
		l.toll.commitCut.Store(c.commitCuts)
		require.Equal(t, c.right, l.faultSums()[0].Right, c)
	}
	require.True(t, newLoad(&demo{faults: true, commits: 20}, &stage{}, nil).faultSums()[0].Right, "no fault, none at COMMIT")
	require.Empty(t, newLoad(&demo{}, &stage{}, nil).faultSums())
}

func TestReportForPeople(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	f := figures{
		Asked: 10, Committed: 9, GivenUp: counts{"40P01": 1}, Retries: counts{"40P01": 2, "connection lost": 3},
		CommitsLost: resolved{Committed: 41, NotCommitted: 21, Unknown: 1},
		AskedAgain:  again{Unknown: 7, Done: 4, NoServer: 20},
	}
	r := &summary{
		Seconds: 2, figures: f, Scenes: []sceneRows{{"seats", f}},
		Stopped: stopped{Times: 3, Seconds: 4.25, Transactions: 70},
		Sums: []sum{
			{"", "first", true, "fine"},
			{"seats", "second", false, keys{"d", "c", "b", "a"}.String() + " are missing"},
		},
		Unexplained: []string{"boom"},
	}
	require.NoError(t, r.print(&out))
	for _, line := range []string{
		`requests asked +10 in 2\.0 s, 5 a second`,
		`  refused +0: none`,
		`  given up, not done +1: 40P01 deadlock_detected 1$`,
		`asked again +7 for an unknown outcome \(4 had been done\), 20 for lack of a server$`,
		`retries +5: connection lost 3, 40P01 deadlock_detected 2`,
		`server stopped +3 times, 4\.2 s in all, which failed 70 attempts`,
		`COMMIT without answer +63: found out 41 committed, 21 not committed, 1 unknown$`,
		`seats +10 +9 +0 +1 +0 +5 +27 +p50 `,
		`all scenes\n  first +yes  fine`,
		`seats\n  second +NO   4 \(a, b, c, …\) are missing`,
		`unexplained +boom`,
	} {
		require.Regexp(t, `(?m)^`+line, out.String())
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.001: 1, 0.5: 50, 0.95: 95, 0.99: 99, 0.991: 100, 1: 100} {
		require.Equal(t, want, percentile(hundred, p), "%v", p)
	}
	require.Zero(t, percentile(nil, 0.5))
	require.Equal(t, time.Duration(7), percentile([]time.Duration{7}, 0.5))
	require.Equal(t, latency{P50: 2, P95: 3, P99: 3, Max: 3}, latencyOf([]time.Duration{3e6, 1e6, 2e6}))
}

// Only reports of one moment have to be consistent.
func TestConsistency(t *testing.T) {
	t.Parallel()
	s := consistency(map[db.ReportWay][2]int{
		db.ReportWayReadCommitted: {10, 3}, db.ReportWayRowLocks: {5, 0}, db.ReportWayRepeatableRead: {7, 0}, db.ReportWaySharedSnapshot: {8, 0},
	})
	require.True(t, s.Right)
	require.Equal(t, "not: repeatable read 0 of 7, shared snapshot 0 of 8; of several moments, and no fault: read committed 3 of 10, row locks 0 of 5", s.Found)
	for _, way := range []db.ReportWay{
		db.ReportWayRepeatableRead, db.ReportWaySerializable, db.ReportWayDeferrable, db.ReportWaySharedSnapshot, db.ReportWayTableLocks,
	} {
		require.False(t, consistency(map[db.ReportWay][2]int{way: {7, 1}}).Right, way)
	}
}
