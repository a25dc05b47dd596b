package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/account"
)

func first(s scene, n int, seed uint64) (all []request) {
	for r := range s.requests(seed) {
		if all = append(all, r); len(all) == n {
			break
		}
	}
	return all
}

// opened are the scenes as they are when they have been opened.
var opened = map[string]func() scene{
	"accounts": func() scene { return &accounts{ids: []int64{3, 4, 5, 6, 7}} },
	"seats":    func() scene { return &seats{users: []int64{1, 2, 3, 4, 5, 6, 7, 8}} },
	"shop":     func() scene { return &shop{users: make([]account.SignedUp, 8), products: []int64{1, 2, 3, 4, 5, 6}} },
	"reports":  func() scene { return &reports{ids: []int64{1, 2, 3}} },
	"blog":     func() scene { return &posts{authors: []int64{1, 2, 3, 4, 5, 6, 7, 8}} },
}

// What a scene asks for is the seed's alone, whatever was asked for before and by whom.
func TestRequestsAreTheSeeds(t *testing.T) {
	t.Parallel()
	for _, c := range scenes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := opened[c.name]()
			a := first(s, 1000, 7)
			require.Equal(t, a, first(s, 1000, 7))
			require.Equal(t, a, first(opened[c.name](), 1000, 7))
			require.NotEqual(t, first(s, 20, 8), a[:20])

			asked := map[string]bool{}
			for _, r := range a {
				before := len(asked)
				require.NotEmpty(t, r)
				for _, c := range r {
					for _, key := range c.keys() {
						asked[key] = true
					}
				}
				require.Equal(t, r.work(), len(asked)-before, "keys are one request's")
			}
		})
	}
}

// So is the order in which the requests of several scenes come. None waits for another.
func TestErrandsAreTheSeeds(t *testing.T) {
	t.Parallel()
	order := func(seed uint64, weights ...int) (all []request, share []int) {
		l := &load{demo: &demo{seed: seed}}
		for _, weight := range weights {
			l.parts = append(l.parts, &part{casting: casting{weight: weight}, scene: &accounts{ids: []int64{1, 2, 3, 4}}})
		}
		share = make([]int, len(weights))
		for e := range l.errands() {
			for i, p := range l.parts {
				if p == e.part {
					share[i]++
				}
			}
			if all = append(all, e.request); len(all) == 300 {
				break
			}
		}
		return all, share
	}
	a, share := order(7, 6, 3, 1)
	require.Equal(t, []int{180, 90, 30}, share)
	b, _ := order(7, 6, 3, 1)
	require.Equal(t, a, b)
	c, _ := order(8, 6, 3, 1)
	require.NotEqual(t, a, c)
}

func TestChosen(t *testing.T) {
	t.Parallel()
	all, err := chosen(nil)
	require.NoError(t, err)
	require.Len(t, all, len(scenes))
	one, err := chosen([]string{"accounts", "accounts"})
	require.NoError(t, err)
	require.Len(t, one, 1)
	_, err = chosen([]string{"accounts", "kitchen"})
	require.ErrorContains(t, err, `no scene "kitchen": there are accounts`)
}

func TestRequestsOfAccounts(t *testing.T) {
	t.Parallel()
	transfersByKey := map[string]account.TransferRequest{}
	twice, crossed, insufficient := 0, 0, 0
	for _, r := range first(opened["accounts"](), 2000, 7) {
		var asked []account.TransferRequest
		for _, c := range r {
			switch c := c.(type) {
			case transfer:
				asked = append(asked, account.TransferRequest(c))
			case transfers:
				asked = append(asked, c[:]...)
			}
		}
		for _, one := range asked {
			if other, ok := transfersByKey[one.Key]; ok {
				require.Equal(t, other, one, "a key is one transfer's")
			}
			transfersByKey[one.Key] = one
			require.NotEqual(t, one.From, one.To)
			require.Positive(t, one.Amount)
		}
		one, last := asked[0], asked[len(asked)-1]
		switch {
		case r.work() == 4:
			crossed++
			require.ElementsMatch(t, []int64{one.From, one.To}, []int64{last.From, last.To}, "the other way round")
		case one.Amount > 5*account.WelcomeBonus:
			insufficient++
		case len(r) == 2:
			twice++
		}
	}
	for name, share := range map[string][2]int{
		"crossed": {crossed, percentCrossed}, "insufficient": {insufficient, percentInsufficient},
		"twice": {twice, percentTwice},
	} {
		require.InEpsilon(t, 20*share[1], share[0], 0.4, name)
	}
}
