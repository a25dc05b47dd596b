package ledger_test

import "testing"

// roundTrips is what calls cost once the connection knows their statements.
var roundTrips = map[string]int64{
	"Transfer":       3,
	"Pay two people": 5,
	"Statement":      1,
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	l, ids, w := setup(t, 1000, 0, 0)
	for name, call := range map[string]func() error{
		"Transfer": func() error {
			_, err := l.Transfer(t.Context(), ids[0], ids[1], 1)
			return err
		},
		"Pay two people": func() error { return l.Pay(t.Context(), ids[0], ids[1:], 1) },
		"Statement": func() error {
			_, err := l.Statement(t.Context(), ids[0])
			return err
		},
	} {
		for range 2 { // the second time statements are prepared
			w.roundTrips.Store(0)
			if err := call(); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.roundTrips.Load(); n != roundTrips[name] {
			t.Errorf("%s: %d round trips, not %d", name, n, roundTrips[name])
		}
	}
}
