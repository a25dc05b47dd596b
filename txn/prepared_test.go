package txn_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: a statement is prepared once for a connection, stays so when an attempt fails, and is
// forgotten when it is no longer right.

// preparedOn are the names of what callers' statements are prepared as on the pool's only
// connection.
func preparedOn(t *testing.T, d *txn.DB) []string {
	t.Helper()
	rows, err := d.Pool().Query(t.Context(), "select name from pg_prepared_statements where name ~ '^interlock_[0-9a-f]{48}$' order by 1",
		pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

func TestPreparedStatementsAreBounded(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t, func(cfg *pgxpool.Config) { cfg.ConnConfig.StatementCacheCapacity = 2 })
	for i := range 20 {
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			for j := range 3 {
				require.Equal(t, i, ask[int](t, ctx, tx, fmt.Sprintf("select $1::int + %d - %d", i*j, i*j), i))
			}
			return nil
		}))
		// Two are kept, and one that was evicted waits to be freed with the next preparation.
		require.LessOrEqual(t, len(preparedOn(t, d)), 3)
	}
	// More in one flush than are kept.
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		b := &pgx.Batch{}
		for i := range 10 {
			b.Queue(fmt.Sprintf("select %d + $1::int", i), 1).QueryRow(func(row pgx.Row) error {
				var n int
				require.NoError(t, row.Scan(&n))
				require.Equal(t, i+1, n)
				return nil
			})
		}
		return tx.SendBatch(ctx, b).Close()
	}))
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.Equal(t, 2, ask[int](t, ctx, tx, "select 1 + $1::int", 1), "prepared again under the name it had")
		return nil
	}))
	require.LessOrEqual(t, len(preparedOn(t, d)), 3)
}

// What every transaction has is prepared on the first occasion, and parsed no more. It takes
// no room from the caller's statements.
func TestOwnStatementsArePrepared(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t, func(cfg *pgxpool.Config) { cfg.ConnConfig.StatementCacheCapacity = 1 })
	executed := func() map[string]int64 {
		rows, err := d.Pool().Query(t.Context(),
			"select statement, generic_plans + custom_plans from pg_prepared_statements where name like 'interlock%' and length(name) < 20",
			pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		counts := map[string]int64{}
		var statement string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&statement, &n}, func() error { counts[statement] = n; return nil })
		require.NoError(t, err)
		return counts
	}
	for range 3 {
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			if _, err := tx.Exec(ctx, "update accounts set balance = balance where id = $1", 1); err != nil {
				return err
			}
			tx.Queue("select $1::int", 1)
			return nil
		}))
	}
	const id = "select pg_current_xact_id_if_assigned()::text"
	require.Equal(t, map[string]int64{
		"begin isolation level read committed read write": 3,
		id: 2, // not by the first: it asked for more
	}, executed())
	require.NoError(t, txn.WithReadTx(t.Context(), d, txn.Options{Isolation: txn.Serializable}, func(ctx context.Context, rx *txn.ReadTx) error {
		return rx.QueryRow(ctx, "select 1 + $1::int", 1).Scan(new(int))
	}))
	require.Contains(t, executed(), "begin isolation level serializable read only")
}

// The name says what the statement is. Were it a number, a pooler that gives two clients one
// session in turn could have one of them execute what the other prepared.
func TestPreparedStatementsAreNamedByTheirText(t *testing.T) {
	f := setup(t, txn.Config{})
	names := func(first, second string) []string {
		d := f.single(t)
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			ask[int](t, ctx, tx, first, 1)
			ask[int](t, ctx, tx, second, 1)
			return nil
		}))
		return preparedOn(t, d)
	}
	one, other := "select 1 + $1::int", "select 2 + $1::int"
	require.Equal(t, names(one, other), names(other, one))
	require.NotEqual(t, names(one, one), names(other, other))
}

func TestFailingAttemptKeepsStatementsPrepared(t *testing.T) {
	f := setup(t, txn.Config{})
	for name, fn := range map[string]func(context.Context, *txn.Tx) error{
		"serialization failure": func(ctx context.Context, tx *txn.Tx) error { return fail(ctx, tx, "40001") },
		"duplicate":             func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "taken") },
		"queued duplicate": func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue(insertNote, "taken")
			return nil
		},
		"check": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "update accounts set balance = balance - $1 where id = 1", 5000)
			return err
		},
		"business": func(context.Context, *txn.Tx) error { return errBusiness },
	} {
		t.Run(name, func(t *testing.T) {
			d := f.single(t)
			run := func(last func(context.Context, *txn.Tx) error) error {
				return txn.WithTx(t.Context(), d, txn.Options{MaxAttempts: 1}, func(ctx context.Context, tx *txn.Tx) error {
					ask[int](t, ctx, tx, "select balance from accounts where id = $1 for update", 1)
					if err := write(ctx, tx, name); err != nil {
						return err
					}
					return last(ctx, tx)
				})
			}
			_, err := f.db.Pool().Exec(t.Context(), "insert into notes (body) values ('taken') on conflict do nothing")
			require.NoError(t, err)
			require.Error(t, run(fn)) // prepares what it needs
			since := f.preparations(t, d)
			require.NotEmpty(t, since)
			for range 3 {
				require.Error(t, run(fn))
			}
			require.Equal(t, since, f.preparations(t, d))
		})
	}
}

