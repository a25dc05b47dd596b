package txntest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Each pair of strengths, asked of the server.
func TestConflicts(t *testing.T) {
	t.Parallel()
	database := NewDatabase(t, SQL("create table things (id int primary key)", "insert into things values (1)"))
	owner := newPool(t, database.OwnerURL(), 2, nil)
	lock := func(strength string) string {
		if strings.HasPrefix(strength, "FOR ") {
			return "select from things " + strength + " nowait"
		}
		return "lock table things in " + strength + " mode nowait"
	}
	asked := 0
	for _, held := range slices.Sorted(maps.Keys(conflicts)) {
		for _, wanted := range slices.Sorted(maps.Keys(conflicts)) {
			if strings.HasPrefix(held, "FOR ") != strings.HasPrefix(wanted, "FOR ") {
				continue
			}
			undone(t, owner, func(one pgx.Tx) {
				undone(t, owner, func(other pgx.Tx) {
					_, err := one.Exec(t.Context(), lock(held))
					require.NoError(t, err)
					_, err = other.Exec(t.Context(), lock(wanted))
					if conflict(wanted, held) {
						require.Equal(t, "55P03", txn.SQLState(err), "%s held, %s wanted", held, wanted)
					} else {
						require.NoError(t, err, "%s held, %s wanted", held, wanted)
					}
				})
			})
			asked++
		}
	}
	require.Equal(t, 4*4+8*8, asked)
}

func undone(t *testing.T, pool *pgxpool.Pool, fn func(pgx.Tx)) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	fn(tx)
}

// A lock covers another one if nobody who may hold theirs beside it is in the way of the other.
func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		held, wanted string
		want         bool
	}{
		{"FOR UPDATE", "FOR KEY SHARE", true},
		{"FOR NO KEY UPDATE", "FOR NO KEY UPDATE", true},
		{"FOR SHARE", "FOR NO KEY UPDATE", false},
		{"FOR NO KEY UPDATE", "FOR UPDATE", false},
		{"SHARE", "ROW EXCLUSIVE", false},
		{"ROW EXCLUSIVE", "SHARE", false},
		{"SHARE ROW EXCLUSIVE", "SHARE", true},
	} {
		require.Equal(t, c.want, covers(c.held, c.wanted), "%s, then %s", c.held, c.wanted)
	}
}

// What is over is forgotten, whatever became of it.
func TestLockOrderForgets(t *testing.T) {
	t.Parallel()
	database := NewDatabase(t, SQL("create table things (id int primary key)"))
	l := NewLockOrder([]txn.QueryInfo{{Name: "lock table things", Locks: []txn.QueryLock{{Table: "things", Strength: "ACCESS EXCLUSIVE"}}}})
	d := txn.New(database.Pool(t), txn.Config{Observers: []txn.Observer{l}})
	for _, sql := range []string{"select 1", "select from nothing"} {
		err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("lock table things")
			_, err := tx.Exec(ctx, sql)
			require.Len(t, l.open, 1)
			return err
		})
		require.Equal(t, sql == "select 1", err == nil)
		require.Empty(t, l.open)
	}
}
