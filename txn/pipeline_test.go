package txn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
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

// What comes back is what pgx alone gives: the same values, formats and errors, wherever the
// statement stands.
func TestTypesAreThoseOfPgx(t *testing.T) {
	f := setup(t, txn.Config{})
	_, err := f.Admin(t).Exec(t.Context(), "create type mood as enum ('glad', 'sad'); create domain cents as bigint check (value >= 0)")
	require.NoError(t, err)
	moment := time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.FixedZone("", 3600))
	var noInt *int64
	cases := []struct {
		sql string
		arg any
	}{
		{"select $1::uuid", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"},
		{"select $1::uuid", [16]byte{1, 2, 15: 255}},
		{"select $1::uuid", pgtype.UUID{}},
		{"select $1::timestamptz", moment},
		{"select $1::timestamptz", &moment},
		{"select $1::timestamptz", "infinity"},
		{"select $1::timestamp", moment},
		{"select $1::date", moment},
		{"select $1::time", pgtype.Time{Microseconds: 1, Valid: true}},
		{"select $1::interval", 90 * time.Minute},
		{"select $1::numeric", "12345678901234567890.123456789"},
		{"select $1::numeric", pgtype.Numeric{Int: big.NewInt(-12345), Exp: -2, Valid: true}},
		{"select $1::numeric", "NaN"},
		{"select $1::jsonb", `{"a": [1, null, "x"]}`},
		{"select $1::jsonb", []byte(`[1, 2]`)},
		{"select $1::jsonb", map[string]any{"k": "v"}},
		{"select $1::jsonb", json.RawMessage(`"raw"`)},
		{"select $1::json", struct{ A int }{7}},
		{"select $1::text[]", []string{"a", `b"\'`, "", "NULL"}},
		{"select $1::int8[]", []int64{1, -2, 1 << 62}},
		{"select $1::int8[]", []*int64{noInt, noInt}},
		{"select $1::int8[]", []int64(nil)},
		{"select array[[1, 2], [3, $1::int4]]", int32(4)},
		{"select $1::bytea", []byte{0, 1, '\\', '\'', 255}},
		{"select $1::bytea", []byte{}},
		{"select $1::bytea", []byte(nil)},
		{"select $1::bool", true},
		{"select $1::float8", 0.1},
		{"select $1::float4", float32(0.1)},
		{"select $1::int2", int16(-32768)},
		{"select $1::int4", 7},
		{"select $1::int8", int64(-1 << 63)},
		{"select $1::int8", noInt},
		{"select $1::text", `it's $1 \ "quoted" -- ünï/*cödé*/;` + "\n"},
		{"select $1::text", nil},
		{"select $1::cents", int64(5)},
		{"select $1::cents", int64(-5)}, // refused by the server
		{"select $1::mood", "glad"},
		{"select $1::mood", "angry"},
		{"select $1::int4range", pgtype.Range[pgtype.Int4]{
			Lower: pgtype.Int4{Int32: 1, Valid: true}, Upper: pgtype.Int4{Int32: 5, Valid: true},
			LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true,
		}},
		{"select $1::inet", netip.MustParsePrefix("10.0.0.0/8")},
		{"select $1::point", pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}},
		{"select row($1::int4, 'x')", 1},
		{"select $1::int4", int64(1 << 40)},   // out of range
		{"select $1::int4", struct{}{}},       // no such encoding
		{"select $1::text", "zero \x00 byte"}, // no such text
	}
	for _, mode := range modes {
		plain, ours := f.single(t, mode.set).Pool(), f.single(t, mode.set)
		for i, c := range cases {
			t.Run(fmt.Sprintf("%s/%d %s", mode.name, i, c.sql), func(t *testing.T) {
				tx, err := plain.Begin(t.Context())
				require.NoError(t, err)
				want := gather(tx.Query(t.Context(), c.sql, c.arg))
				_ = tx.Rollback(t.Context())
				for place, p := range places {
					for range 2 {
						err := txn.WithTx(t.Context(), ours, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							got := gather(tx.Query(ctx, c.sql, c.arg))
							require.Equal(t, want.code, got.code, place)
							require.Equal(t, want.failed, got.failed, "%s: %v", place, got.err)
							require.Equal(t, want.values, got.values, place)
							require.Equal(t, want.fields, got.fields, place)
							if want.failed {
								return errBusiness
							}
							b := &pgx.Batch{}
							b.Queue(c.sql, c.arg)
							br := tx.SendBatch(ctx, b)
							got = gather(br.Query())
							require.NoError(t, br.Close())
							require.Equal(t, want.values, got.values, "%s: in a batch", place)
							return errBusiness
						})
						require.ErrorIs(t, err, errBusiness)
					}
				}
			})
		}
	}
}