// preparations are the names of what is prepared on the pool's only connection, and when.
func (f *fixture) preparations(t *testing.T, d *txn.DB) []string {
	t.Helper()
	rows, err := d.Pool().Query(t.Context(), "select name || prepare_time from pg_prepared_statements where name like 'interlock%' order by 1",
		pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

// ways are all the ways in which a statement's answer is read.
func ways(sql string, args ...any) map[string]func(context.Context, *txn.Tx) error {
	read := func(rows pgx.Rows) error {
		for rows.Next() {
			if _, err := rows.Values(); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	return map[string]func(context.Context, *txn.Tx) error{
		"Exec": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, sql, args...)
			return err
		},
		"Query": func(ctx context.Context, tx *txn.Tx) error {
			rows, err := tx.Query(ctx, sql, args...)
			if err != nil {
				return err
			}
			return read(rows)
		},
		"batch": func(ctx context.Context, tx *txn.Tx) error {
			b := &pgx.Batch{}
			b.Queue("select 'first'")
			b.Queue(sql, args...).Query(read)
			b.Queue("select 'last'")
			return tx.SendBatch(ctx, b).Close()
		},
		"batch, not read": func(ctx context.Context, tx *txn.Tx) error {
			b := &pgx.Batch{}
			b.Queue("select 'first'")
			b.Queue(sql, args...)
			return tx.SendBatch(ctx, b).Close()
		},
		"queued": func(_ context.Context, tx *txn.Tx) error {
			tx.Queue("select 'first'")
			tx.Queue(sql, args...)
			return nil
		},
	}
}

// A plan that went stale costs one attempt, whichever statement of a flush it was, and
// however its text was made.
func TestStalePlanIsPreparedAnew(t *testing.T) {
	f := setup(t, txn.Config{BaseDelay: 1})
	admin := f.Admin(t)
	for name, c := range map[string]struct {
		sql  string
		args []any
	}{
		"positional": {"select * from accounts where id = $1", []any{1}},
		"named":      {"select * from accounts where id = @id", []any{pgx.NamedArgs{"id": 1}}},
	} {
		for way, fn := range ways(c.sql, c.args...) {
			for when, before := range map[string]func(context.Context, *txn.Tx) error{
				"first": nothing,
				"later": func(ctx context.Context, tx *txn.Tx) error {
					_, err := tx.Exec(ctx, "select 1 where 1 = $1", 1)
					return err
				},
			} {
				for cause, spoil := range map[string]func(*testing.T, *txn.DB){
					"a new column": func(t *testing.T, _ *txn.DB) {
						_, err := admin.Exec(t.Context(), "alter table accounts add column extra int; alter table accounts add column more text")
						require.NoError(t, err)
						t.Cleanup(func() {
							_, err := admin.Exec(context.WithoutCancel(t.Context()), "alter table accounts drop column extra, drop column more")
							require.NoError(t, err)
						})
					},
					"deallocated": func(t *testing.T, d *txn.DB) {
						_, err := d.Pool().Exec(t.Context(), "deallocate all")
						require.NoError(t, err)
					},
				} {
					t.Run(name+"/"+way+"/"+when+"/"+cause, func(t *testing.T) {
						d := f.single(t)
						run := func() (runs int, err error) {
							err = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
								runs++
								if err := before(ctx, tx); err != nil {
									return err
								}
								return fn(ctx, tx)
							})
							return runs, err
						}
						runs, err := run()
						require.NoError(t, err)
						require.Equal(t, 1, runs)
						spoil(t, d)
						runs, err = run()
						require.NoError(t, err)
						require.Equal(t, 2, runs, "one attempt was lost")
						runs, err = run()
						require.NoError(t, err)
						require.Equal(t, 1, runs)
					})
				}
			}
		}
	}
}

// Where descriptions alone are kept, a new column makes the statement fail once for each
// connection, as it does with pgx.
func TestStaleDescriptionIsForgotten(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t, mode{mode: pgx.QueryExecModeCacheDescribe}.set)
	run := func() error {
		return txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			rows, err := tx.Query(ctx, "select * from accounts where id = $1", 1)
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		})
	}
	require.NoError(t, run())
	_, err := f.Admin(t).Exec(t.Context(), "alter table accounts add column extra int")
	require.NoError(t, err)
	require.Equal(t, "08P01", txn.SQLState(run()))
	require.NoError(t, run())
}

