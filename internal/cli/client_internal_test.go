package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// An answering call has its answers one after another; nil is done, errWasDone that it was
// done before.
type answering struct{ answers *[]error }

var errWasDone = errors.New("was done")

func (answering) keys() []string { return []string{"k"} }

func (a answering) ask(context.Context, *txn.DB) (answer, error) {
	err := (*a.answers)[0]
	*a.answers = (*a.answers)[1:]
	if errors.Is(err, errWasDone) {
		return wasDone, nil
	}
	return did, err
}

// A flushed call is one whose transaction is one flush.
type flushed struct{ answering }

func (flushed) mayLackID() {}

// Who does not know asks again. Who is told that it was not done does not, unless there was
// no server.
func TestClient(t *testing.T) {
	t.Parallel()
	unsure := &txn.CommitUnknownError{Err: server("57P02")}
	for _, c := range []struct {
		name    string
		outage  bool
		answers []error
		left    int // of the answers
		want    outcome
	}{
		{"done", false, []error{nil, nil}, 1, outcome{fate: committed}},
		{"refused", false, []error{account.ErrInsufficientFunds, nil}, 1, outcome{fate: refused, reason: "insufficient funds"}},
		{"killed", false, []error{server("57P01"), nil}, 1, outcome{fate: failed, reason: "57P01"}},
		{"unknown, was done", false, []error{unsure, errWasDone}, 0, outcome{fate: repeated, unsure: 1, unexcused: 1}},
		{"unknown, was not done", true, []error{unsure, nil}, 0, outcome{fate: committed, unsure: 1}},
		{"unknown, cannot be done", true, []error{unsure, account.ErrInsufficientFunds}, 0, outcome{fate: refused, reason: "insufficient funds", unsure: 1}},
		{"no server", true, []error{server("57P01"), server("57P03"), unsure, errWasDone}, 0, outcome{fate: repeated, unsure: 1, absent: 2}},
		{"a deadlock with an outage", true, []error{server("40P01"), nil}, 1, outcome{fate: failed, reason: "40P01"}},
		{"unknown, then in use", true, []error{unsure, fmt.Errorf("busy: %w", txn.ErrLockNotAvailable), errWasDone}, 0, outcome{fate: repeated, unsure: 1}},
		{"unknown, then a deadlock", true, []error{unsure, server("40P01"), errWasDone}, 0, outcome{fate: repeated, unsure: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := &part{scene: &accounts{}, tally: newTally(newToll())}
			if c.outage {
				p.tally.toll.outages.begin()
			}
			p.serve(t.Context(), answering{&c.answers})
			require.Len(t, c.answers, c.left)
			c.want.keys = []string{"k"}
			require.Equal(t, []outcome{c.want}, p.tally.outcomes)
			require.Empty(t, p.tally.errors)
		})
	}

	p := &part{scene: &accounts{}, tally: newTally(newToll())}
	p.serve(t.Context(), flushed{answering{&[]error{unsure, &txn.CommitUnknownError{XID: "7", Err: server("57P01")}, errWasDone}}})
	require.Equal(t, []outcome{{keys: []string{"k"}, fate: repeated, unsure: 2, unexcused: 1}}, p.tally.outcomes, "one left its id to ask for")

	p = &part{scene: &accounts{}, tally: newTally(newToll())}
	p.serve(t.Context(), answering{&[]error{account.ErrKeyReused}})
	require.Len(t, p.tally.errors, 1, "neither a rule nor a fault")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.serve(ctx, answering{&[]error{unsure}})
	require.Equal(t, unknown, p.tally.outcomes[1].fate, "nobody waits for the answer")
}