// A gathered is all that a query gave.
type gathered struct {
	values []any
	fields []pgconn.FieldDescription
	failed bool
	code   string
	err    error
}

func gather(rows pgx.Rows, err error) (g gathered) {
	for err == nil && rows.Next() {
		g.fields = slices.Clone(rows.FieldDescriptions())
		for _, raw := range rows.RawValues() {
			g.values = append(g.values, slices.Clone(raw))
		}
		var values []any
		values, err = rows.Values()
		g.values = append(g.values, values...)
	}
	rows.Close()
	if err == nil {
		err = rows.Err()
	}
	g.failed, g.code, g.err = err != nil, txn.SQLState(err), err
	return g
}

// A mistake of the caller's own, and a statement that the server cannot prepare, cost neither
// the connection nor a word to it more than needed.
func TestStatementThatCannotBeSent(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for place, p := range places {
			for mistake, wrong := range map[string][]any{
				"type":     {struct{}{}},
				"too many": {1, 2},
				"too few":  nil,
			} {
				t.Run(mode.name+"/"+place+"/"+mistake, func(t *testing.T) {
					const sql = "update accounts set balance = 0 where $1::int4 = 1"
					for name, way := range ways(sql, wrong...) {
						f.empty(t)
						err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							err := way(ctx, tx)
							if name == "queued" {
								return nil
							}
							require.Error(t, err, name)
							if txn.SQLState(err) != "" { // sent after all, where nothing is known of a statement
								require.ErrorIs(t, write(ctx, tx, "behind"), txn.ErrRollbackOnly)
								return err
							}
							return write(ctx, tx, "behind")
						})
						if err == nil {
							require.Equal(t, append(slices.Clone(p.notes), "behind"), f.notes(t), name)
						} else {
							require.Empty(t, f.notes(t), name)
						}
						require.True(t, err != nil || name != "queued")
						if mistake == "type" && name != "queued" && mode.mode != pgx.QueryExecModeSimpleProtocol {
							require.NoError(t, err, name)
						}
						require.Equal(t, process, pid(t, d), name)
					}
				})
			}
			for code, sql := range map[string]string{
				"42601": "update accounts sot balance = $1::int4",
				"42P01": "update missing set balance = $1::int4",
				"42703": "update accounts set missing = $1::int4",
			} {
				t.Run(mode.name+"/"+place+"/"+code, func(t *testing.T) {
					f.empty(t)
					for name, way := range ways(sql, 1) {
						err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							if err := way(ctx, tx); name != "queued" {
								require.Equal(t, code, txn.SQLState(err), name)
								require.ErrorIs(t, write(ctx, tx, "behind"), txn.ErrRollbackOnly)
							}
							return nil
						})
						require.Equal(t, code, txn.SQLState(err), name)
						require.Empty(t, f.notes(t))
						require.Equal(t, process, pid(t, d), name)
					}
				})
			}
		}
	}
	var sum int
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), "select sum(balance) from accounts").Scan(&sum))
	require.Equal(t, 4000, sum)
}

