package guards_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"example.com/app/db"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A form is a way to run a query.
type form struct {
	name string
	run  func(ctx context.Context, d *txn.DB, opts txn.Options, q call) error
}

// A call is one query in its three forms.
type call struct {
	now  func(ctx context.Context, q db.WriteQuerier) error
	wait func(q *db.QueuedQueries)
}

// usable is what a transaction is asked for to see whether it can go on.
const usable = "select 1"

var forms = []form{
	{"immediate", func(ctx context.Context, d *txn.DB, opts txn.Options, q call) error {
		return txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
			err := q.now(ctx, db.New(tx))
			var one int
			if txn.SQLState(err) == "" {
				if gone := tx.QueryRow(ctx, usable).Scan(&one); gone != nil {
					return fmt.Errorf("the transaction cannot go on after %w: %w", err, gone)
				}
			}
			return err
		})
	}},
	{"queued", func(ctx context.Context, d *txn.DB, opts txn.Options, q call) error {
		return txn.WithTx(ctx, d, opts, func(_ context.Context, tx *txn.Tx) error {
			waiting := db.New(tx).Queued()
			waiting.AddNote("with it") // COMMIT must not keep it
			q.wait(waiting)
			waiting.AddNote("behind it")
			return nil
		})
	}},
	{"autocommit", func(ctx context.Context, d *txn.DB, _ txn.Options, q call) error {
		return q.now(ctx, db.Autocommit(d))
	}},
}

// optimistic are the queries with a version, for document id and version 1.
func optimistic(id int64) map[string]call {
	return map[string]call{
		"exec": {
			func(ctx context.Context, q db.WriteQuerier) error {
				return q.RenameDoc(ctx, db.RenameDocParams{Title: "new", ID: id, Version: 1})
			},
			func(q *db.QueuedQueries) { q.RenameDoc(db.RenameDocParams{Title: "new", ID: id, Version: 1}) },
		},
		"execrows": {
			func(ctx context.Context, q db.WriteQuerier) error {
				n, err := q.RenameDocCounted(ctx, db.RenameDocCountedParams{Title: "new", ID: id, Version: 1})
				if err == nil && n != 1 {
					return fmt.Errorf("%d rows", n)
				}
				return err
			},
			func(q *db.QueuedQueries) {
				q.RenameDocCounted(db.RenameDocCountedParams{Title: "new", ID: id, Version: 1})
			},
		},
		"one": {
			func(ctx context.Context, q db.WriteQuerier) error {
				row, err := q.RenameDocReturning(ctx, db.RenameDocReturningParams{Title: "new", ID: id, Version: 1})
				if want := (db.RenameDocReturningRow{ID: id, Renamed: "new", Version: 2, Tick: "a`b"}); err == nil && row != want {
					return fmt.Errorf("returned %+v", row)
				}
				return err
			},
			func(q *db.QueuedQueries) {
				q.RenameDocReturning(db.RenameDocReturningParams{Title: "new", ID: id, Version: 1})
			},
		},
		"delete": {
			func(ctx context.Context, q db.WriteQuerier) error {
				return q.DropDoc(ctx, db.DropDocParams{ID: id, Version: 1})
			},
			func(q *db.QueuedQueries) { q.DropDoc(db.DropDocParams{ID: id, Version: 1}) },
		},
	}
}

