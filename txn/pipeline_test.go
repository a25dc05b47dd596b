package txn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// Rule: what a transaction does is the same in each of pgx's ways to send a statement, and
// wherever in the transaction the statement stands.

// modes are pgx's ways to send a statement.
var modes = []mode{
	{"cache_statement", pgx.QueryExecModeCacheStatement},
	{"cache_describe", pgx.QueryExecModeCacheDescribe},
	{"describe_exec", pgx.QueryExecModeDescribeExec},
	{"exec", pgx.QueryExecModeExec},
	{"simple_protocol", pgx.QueryExecModeSimpleProtocol},
}

type mode struct {
	name string
	mode pgx.QueryExecMode
}

func (m mode) set(cfg *pgxpool.Config) { cfg.ConnConfig.DefaultQueryExecMode = m.mode }

// empty deletes all notes.
func (f *fixture) empty(t *testing.T) {
	t.Helper()
	_, err := f.db.Pool().Exec(context.WithoutCancel(t.Context()), "delete from notes")
	require.NoError(t, err)
}

// places are where in a transaction a statement may stand. Each writes the notes it names.
var places = map[string]struct {
	before func(context.Context, *txn.Tx) error
	notes  []string
}{
	"first": {nothing, nil},
	"later": {func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, "before") }, []string{"before"}},
	"behind a read": {func(ctx context.Context, tx *txn.Tx) error {
		var n int
		return tx.QueryRow(ctx, "select count(*) from accounts").Scan(&n)
	}, nil},
	"behind queued": {func(_ context.Context, tx *txn.Tx) error {
		tx.Queue(insertNote, "queued 1")
		tx.Queue("insert into notes (body) values ('queued 2')")
		return nil
	}, []string{"queued 1", "queued 2"}},
	"behind queued and later": {func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue(insertNote, "queued")
		return write(ctx, tx, "before")
	}, []string{"queued", "before"}},
	"in a savepoint": {func(ctx context.Context, tx *txn.Tx) error {
		sp, err := tx.Pgx().Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := sp.Exec(ctx, insertNote, "savepoint"); err != nil {
			return err
		}
		return sp.Commit(ctx)
	}, []string{"savepoint"}},
}

// brackets is a pgx.QueryRewriter of an application's own.
type brackets struct{ value string }

func (b brackets) RewriteQuery(_ context.Context, c *pgx.Conn, sql string, args []any) (string, []any, error) {
	if c == nil || len(args) > 0 {
		return "", nil, errors.New("a rewriter gets its connection and the arguments behind it")
	}
	return sql, []any{b.value}, nil
}

const returning = insertNote + " returning body, 7"

func scanNote(row pgx.Row) error {
	var body string
	var seven int64
	if err := row.Scan(&body, &seven); err != nil {
		return err
	}
	if body != "op" || seven != 7 {
		return fmt.Errorf("scanned %s and %d", body, seven)
	}
	return nil
}

func affected(want int64) func(pgconn.CommandTag, error) error {
	return func(tag pgconn.CommandTag, err error) error {
		if err != nil {
			return err
		}
		return txn.ExpectRows(tag, want)
	}
}