// Statements of a batch behind one that fails are not executed, and their functions not called.
func TestBatchFailsInTheMiddle(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for place, p := range places {
			for how, read := range map[string]func(*testing.T, *pgx.Batch, pgx.BatchResults) error{
				"closed": func(_ *testing.T, _ *pgx.Batch, br pgx.BatchResults) error { return br.Close() },
				"by hand": func(t *testing.T, _ *pgx.Batch, br pgx.BatchResults) error {
					_, err := br.Exec()
					require.NoError(t, err)
					_, failure := br.Exec()
					require.Error(t, failure)
					_, err = br.Exec()
					require.Equal(t, failure, err)
					rows, err := br.Query()
					require.Equal(t, failure, err)
					require.Equal(t, failure, rows.Err())
					return br.Close()
				},
				"by rows": func(t *testing.T, _ *pgx.Batch, br pgx.BatchResults) error {
					_, err := br.Exec()
					require.NoError(t, err)
					rows, _ := br.Query()
					require.False(t, rows.Next())
					require.Error(t, rows.Err())
					return br.Close()
				},
				"by functions": func(t *testing.T, b *pgx.Batch, br pgx.BatchResults) error {
					called := 0
					b.QueuedQueries[0].Exec(func(pgconn.CommandTag) error { called++; return nil })
					b.QueuedQueries[1].Query(func(rows pgx.Rows) error { called++; require.False(t, rows.Next()); return rows.Err() })
					b.QueuedQueries[2].Exec(func(pgconn.CommandTag) error { called++; return nil })
					err := br.Close()
					require.Equal(t, 2, called)
					return err
				},
				"behind a callback's error": func(t *testing.T, b *pgx.Batch, br pgx.BatchResults) error {
					b.QueuedQueries[0].Exec(func(pgconn.CommandTag) error { return errBusiness })
					err := br.Close()
					require.ErrorIs(t, err, errBusiness)
					return err
				},
			} {
				t.Run(mode.name+"/"+place+"/"+how, func(t *testing.T) {
					err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						require.NoError(t, p.before(ctx, tx))
						b := &pgx.Batch{}
						b.Queue(insertNote, "undone")
						b.Queue("select fail($1)", "P0001")
						b.Queue("select pg_advisory_lock($1)", int64(2))
						err := read(t, b, tx.SendBatch(ctx, b))
						if how != "behind a callback's error" {
							require.Equal(t, "P0001", txn.SQLState(err), "%v", err)
						}
						require.Equal(t, "P0001", txn.SQLState(write(ctx, tx, "behind")))
						return nil
					})
					require.Equal(t, "P0001", txn.SQLState(err))
					require.Empty(t, f.notes(t))
					require.Equal(t, process, pid(t, d))
					var locks int
					require.NoError(t, d.Pool().QueryRow(t.Context(), "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()").Scan(&locks))
					require.Zero(t, locks)
				})
			}
		}
	}
}

// An error of a batch's callback is the caller's. The statements were executed, and the
// transaction is as usable as before.
func TestBatchCallbackFails(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		for place, p := range places {
			t.Run(mode.name+"/"+place, func(t *testing.T) {
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, p.before(ctx, tx))
					b := &pgx.Batch{}
					b.Queue("select 'x'").QueryRow(func(row pgx.Row) error { return row.Scan(new(int)) })
					b.Queue("select 1").QueryRow(func(pgx.Row) error { require.Fail(t, "it comes later"); return nil })
					b.Queue(insertNote, "executed")
					br := tx.SendBatch(ctx, b)
					err := br.Close()
					require.Error(t, err)
					require.Empty(t, txn.SQLState(err))
					require.Equal(t, err, br.Close())
					return write(ctx, tx, "after")
				}))
				require.Equal(t, append(slices.Clone(p.notes), "executed", "after"), f.notes(t))
				f.empty(t)
			})
		}
	}
}