// TestOptimistic has another transaction do something to the row while the query waits for it,
// at each level of isolation.
func TestOptimistic(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := int64(0)
	for _, meanwhile := range []struct {
		name   string
		sql    []string
		sees   error // what a query finds that looks when the other transaction has ended
		waited error // if it looks at the row that it has waited for
	}{
		{name: "undisturbed"},
		{"updated", []string{"update docs set title = 'other', version = version + 1 where id = $1"}, txn.ErrStale, txn.ErrStale},
		{"deleted", []string{"delete from docs where id = $1"}, txn.ErrNotFound, txn.ErrNotFound},
		{"deleted and inserted again", []string{"delete from docs where id = $1", "insert into docs (id, title) values ($1, 'again')"},
			txn.ErrStale, txn.ErrNotFound},
	} {
		for _, level := range []txn.Isolation{txn.ReadCommitted, txn.RepeatableRead, txn.Serializable} {
			for _, form := range forms {
				if form.name == "autocommit" && level != txn.ReadCommitted {
					continue
				}
				for command := range optimistic(0) {
					id++
					q := optimistic(id)[command]
					name := fmt.Sprintf("%s, %s, %s, %s", meanwhile.name, level, form.name, command)
					e.exec(t, "insert into docs (id, title) values ($1, 'old')", id)
					e.exec(t, "delete from notes")
					run := func() error {
						return form.run(t.Context(), e.db, txn.Options{Isolation: level, MaxAttempts: 1}, q)
					}
					var err error
					if meanwhile.sql == nil {
						err = run()
					} else {
						other := e.begin(t)
						for _, sql := range meanwhile.sql {
							_, err := other.Exec(t.Context(), sql, id)
							require.NoError(t, err)
						}
						done := make(chan error, 1)
						go func() { done <- run() }()
						e.waitBlocked(t)
						require.NoError(t, other.Commit(t.Context()))
						err = <-done
					}
					switch {
					case meanwhile.sql == nil:
						require.NoError(t, err, name)
						require.Equal(t, form.name == "queued", e.count(t, "notes") == 2, name)
						continue
					case level != txn.ReadCommitted:
						require.Equal(t, "40001", txn.SQLState(err), "%s: %v", name, err)
					case form.name == "immediate":
						requireOnly(t, meanwhile.sees, err, name)
					default:
						requireOnly(t, meanwhile.waited, err, name)
					}
					require.Zero(t, e.count(t, "notes"), name)
				}
			}
		}
	}
}

// requireOnly is for the two errors that are no other's.
func requireOnly(t *testing.T, want, err error, name string) {
	t.Helper()
	require.ErrorIs(t, err, want, name)
	require.NotEqual(t, errors.Is(err, txn.ErrStale), errors.Is(err, txn.ErrNotFound), name)
	if stale, ok := errors.AsType[*txn.StaleError](err); ok {
		require.Contains(t, []string{"RenameDoc", "RenameDocCounted", "RenameDocReturning", "DropDoc"}, stale.Query, name)
	}
}

// TestOptimisticBeforehand meets a row that another transaction has changed and committed
// before, again and again, so that the plan becomes a generic one.
func TestOptimisticBeforehand(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, "insert into docs (id, title, shelf, version) values (1, 'old', 'a', 7), (2, 'old', 'b', 1)")
	for range 12 {
		for _, form := range forms {
			for _, c := range []struct {
				why  string
				id   int64
				want error
			}{
				{"another version", 1, txn.ErrStale},
				{"the version is right, but another condition is not", 2, txn.ErrNotFound},
				{"no row", 3, txn.ErrNotFound},
			} {
				err := form.run(t.Context(), e.db, txn.Options{}, optimistic(c.id)["exec"])
				requireOnly(t, c.want, err, form.name+": "+c.why)
				if form.name == "queued" {
					queued, ok := errors.AsType[*txn.QueuedError](err)
					require.True(t, ok, c.why)
					require.Equal(t, "RenameDoc", queued.Query)
				}
			}
		}
	}
	require.Zero(t, e.count(t, "notes"))
}

// TestExecModes has pgx send arguments in each of its ways, as text within the statement too.
func TestExecModes(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, "insert into docs (id, title, version) values (1, 'old', 7)")
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		d, err := txn.Open(t.Context(), e.proxy.URL()+"&default_query_exec_mode="+mode, txn.Config{})
		require.NoError(t, err)
		t.Cleanup(d.Close)
		for _, form := range forms {
			for command, q := range optimistic(1) {
				requireOnly(t, txn.ErrStale, form.run(t.Context(), d, txn.Options{}, q), mode+", "+form.name+", "+command)
			}
			for command, q := range optimistic(2) {
				requireOnly(t, txn.ErrNotFound, form.run(t.Context(), d, txn.Options{}, q), mode+", "+form.name+", "+command)
				e.exec(t, "insert into docs (id, title) values (2, 'old')")
				require.NoError(t, form.run(t.Context(), d, txn.Options{}, q), mode+", "+form.name+", "+command)
				e.exec(t, "delete from docs where id = 2")
			}
		}
	}
}

