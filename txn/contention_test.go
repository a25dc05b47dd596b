package txn_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Sixteen workers append to the same lists, at levels where all but one of those that meet
// must fail and run again. Every call ends committed, and nothing is left of an attempt that
// was not: no row, no hook, no value.
func TestFaultsOfContention(t *testing.T) {
	const workers = 16
	calls := 6 // of each worker
	if *long {
		calls = 200
	}
	for _, level := range []txn.Isolation{txn.RepeatableRead, txn.Serializable} {
		t.Run(level.String(), func(t *testing.T) {
			f := setup(t, txn.Config{})
			_, err := f.Admin(t).Exec(t.Context(), `
				create table lists (id int primary key, items text[] not null default '{}');
				insert into lists (id) values (1), (2);
				create table appends (item text not null);
				grant all on lists, appends to `+pgserver.AppRole)
			require.NoError(t, err)
			a := &appenders{level: level, together: txntest.NewBarrier(workers)}
			watched(t, func(ctx context.Context) {
				cfg := poolConfig(t, f.AppURL())
				cfg.MaxConns = workers
				d := openConfig(t, cfg, txn.Config{MaxDelay: 20 * time.Millisecond, Options: txn.Options{MaxAttempts: 10_000}})
				var all sync.WaitGroup
				for worker := range workers {
					all.Go(func() {
						for call := range calls {
							if err := a.call(ctx, d, worker, call); err != nil {
								t.Errorf("worker %d, call %d: %v", worker, call, err)
							}
						}
					})
				}
				all.Wait()
				released(t, d)
				d.Close()
			})

			counted := fmt.Sprintf("%d calls, %d committed, %d attempts", workers*calls, len(a.committed), a.attempts.Load())
			t.Log(counted)
			report.add("contention at "+level.String(), counted)
			require.Len(t, a.committed, workers*calls)
			require.GreaterOrEqual(t, a.attempts.Load(), int64(workers*calls+workers-1), "those that began together met")
			require.Equal(t, a.attempts.Load()-int64(len(a.committed)), a.undone.Load(), "each other attempt was told that it is undone")

			slices.Sort(a.committed)
			slices.Sort(a.hooked)
			require.Equal(t, a.committed, a.hooked, "each committed attempt's hook ran once, and no other's")
			require.Equal(t, a.committed, column[string](t, f.db.Pool(), `select item from appends order by item collate "C"`))
			require.Equal(t, a.committed, column[string](t, f.db.Pool(), `select unnest(items) collate "C" item from lists order by item`))
			// An item says how long the list was that its transaction had read.
			require.Empty(t, column[string](t, f.db.Pool(), `
				select item from lists, unnest(items) with ordinality i (item, place) where split_part(item, ' ', 4)::int <> place - 1`))
			require.Empty(t, column[string](t, f.db.Pool(), `
				select split_part(item, ' ', 1) from appends group by 1 having count(*) > 1`))
		})
	}
}

// appenders append, and note what they are told.
type appenders struct {
	level    txn.Isolation
	together *txntest.Barrier // the first snapshots are taken before the first write
	attempts atomic.Int64
	undone   atomic.Int64

	mu        sync.Mutex
	committed []string // the values that calls returned
	hooked    []string // those that AfterCommit was given
}

func (a *appenders) call(ctx context.Context, d *txn.DB, worker, call int) error {
	list := 1
	if call > 0 {
		list = 1 + (worker+call)%2
	}
	item, err := txn.WithTxValue(ctx, d, txn.Options{Label: "append", Isolation: a.level}, func(ctx context.Context, tx *txn.Tx) (string, error) {
		a.attempts.Add(1)
		tx.AfterRollback(func(context.Context, error) { a.undone.Add(1) }) // the read, too, may fail
		var length int
		if err := tx.QueryRow(ctx, "select cardinality(items) from lists where id = $1", list).Scan(&length); err != nil {
			return "", fmt.Errorf("read the list: %w", err)
		}
		if call == 0 && tx.Attempt() == 1 {
			if err := a.together.Wait(ctx); err != nil {
				return "", err
			}
		}
		item := fmt.Sprintf("%d.%d attempt %d %d", worker, call, tx.Attempt(), length)
		tx.AfterCommit(func(context.Context) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.hooked = append(a.hooked, item)
			return nil
		})
		if _, err := tx.Exec(ctx, "insert into appends (item) values ($1)", item); err != nil {
			return item, fmt.Errorf("note the item: %w", err)
		}
		// Wrapped twice, said otherwise, or dropped: what the server said is retried.
		_, err := tx.Exec(ctx, "update lists set items = items || $2::text where id = $1", list, item)
		switch {
		case err == nil:
			return item, nil
		case worker%3 == 0:
			return item, fmt.Errorf("append: %w", fmt.Errorf("to the list: %w", err))
		case worker%3 == 1:
			return item, errBusiness
		}
		return item, nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committed = append(a.committed, item)
	return nil
}