// An answer that the caller could not read, or did not wait for, is not in the way of what
// travels behind it: the transaction's id, and the claim of its idempotency key.
func TestAnswersNotReadAreNotTakenForOthers(t *testing.T) {
	f := setup(t, txn.Config{})
	f.commitTokens(t)
	for name, fn := range map[string]func(*testing.T, context.Context, *txn.Tx){
		"scan": func(t *testing.T, ctx context.Context, tx *txn.Tx) {
			require.Error(t, tx.QueryRow(ctx, "select balance from accounts where id = 1").Scan(new(bool)))
		},
		"callback": func(t *testing.T, ctx context.Context, tx *txn.Tx) {
			b := &pgx.Batch{}
			b.Queue("select 1").QueryRow(func(pgx.Row) error { return errBusiness })
			b.Queue("select '17'")
			require.ErrorIs(t, tx.SendBatch(ctx, b).Close(), errBusiness)
		},
		"rows of a batch": func(t *testing.T, ctx context.Context, tx *txn.Tx) {
			b := &pgx.Batch{}
			b.Queue("select generate_series(1, 3)")
			b.Queue("select '17'")
			br := tx.SendBatch(ctx, b)
			_, err := br.Query()
			require.NoError(t, err)
			require.NoError(t, br.Close())
		},
		"left open in a savepoint": func(t *testing.T, ctx context.Context, tx *txn.Tx) {
			require.ErrorIs(t, tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				b := &pgx.Batch{}
				b.Queue("select '17'")
				b.Queue("select '18'")
				tx.SendBatch(ctx, b)
				return nil
			}), txn.ErrRowsOpen)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := txntest.NewProxy(t, f.AppURL())
			d := open(t, p.URL(), txn.Config{})
			work := func(key, body string, fn func(*testing.T, context.Context, *txn.Tx)) error {
				opts := txn.Options{IdempotencyKey: key, Isolation: txn.RepeatableRead}
				return txn.WithTx(t.Context(), d, opts, func(ctx context.Context, tx *txn.Tx) error {
					fn(t, ctx, tx)
					if key == "" {
						p.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
					}
					return write(ctx, tx, body)
				})
			}
			require.NoError(t, work(name, "once", fn))
			err := work(name, "twice", func(*testing.T, context.Context, *txn.Tx) {})
			require.ErrorIs(t, err, txn.ErrAlreadyCommitted)
			require.NoError(t, work("", "lost", fn), "the lost COMMIT is found by the transaction's own id")
			require.Equal(t, []string{"once", "lost"}, f.notes(t))
			f.empty(t)
		})
	}
}

// commitTokens makes the table for idempotency keys.
func (f *fixture) commitTokens(t *testing.T) {
	t.Helper()
	_, err := f.Admin(t).Exec(t.Context(), commitTokenTable()+`;
		grant usage on schema interlock to `+pgserver.AppRole+`;
		grant select, insert, update, delete on interlock.commit_token to `+pgserver.AppRole)
	require.NoError(t, err)
}

// Options of pgx count wherever they may stand.
func TestOptionsOfPgx(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		for _, format := range []int16{pgx.TextFormatCode, pgx.BinaryFormatCode} {
			for _, args := range [][]any{
				{pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{format}, pgx.NamedArgs{"n": 7}},
				{pgx.NamedArgs{"n": 7}, pgx.QueryResultFormats{format}, pgx.QueryExecModeDescribeExec},
				{pgx.NamedArgs{"n": 7}, pgx.QueryExecModeDescribeExec, pgx.QueryResultFormatsByOID{pgtype.Int4OID: format}},
			} {
				rows, err := tx.Query(ctx, "select @n::int4", args...)
				require.NoError(t, err)
				require.True(t, rows.Next())
				require.Equal(t, format, rows.FieldDescriptions()[0].Format)
				var n int
				require.NoError(t, rows.Scan(&n))
				require.Equal(t, 7, n)
				rows.Close()
			}
		}
	})
}

// A statement that sets something for the session costs the connection its place in the pool,
// however it is sent: the next borrower must not inherit it.
func TestSessionSettingIsNobodyElses(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	for _, sql := range []string{"set work_mem = '1MB'", "select 1; set session work_mem = '1MB'"} {
		for name, way := range ways(sql) {
			if name != "Exec" && several(sql) {
				continue // only Exec takes several statements
			}
			process := pid(t, d)
			require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, way), name)
			require.NotEqual(t, process, pid(t, d), "%s: %s", name, sql)
		}
	}
	process := pid(t, d)
	for name, way := range ways("set local work_mem = '1MB'") {
		require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, way), name)
	}
	require.Equal(t, process, pid(t, d))
	var mem string
	require.NoError(t, d.Pool().QueryRow(t.Context(), "show work_mem").Scan(&mem))
	require.NotEqual(t, "1MB", mem)
}

func several(sql string) bool { return strings.Contains(sql, ";") }