// TestSavepoint contains what a queued statement found.
func TestSavepoint(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, "insert into docs (id, title, version) values (1, 'old', 7)")
	err := txn.WithTx(t.Context(), e.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		db.New(tx).Queued().AddNote("before")
		err := tx.Savepoint(ctx, func(_ context.Context, tx *txn.Tx) error {
			q := db.New(tx).Queued()
			q.AddNote("undone")
			q.RenameDoc(db.RenameDocParams{Title: "new", ID: 1, Version: 1})
			return nil
		})
		require.ErrorIs(t, err, txn.ErrStale)
		db.New(tx).Queued().AddNote("after")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "after before", e.text(t, "select string_agg(body, ' ' order by body) from notes"))
}

// TestAffectsOne changes no row, one, and two.
func TestAffectsOne(t *testing.T) {
	t.Parallel()
	e := setup(t)
	touch := func(ids ...int64) map[string]call {
		return map[string]call{
			"TouchDocs": {
				func(ctx context.Context, q db.WriteQuerier) error { _, err := q.TouchDocs(ctx, ids); return err },
				func(q *db.QueuedQueries) { q.TouchDocs(ids) },
			},
			"TouchDocsReturning": {
				func(ctx context.Context, q db.WriteQuerier) error {
					_, err := q.TouchDocsReturning(ctx, ids)
					return err
				},
				func(q *db.QueuedQueries) { q.TouchDocsReturning(ids) },
			},
		}
	}
	e.exec(t, "insert into docs (id, title) values (1, 'old'), (2, 'old'), (4, 'old')")
	versions := func() string {
		return e.text(t, "select string_agg(version::text, ' ' order by id) from docs")
	}
	for _, form := range forms {
		for _, name := range []string{"TouchDocs", "TouchDocsReturning"} {
			e.exec(t, "update docs set version = 1")
			require.NoError(t, form.run(t.Context(), e.db, txn.Options{}, touch(1)[name]), "%s %s", form.name, name)
			require.Equal(t, "2 1 1", versions(), "%s %s", form.name, name)
			for _, c := range []struct {
				ids  []int64
				want txn.AffectedError
			}{
				{[]int64{3}, txn.AffectedError{Query: name, None: true, Want: 1}},
				{[]int64{1, 2}, txn.AffectedError{Query: name, Want: 1, Got: 2}},
			} {
				if form.name != "immediate" && !c.want.None {
					c.want.Got = -1
				}
				err := form.run(t.Context(), e.db, txn.Options{}, touch(c.ids...)[name])
				affected, ok := errors.AsType[*txn.AffectedError](err)
				require.True(t, ok, "%s %s: %v", form.name, name, err)
				require.Equal(t, c.want, *affected, "%s %s", form.name, name)
				require.Equal(t, "2 1 1", versions(), "%s %s", form.name, name)
			}
		}
	}
	e.exec(t, "delete from notes")
	for _, form := range forms {
		add := func(id int64) error {
			return form.run(t.Context(), e.db, txn.Options{}, call{
				func(ctx context.Context, q db.WriteQuerier) error {
					return q.AddDoc(ctx, db.AddDocParams{ID: id, Title: "added"})
				},
				func(q *db.QueuedQueries) { q.AddDoc(db.AddDocParams{ID: id, Title: "added"}) },
			})
		}
		e.exec(t, "delete from docs where id = 9")
		require.NoError(t, add(9), form.name)
		require.ErrorAs(t, add(9), new(*txn.AffectedError), form.name)
	}
}

