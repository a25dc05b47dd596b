package cli

import (
	"fmt"
	"slices"
	"strings"
)

// A race is what became of those who wanted the same, of which there is not enough for all.
type race struct{ winners, losers, unsure int }

// race is a sum of all races: most win at most, and who hears that it lost, by the rule, heard the
// truth, which it was only if as many won. The keys of a race's runners begin with kind, and differ
// in their last part alone.
func (t *tally) race(name, kind, rule string, most int) sum {
	races := map[string]*race{}
	for key, h := range t.histories() {
		if !strings.HasPrefix(key, kind+"-") {
			continue
		}
		goal := key[:strings.LastIndex(key, "-")]
		r, ok := races[goal]
		if !ok {
			r = &race{}
			races[goal] = r
		}
		switch fate := h.fate(); {
		case fate == committed:
			r.winners++
		case fate == unknown:
			r.unsure++
		case fate == refused && h.reasons[fate] == rule:
			r.losers++
		}
	}
	var wrong keys
	for goal, r := range races {
		if r.winners > most || r.losers > 0 && r.winners+r.unsure < most {
			wrong = append(wrong, goal)
		}
	}
	slices.Sort(wrong)
	return sum{Name: name, Right: wrong.none(), Found: fmt.Sprintf("%s of %d have not", wrong, len(races))}
}