// What was prepared by hand is found by its name, as pgx finds it.
func TestStatementPreparedByHand(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set, func(cfg *pgxpool.Config) {
			cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Prepare(ctx, "note.add", insertNote+" returning body")
				return err
			}
		})
		for when, before := range map[string]func(context.Context, *txn.Tx) error{
			"first":         nothing,
			"later":         func(ctx context.Context, tx *txn.Tx) error { return tx.Flush(ctx) },
			"behind queued": func(_ context.Context, tx *txn.Tx) error { tx.Queue("select 1"); return nil },
		} {
			t.Run(mode.name+"/"+when, func(t *testing.T) {
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, before(ctx, tx))
					tag, err := tx.Exec(ctx, "note.add", "a")
					require.NoError(t, err)
					require.EqualValues(t, 1, tag.RowsAffected())
					require.Equal(t, "b", ask[string](t, ctx, tx, "note.add", "b"))
					return nil
				}))
				if mode.mode != pgx.QueryExecModeSimpleProtocol { // there pgx's batches know no names
					require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						require.NoError(t, before(ctx, tx))
						b := &pgx.Batch{}
						b.Queue("note.add", "c")
						b.Queue(insertNote, "d")
						return tx.SendBatch(ctx, b).Close()
					}))
				} else {
					require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						return errors.Join(write(ctx, tx, "c"), write(ctx, tx, "d"))
					}))
				}
				require.Equal(t, []string{"a", "b", "c", "d"}, f.notes(t))
				f.empty(t)
			})
		}
	}
	err := txn.WithTx(t.Context(), f.db, txn.Options{}, func(_ context.Context, tx *txn.Tx) error {
		tx.Queue("note.add", "x")
		return nil
	})
	_, ok := errors.AsType[*txn.QueuedError](err)
	require.True(t, ok, "it cannot travel with others, and is not forgotten")
}

// wiretap notes what a pool's only connection sends.
type wiretap struct {
	net.Conn
	mu   *sync.Mutex
	sent *bytes.Buffer
}

func (w wiretap) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent.Write(b)
	return w.Conn.Write(b)
}

// A pooler that keeps statements apart (PgBouncer does) takes a name for used from the moment
// that it passes by, also if the server then refuses the statement, until it is closed.
func TestNameOfRefusedStatementIsClosedBeforeItIsUsedAgain(t *testing.T) {
	f := setup(t, txn.Config{})
	cfg, err := pgxpool.ParseConfig(f.AppURL())
	require.NoError(t, err)
	tap := wiretap{mu: &sync.Mutex{}, sent: &bytes.Buffer{}}
	cfg.MaxConns = 1
	cfg.ConnConfig.TLSConfig, cfg.ConnConfig.Fallbacks = nil, nil
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return wiretap{c, tap.mu, tap.sent}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	d := txn.New(pool, txn.Config{})

	const missing, fine = "select from missing where $1 = 1", "insert into notes (body) values ($1)"
	for range 2 {
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
			for _, inside := range []func(context.Context, *txn.Tx) error{
				func(ctx context.Context, tx *txn.Tx) error { _, err := tx.Exec(ctx, missing, 1); return err },
				func(ctx context.Context, tx *txn.Tx) error {
					tx.Queue(fine, "undone")
					tx.Queue(missing, 1)
					tx.Queue("update notes set body = body || $1", "x") // never looked at
					return tx.Flush(ctx)
				},
				func(ctx context.Context, tx *txn.Tx) error {
					if _, err := tx.Exec(ctx, "select 1"); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, missing, 1)
					return err
				},
			} {
				require.Equal(t, "42P01", txn.SQLState(tx.Savepoint(ctx, inside)))
			}
			_, err := tx.Exec(ctx, "update notes set body = body || $1", "x")
			return err
		}))
	}
	tap.mu.Lock()
	defer tap.mu.Unlock()
	sent := tap.sent.Bytes()
	sent = sent[binary.BigEndian.Uint32(sent):] // the startup message has no type
	used := map[string]bool{}
	again := 0
	for len(sent) > 0 {
		body := sent[5 : 1+binary.BigEndian.Uint32(sent[1:])]
		switch name := string(body[:max(bytes.IndexByte(body, 0), 0)]); {
		case sent[0] == 'P' && name != "":
			require.False(t, used[name], "%s", body)
			used[name] = true
		case sent[0] == 'C' && body[0] == 'S':
			again++
			delete(used, name[1:])
		}
		sent = sent[5+len(body):]
	}
	require.Positive(t, again)
	require.NotEmpty(t, used)
}

// cancelling ends a context when its statement is about to be sent.
type cancelling struct{ cancel context.CancelFunc }

func (c cancelling) RewriteQuery(_ context.Context, _ *pgx.Conn, sql string, args []any) (string, []any, error) {
	c.cancel()
	return sql, args, nil
}

// Names are freed with the next preparation that is sent, not with one that its context kept
// from being sent.
func TestNamesAreFreedByAPreparationThatIsSent(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t, func(cfg *pgxpool.Config) { cfg.ConnConfig.StatementCacheCapacity = 1 })
	require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		ask[int](t, ctx, tx, "select 1 + $1::int", 1)
		ask[int](t, ctx, tx, "select 2 + $1::int", 1) // the first has to go
		limited, cancel := context.WithCancel(ctx)
		defer cancel()
		_, err := tx.Exec(limited, "select 3 + $1::int", cancelling{cancel}, 1)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 2, ask[int](t, ctx, tx, "select 1 + $1::int", 1))
		return nil
	}))
}