// operations each write the note "op", in all the ways there are.
var operations = map[string]func(context.Context, *txn.Tx) error{
	"Exec":            func(ctx context.Context, tx *txn.Tx) error { return affected(1)(tx.Exec(ctx, insertNote, "op")) },
	"Exec plain":      func(ctx context.Context, tx *txn.Tx) error { return affected(1)(tx.Exec(ctx, insertOp)) },
	"Exec of rows":    func(ctx context.Context, tx *txn.Tx) error { return affected(1)(tx.Exec(ctx, returning, "op")) },
	"Exec with named": func(ctx context.Context, tx *txn.Tx) error { return affected(1)(tx.Exec(ctx, namedNote, named)) },
	"Exec with strict": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Exec(ctx, namedNote, pgx.StrictNamedArgs(named)))
	},
	"Exec with rewrite": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Exec(ctx, insertNote, brackets{"op"}))
	},
	"Exec with mode": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Exec(ctx, insertNote, pgx.QueryExecModeSimpleProtocol, "op"))
	},
	"Exec with mode and named": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Exec(ctx, namedNote, named, pgx.QueryExecModeExec))
	},
	"Exec of several": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Exec(ctx, "update accounts set balance = balance; "+insertOp))
	},
	"Exec of several, named": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Exec(ctx, "update accounts set balance = balance; "+insertOp, pgx.NamedArgs{}))
	},
	"QueryRow": func(ctx context.Context, tx *txn.Tx) error { return scanNote(tx.QueryRow(ctx, returning, "op")) },
	"QueryRow named": func(ctx context.Context, tx *txn.Tx) error {
		return scanNote(tx.QueryRow(ctx, namedNote+" returning body, 7", named))
	},
	"QueryRow formats": func(ctx context.Context, tx *txn.Tx) error {
		return scanNote(tx.QueryRow(ctx, returning, pgx.QueryResultFormats{pgx.TextFormatCode, pgx.BinaryFormatCode}, "op"))
	},
	"QueryRow formats by OID": func(ctx context.Context, tx *txn.Tx) error {
		return scanNote(tx.QueryRow(ctx, returning, pgx.QueryResultFormatsByOID{pgtype.Int4OID: 1}, "op"))
	},
	"QueryRow mode": func(ctx context.Context, tx *txn.Tx) error {
		return scanNote(tx.QueryRow(ctx, returning, pgx.QueryExecModeDescribeExec, "op"))
	},
	"Query": func(ctx context.Context, tx *txn.Tx) error {
		rows, err := tx.Query(ctx, returning, "op")
		if err != nil {
			return err
		}
		if !rows.Next() {
			return rows.Err()
		}
		if err := scanNote(rows); err != nil {
			return err
		}
		if rows.Next() {
			return errors.New("a second row")
		}
		return affected(1)(rows.CommandTag(), rows.Err())
	},
	"Query closed early": func(ctx context.Context, tx *txn.Tx) error {
		rows, err := tx.Query(ctx, returning, "op")
		rows.Close()
		return errors.Join(err, rows.Err())
	},
	"CollectOneRow": func(ctx context.Context, tx *txn.Tx) error {
		rows, _ := tx.Query(ctx, insertNote+" returning body", "op")
		_, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
		return err
	},
	"SendBatch by functions": func(ctx context.Context, tx *txn.Tx) error {
		b, called := &pgx.Batch{}, 0
		b.Queue("select 1").QueryRow(func(row pgx.Row) error { called++; return row.Scan(new(int)) })
		b.Queue(returning, "op").QueryRow(func(row pgx.Row) error { called++; return scanNote(row) })
		b.Queue(namedNote+" on conflict do nothing", named).Exec(func(tag pgconn.CommandTag) error { called++; return txn.ExpectRows(tag, 0) })
		b.Queue("select n from generate_series(1, $1::int) n", 3).Query(func(rows pgx.Rows) error {
			called++
			all, err := pgx.CollectRows(rows, pgx.RowTo[int])
			if err == nil && !slices.Equal(all, []int{1, 2, 3}) {
				err = fmt.Errorf("read %v", all)
			}
			return err
		})
		err := tx.SendBatch(ctx, b).Close()
		if err == nil && called != 4 {
			err = fmt.Errorf("%d functions were called", called)
		}
		return err
	},
	"SendBatch by hand": func(ctx context.Context, tx *txn.Tx) error {
		b := &pgx.Batch{}
		b.Queue(returning, "op")
		b.Queue("select generate_series(1, 1000)")
		b.Queue("select 5")
		br := tx.SendBatch(ctx, b)
		defer br.Close()
		if err := scanNote(br.QueryRow()); err != nil {
			return err
		}
		rows, err := br.Query()
		if err != nil || !rows.Next() { // and left so
			return errors.Join(err, rows.Err())
		}
		var n int
		if err := br.QueryRow().Scan(&n); err != nil || n != 5 {
			return fmt.Errorf("%d: %w", n, err)
		}
		if _, err := br.Exec(); err == nil {
			return errors.New("a fourth answer")
		}
		return br.Close()
	},
	"SendBatch closed early": func(ctx context.Context, tx *txn.Tx) error {
		b := &pgx.Batch{}
		b.Queue("select generate_series(1, 1000)")
		b.Queue(insertNote, "op")
		b.Queue("select 5")
		br := tx.SendBatch(ctx, b)
		_, err := br.Query()
		return errors.Join(err, br.Close())
	},
	"CopyFrom": func(ctx context.Context, tx *txn.Tx) error {
		n, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"body"}, pgx.CopyFromRows([][]any{{"op"}}))
		if err == nil && n != 1 {
			err = fmt.Errorf("copied %d", n)
		}
		return err
	},
	"Prepare": func(ctx context.Context, tx *txn.Tx) error {
		p := tx.Pgx()
		d, err := p.Prepare(ctx, "add", returning)
		if err != nil {
			return err
		}
		if len(d.ParamOIDs) != 1 || len(d.Fields) != 2 {
			return fmt.Errorf("described as %v", d)
		}
		return scanNote(p.QueryRow(ctx, "add", "op"))
	},
	"Conn": func(ctx context.Context, tx *txn.Tx) error {
		return affected(1)(tx.Pgx().Conn().Exec(ctx, insertNote, "op"))
	},
	"LargeObjects": func(ctx context.Context, tx *txn.Tx) error {
		objects := tx.Pgx().LargeObjects()
		oid, err := objects.Create(ctx, 0)
		if err != nil {
			return err
		}
		o, err := objects.Open(ctx, oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
		if err != nil {
			return err
		}
		if _, err := o.Write([]byte("op")); err != nil {
			return err
		}
		if _, err := o.Seek(0, io.SeekStart); err != nil {
			return err
		}
		body, err := io.ReadAll(o)
		if err != nil {
			return err
		}
		return affected(1)(tx.Exec(ctx, insertNote, string(bytes.TrimSpace(body))))
	},
	"queued": func(_ context.Context, tx *txn.Tx) error {
		tx.Queue(insertNote, "op")
		return nil
	},
	"queued named": func(_ context.Context, tx *txn.Tx) error {
		tx.Queue(namedNote, named)
		return nil
	},
}