// TestQueuedAnswers shows that the answer of a guarded query is the query's.
func TestQueuedAnswers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, "insert into docs (id, title) values (1, 'old')")
	type answers struct {
		touched  *txn.Pending[int64]
		renamed  *txn.Pending[db.RenameDocReturningRow]
		returned *txn.Pending[db.TouchDocsReturningRow]
		added    *txn.Pending[struct{}]
	}
	e.proxy.Reset()
	a, err := txn.WithTxValue(t.Context(), e.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) (answers, error) {
		q := db.New(tx).Queued()
		return answers{
			renamed:  q.RenameDocReturning(db.RenameDocReturningParams{Title: "new", ID: 1, Version: 1}),
			touched:  q.TouchDocs([]int64{1}),
			returned: q.TouchDocsReturning([]int64{1}),
			added:    q.AddDoc(db.AddDocParams{ID: 2, Title: "two"}),
		}, nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, e.proxy.RoundTrips(), "one to prepare, and one for all else")
	renamed, err := a.renamed.Value()
	require.NoError(t, err)
	require.Equal(t, db.RenameDocReturningRow{ID: 1, Renamed: "new", Version: 2, Tick: "a`b"}, renamed)
	n, err := a.touched.Value()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	returned, err := a.returned.Value()
	require.NoError(t, err)
	require.Equal(t, db.TouchDocsReturningRow{ID: 1, ID_2: 1, Title: "new"}, returned)
	_, err = a.added.Value()
	require.NoError(t, err)
}

// TestOtherErrorsStayTheirs has a guarded query violate a constraint of the application's, and
// the caller name its error.
func TestOtherErrorsStayTheirs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, "insert into docs (id, title) values (1, 'old')")
	untitled := call{
		func(ctx context.Context, q db.WriteQuerier) error {
			return q.RenameDoc(ctx, db.RenameDocParams{ID: 1, Version: 1})
		},
		func(q *db.QueuedQueries) { q.RenameDoc(db.RenameDocParams{ID: 1, Version: 1}) },
	}
	for _, form := range forms {
		err := form.run(t.Context(), e.db, txn.Options{}, untitled)
		require.Equal(t, "docs_title_check", txn.ConstraintName(err), form.name)
	}
	mine := errors.New("somebody was faster")
	err := txn.WithTx(t.Context(), e.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
		db.New(tx).Queued().RenameDoc(db.RenameDocParams{Title: "new", ID: 1, Version: 5}).OnError(func(err error) error {
			require.ErrorIs(t, err, txn.ErrStale)
			return mine
		})
		return nil
	})
	require.ErrorIs(t, err, mine)
}

// TestView, TestPartitions and TestRowSecurity show what else can be changed so.
func TestView(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, "insert into docs (id, title, shelf) values (1, 'old', 'a'), (2, 'old', 'b')")
	for _, form := range forms {
		rename := func(id int64) error {
			return form.run(t.Context(), e.db, txn.Options{}, call{
				func(ctx context.Context, q db.WriteQuerier) error {
					return q.RenameOnShelf(ctx, db.RenameOnShelfParams{Title: form.name, ID: id})
				},
				func(q *db.QueuedQueries) { q.RenameOnShelf(db.RenameOnShelfParams{Title: form.name, ID: id}) },
			})
		}
		require.NoError(t, rename(1), form.name)
		require.ErrorAs(t, rename(2), new(*txn.AffectedError), form.name)
		require.Equal(t, form.name+" old", e.text(t, "select string_agg(title, ' ' order by id) from docs"))
	}
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, form := range forms {
		e.exec(t, "delete from parts")
		e.exec(t, "insert into parts (region, id, title) values (1, 1, 'old'), (2, 1, 'old')")
		rename := func(region int32, version int64) error {
			p := db.RenamePartParams{Title: "new", Region: region, ID: 1, Version: version}
			return form.run(t.Context(), e.db, txn.Options{}, call{
				func(ctx context.Context, q db.WriteQuerier) error { return q.RenamePart(ctx, p) },
				func(q *db.QueuedQueries) { q.RenamePart(p) },
			})
		}
		require.NoError(t, rename(2, 1), form.name)
		require.Equal(t, "old new", e.text(t, "select string_agg(title, ' ' order by region) from parts"))
		requireStaleThenGone(t, rename(2, 1), rename(3, 1), form.name)
	}
}

