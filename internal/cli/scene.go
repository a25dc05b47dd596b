package cli

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/internal/invariant"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// A scene is a part of the application at work: what its clients ask for, and what its tables
// hold afterwards.
type scene interface {
	// open makes what the requests are about, once, before anything is asked for.
	open(ctx context.Context, d *txn.DB) error

	// requests are the same for the same seed, without end. open has been called.
	requests(seed uint64) iter.Seq[request]

	// rule names the rule of the business by which err refuses a call, or is "".
	rule(err error) string

	// audit reads what the database holds when all calls have returned, in plain SQL, by
	// nothing of what is put to the test. told is what the calls said.
	audit(ctx context.Context, tx pgx.Tx, told *tally) (audit, error)
}

// A request is what clients ask for at the same time: one of them, or several who are in each
// other's way. Each has one call.
type request []call

// A call is what one client asks for, mostly in one transaction. Calls are comparable values.
type call interface {
	// keys name what is asked for; none where nobody can say afterwards by whom it was done. Other
	// calls may have the same key: they ask for the same.
	keys() []string

	// ask asks. It is called again, with the same keys, by a client who got no answer.
	ask(ctx context.Context, d *txn.DB) (answer, error)
}

// An answer says what became of a call that succeeded.
type answer int

const (
	did     answer = iota // the call did it
	wasDone               // another one with the key had
	isDone                // one of the two
)

// replayed is the answer of functions that say whether an earlier call had done it.
func replayed(it bool) answer {
	if it {
		return wasDone
	}
	return did
}

// An idless call has a transaction that may leave no id: it is one flush, COMMIT included, or
// finds that there is nothing to change. If the answer to COMMIT is lost, there is nothing to ask
// for, and the client hears by asking again.
type idless interface{ mayLackID() }

// work is how many different things the request asks for.
func (r request) work() int {
	different := map[string]bool{}
	for _, c := range r {
		for _, key := range c.keys() {
			different[key] = true
		}
	}
	return len(different)
}

// An audit is what the database holds of a scene.
type audit struct {
	stored map[string]int // how often what each key names is there
	sums   []sum          // that are the scene's own
}

// A looker is a scene that somebody looks at again and again while it is at work.
type looker interface {
	look(ctx context.Context, d *txn.DB) (right bool, err error)
}

// A casting is a scene that there is.
type casting struct {
	name       string
	about      string
	weight     int // how many of its requests go with those of the others
	make       func(*demo) scene
	attempts   int // at a transaction; 0 is the library's default
	invariants []invariant.Invariant
}

// scenes are those that there are, in the order of the table.
var scenes = []casting{
	{
		name: "accounts", about: "money moves between accounts, often two ways at once", weight: 10,
		make:       func(d *demo) scene { return &accounts{size: d.accounts} },
		invariants: invariant.Account,
	},
	{
		name: "seats", about: "more users want seats than there are, all at once", weight: 3,
		make:       func(*demo) scene { return &seats{size: 60} },
		invariants: invariant.Booking,
	},
	{
		name: "shop", about: "users order the same products, whose prices change", weight: 5,
		make:       func(*demo) scene { return &shop{size: 60} },
		invariants: slices.Concat(invariant.Order, invariant.Checkout),
	},
	{
		name: "blog", about: "users write, publish and edit, several the same post, and follow one another", weight: 4,
		make:       func(*demo) scene { return &posts{size: 60} },
		invariants: invariant.Post,
	},
	{
		name: "reports", about: "the same report in each way that there is, while money comes in", weight: 3,
		make:       func(*demo) scene { return &reports{size: 40} },
		attempts:   10, // serializable reports are taken for conflicts that are none
		invariants: invariant.Report,
	},
}

// describe lists the scenes.
func describe() string {
	var text strings.Builder
	for _, c := range scenes {
		fmt.Fprintf(&text, "  %-10s%s\n", c.name, c.about)
	}
	return text.String()
}

func sceneNames() []string {
	var names []string
	for _, c := range scenes {
		names = append(names, c.name)
	}
	return names
}

// chosen are the scenes of those names, in the order of the table; all if there is none.
func chosen(names []string) ([]casting, error) {
	for _, name := range names {
		if !slices.Contains(sceneNames(), name) {
			return nil, fmt.Errorf("demo: no scene %q: there are %s", name, strings.Join(sceneNames(), ", "))
		}
	}
	if len(names) == 0 {
		return scenes, nil
	}
	return slices.DeleteFunc(slices.Clone(scenes), func(c casting) bool { return !slices.Contains(names, c.name) }), nil
}

// keysThere counts how often each key is in the result of a query.
func keysThere(ctx context.Context, tx pgx.Tx, sql string, args ...any) (map[string]int, error) {
	stored := map[string]int{}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
		stored[key]++
		return nil
	})
	return stored, err
}

// signUp makes users for a scene.
func signUp(ctx context.Context, d *txn.DB, scene string, size int) ([]account.SignedUp, error) {
	var users []account.SignedUp
	for n := range size {
		user, err := account.SignUp(ctx, d, account.SignUpRequest{
			Email: fmt.Sprintf("%s-%d@example.com", scene, n+1),
			Name:  fmt.Sprintf("User %d", n+1),
		})
		if err != nil {
			return nil, fmt.Errorf("user %d: %w", n+1, err)
		}
		users = append(users, user)
	}
	return users, nil
}

// dice throws for shares in percent, which are given one after another.
type dice int

// below reports whether the throw is in the next share.
func (d *dice) below(percent int) bool {
	*d -= dice(percent)
	return *d < 0
}

// invariantSums are sums of what must be true in any case.
func invariantSums(ctx context.Context, tx pgx.Tx, invariants []invariant.Invariant) ([]sum, error) {
	var sums []sum
	for _, i := range invariants {
		rows, err := tx.Query(ctx, i.SQL)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
		wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
		sums = append(sums, sum{Name: i.Name, Right: len(wrong) == 0, Found: fmt.Sprintf("%s exceptions", keys(wrong))})
	}
	return sums, nil
}