var named = pgx.NamedArgs{"body": "op"}

const (
	insertOp  = "insert into notes (body) values ('op')"
	namedNote = "insert into notes (body) values (@body)"
)

func TestOperations(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for place, p := range places {
			for name, op := range operations {
				t.Run(mode.name+"/"+place+"/"+name, func(t *testing.T) {
					for range 2 { // cold, and then warm
						f.empty(t)
						err := txn.WithTx(t.Context(), d, txn.Options{LockTimeout: time.Minute}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							require.NoError(t, op(ctx, tx))
							return errBusiness
						})
						require.ErrorIs(t, err, errBusiness)
						require.Empty(t, f.notes(t), "rolled back")

						require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{LockTimeout: time.Minute}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							require.NoError(t, op(ctx, tx))
							tx.Queue(insertNote, "after")
							return nil
						}))
						require.Equal(t, append(slices.Clone(p.notes), "op", "after"), f.notes(t))

						f.empty(t)
						require.NoError(t, note(t, d, "op")) // in the way of the operation
						err = txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							err := op(ctx, tx)
							if err != nil {
								require.Equal(t, "23505", txn.SQLState(err), "%v", err)
								require.ErrorIs(t, write(ctx, tx, "behind"), txn.ErrRollbackOnly)
							}
							return nil
						})
						require.Error(t, err)
						if name != "Conn" { // whose errors nobody else sees
							require.Equal(t, "23505", txn.SQLState(err), "%v", err)
						}
						require.Equal(t, []string{"op"}, f.notes(t))
					}
					require.Equal(t, process, pid(t, d), "the connection was not lost")
					require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						require.Equal(t, "0", ask[string](t, ctx, tx, "show lock_timeout"))
						return nil
					}))
				})
			}
		}
	}
}

func note(t *testing.T, d *txn.DB, body string) error {
	return txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return write(ctx, tx, body) })
}

// BEGIN may be refused, as a hot standby does, or a setting that comes with it: whatever comes
// first is not executed outside a transaction.
func TestBeginRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary, err := pgserver.Start(ctx, pgserver.Config{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, primary.Stop()) })
	f := &fixture{Database: txntest.NewDatabaseOn(t, primary, schema)}
	f.db = open(t, f.AppURL(), txn.Config{})
	name := f.db.Pool().Config().ConnConfig.Database
	standby, err := pgserver.StartStandby(ctx, primary, pgserver.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Stop()) })

	lock := func(ctx context.Context, c interface {
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	}) error {
		_, err := c.Exec(ctx, "select pg_advisory_lock($1)", int64(1)) // it would outlive a rollback
		return err
	}
	outside := map[string]func(context.Context, *txn.Tx) error{
		"lock": func(ctx context.Context, tx *txn.Tx) error { return lock(ctx, tx) },
		"lock, plain": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select pg_advisory_lock(1)")
			return err
		},
		"lock, several": func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "select pg_advisory_lock(1); select 1")
			return err
		},
		"lock on Conn": func(ctx context.Context, tx *txn.Tx) error { return lock(ctx, tx.Pgx().Conn()) },
		"lock in a savepoint": func(ctx context.Context, tx *txn.Tx) error {
			return tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return lock(ctx, tx) })
		},
		"lock, queued": func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("select pg_advisory_lock($1)", int64(1))
			return nil
		},
	}
	maps.Copy(outside, operations)
	for _, mode := range modes {
		for server, c := range map[string]struct {
			url  string
			opts txn.Options
			code string
		}{
			"standby": {standby.AppURL(name), txn.Options{}, "0A000"},
			"setting": {f.AppURL(), txn.Options{Settings: map[string]string{"work_mem": "no"}}, "22023"},
		} {
			cfg, err := pgxpool.ParseConfig(c.url)
			require.NoError(t, err)
			cfg.MaxConns = 1
			mode.set(cfg)
			txn.ConfigurePool(cfg)
			d := openConfig(t, cfg)
			process := pid(t, d)
			for name, op := range outside {
				t.Run(mode.name+"/"+server+"/"+name, func(t *testing.T) {
					for range 2 {
						err := txn.WithTx(t.Context(), d, c.opts, func(ctx context.Context, tx *txn.Tx) error {
							err := op(ctx, tx)
							if name != "lock, queued" && name != "queued" && name != "queued named" {
								require.Error(t, err)
								require.ErrorIs(t, write(ctx, tx, "outside"), txn.ErrRollbackOnly)
							}
							return nil
						})
						require.Equal(t, c.code, txn.SQLState(err), "%v", err)
						require.False(t, txn.IsRetryable(err))
					}
					var locks int
					require.NoError(t, d.Pool().QueryRow(t.Context(), "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()").Scan(&locks))
					require.Zero(t, locks)
					if name != "Conn" && name != "lock on Conn" { // it was handed out closed, where BEGIN failed
						require.Equal(t, process, pid(t, d))
					}
					process = pid(t, d)
				})
			}
		}
	}
	require.Empty(t, f.notes(t))
}