// A row that the tenant may not see is not there, whatever its version.
func TestRowSecurity(t *testing.T) {
	t.Parallel()
	e := setup(t)
	d := txn.New(e.db.Pool(), txn.Config{Options: txn.Options{Settings: map[string]string{"app.tenant": "ada"}}})
	for _, form := range forms {
		e.exec(t, "delete from secrets")
		e.exec(t, "insert into secrets (id, tenant, body) values (1, 'ada', 'old'), (2, 'bob', 'old')")
		change := func(id, version int64) error {
			p := db.ChangeSecretParams{Body: "new", ID: id, Version: version}
			return form.run(t.Context(), d, txn.Options{}, call{
				func(ctx context.Context, q db.WriteQuerier) error { return q.ChangeSecret(ctx, p) },
				func(q *db.QueuedQueries) { q.ChangeSecret(p) },
			})
		}
		require.NoError(t, change(1, 1), form.name)
		require.Equal(t, "new old", e.text(t, "select string_agg(body, ' ' order by id) from secrets"))
		requireStaleThenGone(t, change(1, 1), change(2, 1), form.name)
		requireStaleThenGone(t, change(1, 7), change(2, 7), form.name)
	}
}

// A row that has the version asked for may be passed by all the same, which the two errors
// cannot say.
func TestPassedBy(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.exec(t, `
		create function pass_by() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger pass_by before update on docs for each row execute function pass_by();
		create policy seen on secrets for select using (true);
		insert into docs (id, title) values (1, 'old');
		insert into secrets (id, tenant, body) values (2, 'bob', 'old')`)
	d := txn.New(e.db.Pool(), txn.Config{Options: txn.Options{Settings: map[string]string{"app.tenant": "ada"}}})
	for _, form := range forms {
		for _, command := range []string{"exec", "execrows", "one"} {
			requireOnly(t, txn.ErrStale, form.run(t.Context(), e.db, txn.Options{}, optimistic(1)[command]), form.name+", "+command)
		}
		p := db.ChangeSecretParams{Body: "new", ID: 2, Version: 1}
		err := form.run(t.Context(), d, txn.Options{}, call{
			func(ctx context.Context, q db.WriteQuerier) error { return q.ChangeSecret(ctx, p) },
			func(q *db.QueuedQueries) { q.ChangeSecret(p) },
		})
		require.Equal(t, form.name == "immediate", errors.Is(err, txn.ErrStale), "%s: %v", form.name, err)
		require.Equal(t, form.name != "immediate", errors.Is(err, txn.ErrNotFound), "%s: %v", form.name, err)
	}
}

func requireStaleThenGone(t *testing.T, stale, gone error, name string) {
	t.Helper()
	require.ErrorIs(t, stale, txn.ErrStale, name)
	require.ErrorIs(t, gone, txn.ErrNotFound, name)
	require.NotErrorIs(t, gone, txn.ErrStale, name)
}

type env struct {
	db    *txn.DB // as the ordinary role
	admin *pgxpool.Pool
	proxy *faultproxy.Proxy
}

func setup(t *testing.T) *env {
	t.Helper()
	schema, err := os.ReadFile("schema/schema.sql")
	require.NoError(t, err)
	database := txntest.NewDatabase(t, txntest.SQL(string(schema)))
	proxy := txntest.NewProxy(t, database.AppURL())
	d, err := txn.Open(t.Context(), proxy.URL(), txn.Config{})
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return &env{d, database.Admin(t), proxy}
}

func (e *env) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := e.admin.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

func (e *env) begin(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := e.admin.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

func (e *env) count(t *testing.T, table string) (n int) {
	t.Helper()
	require.NoError(t, e.admin.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n))
	return n
}

func (e *env) text(t *testing.T, sql string) (s string) {
	t.Helper()
	require.NoError(t, e.admin.QueryRow(t.Context(), sql).Scan(&s))
	return s
}

// waitBlocked returns when a session of the database waits for a lock.
func (e *env) waitBlocked(t *testing.T) {
	t.Helper()
	for {
		var blocked bool
		require.NoError(t, e.admin.QueryRow(t.Context(), `
			select exists (select from pg_stat_activity
				where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)`).Scan(&blocked))
		if blocked {
			return
		}
	}
}
