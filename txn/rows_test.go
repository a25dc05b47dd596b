package txn_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
)

// Rule: rows come as pgx's do, and when they end, however they do, the transaction goes on.

// eachPlace runs fn in each mode and at each place of a transaction, and checks that the
// connection survives and that what came before is saved.
func eachPlace(t *testing.T, fn func(*testing.T, context.Context, *txn.Tx)) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for place, p := range places {
			t.Run(mode.name+"/"+place, func(t *testing.T) {
				f.empty(t)
				require.NoError(t, txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, p.before(ctx, tx))
					fn(t, ctx, tx)
					return write(ctx, tx, "after")
				}))
				require.Equal(t, append(slices.Clone(p.notes), "after"), f.notes(t))
				require.Equal(t, process, pid(t, d))
			})
		}
	}
}

func TestManyRowsAreStreamed(t *testing.T) {
	f := setup(t, txn.Config{})
	admin := f.Admin(t)
	for _, mode := range modes {
		d := f.single(t, mode.set)
		for _, place := range []string{"first", "later"} { // with other answers, and by itself
			t.Run(mode.name+"/"+place, func(t *testing.T) {
				err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					require.NoError(t, places[place].before(ctx, tx))
					process := tx.Pgx().Conn().PgConn().PID()
					rows, err := tx.Query(ctx, "select n, repeat('x', 200) from generate_series(1, $1::int) n", 100_000)
					require.NoError(t, err)
					count := 0
					for rows.Next() {
						var n int
						var text string
						require.NoError(t, rows.Scan(&n, &text))
						if count++; count == 1 {
							var state string
							require.NoError(t, admin.QueryRow(ctx, "select state from pg_stat_activity where pid = $1", process).Scan(&state))
							require.Equal(t, "active", state, "the server still has rows to send")
						}
						require.Equal(t, count, n)
						require.Len(t, text, 200)
					}
					require.NoError(t, rows.Err())
					require.Equal(t, 100_000, count)
					require.Equal(t, "SELECT 100000", rows.CommandTag().String())
					return errBusiness
				})
				require.ErrorIs(t, err, errBusiness)
			})
		}
	}
}

func TestRowsClosedEarly(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		rows, err := tx.Query(ctx, "select n, repeat('x', 200) from generate_series(1, 20000) n")
		require.NoError(t, err)
		require.True(t, rows.Next())
		rows.Close()
		require.NoError(t, rows.Err())
		require.False(t, rows.Next())
		rows.Close()
	})
}

func TestOneRowOfMany(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		require.Equal(t, 1, ask[int](t, ctx, tx, "select generate_series(1, 20000)"))
		require.ErrorIs(t, tx.QueryRow(ctx, "select 1 where false").Scan(new(int)), txn.ErrNotFound)
	})
}

// A Scan that fails ends the rows, and nothing else.
func TestScanFails(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		rows, err := tx.Query(ctx, "select case n when 3 then null else n end from generate_series(1, 1000) n")
		require.NoError(t, err)
		read := 0
		for rows.Next() {
			var n int
			if err = rows.Scan(&n); err != nil {
				break
			}
			read++
		}
		require.Equal(t, 2, read)
		require.ErrorAs(t, err, new(pgx.ScanArgError))
		require.ErrorAs(t, rows.Err(), new(pgx.ScanArgError))
		require.False(t, rows.Next())

		require.Error(t, tx.QueryRow(ctx, "select null::int").Scan(new(int)))
		require.Error(t, tx.QueryRow(ctx, "select 1, 2").Scan(new(int)), "too few destinations")
		require.Error(t, tx.QueryRow(ctx, "select 'x'::text").Scan(new(pgtype.DriverBytes)), "its memory is the connection's")
		_, err = pgx.CollectRows(must(tx.Query(ctx, "select 1 from generate_series(1, 3)")),
			func(pgx.CollectableRow) (int, error) { return 0, errBusiness })
		require.ErrorIs(t, err, errBusiness)
	})
}

func must(rows pgx.Rows, _ error) pgx.Rows { return rows }

// A statement may fail after it has given rows: they came, and then the error.
func TestFailureBehindRows(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		process := pid(t, d)
		for place, p := range places {
			for how, read := range map[string]func(*testing.T, pgx.Rows) int{
				"read": func(t *testing.T, rows pgx.Rows) (n int) {
					for rows.Next() {
						n++
						require.NoError(t, rows.Scan(new(int)))
					}
					return n
				},
				"closed early": func(t *testing.T, rows pgx.Rows) int {
					require.True(t, rows.Next())
					rows.Close()
					return 4
				},
			} {
				t.Run(mode.name+"/"+place+"/"+how, func(t *testing.T) {
					err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						require.NoError(t, p.before(ctx, tx))
						rows, err := tx.Query(ctx, "select 1 / (5 - n) from generate_series(1, $1::int) n", 10)
						require.NoError(t, err)
						require.Equal(t, 4, read(t, rows))
						require.Equal(t, "22012", txn.SQLState(rows.Err()))
						require.ErrorIs(t, write(ctx, tx, "behind"), txn.ErrRollbackOnly)
						return nil
					})
					require.Equal(t, "22012", txn.SQLState(err))
					require.Empty(t, f.notes(t))
					require.Equal(t, process, pid(t, d))
				})
			}
		}
	}
}

func TestRowsLeftOpen(t *testing.T) {
	f := setup(t, txn.Config{})
	for _, mode := range modes {
		d := f.single(t, mode.set)
		for place, p := range places {
			for what, leave := range map[string]func(context.Context, *txn.Tx){
				"rows": func(ctx context.Context, tx *txn.Tx) { _, _ = tx.Query(ctx, "select generate_series(1, 20000)") },
				"batch": func(ctx context.Context, tx *txn.Tx) {
					b := &pgx.Batch{}
					b.Queue("select generate_series(1, 20000)")
					b.Queue("select 2")
					_, _ = tx.SendBatch(ctx, b).Query()
				},
			} {
				t.Run(mode.name+"/"+place+"/"+what, func(t *testing.T) {
					for name, way := range map[string]func(context.Context, *txn.Tx) error{
						"function": func(ctx context.Context, tx *txn.Tx) error {
							leave(ctx, tx)
							return nil
						},
						"joined": func(ctx context.Context, tx *txn.Tx) error {
							err := txn.WithTx(ctx, tx, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
								leave(ctx, tx)
								return nil
							})
							require.ErrorIs(t, err, txn.ErrRowsOpen)
							return nil
						},
						"reading": func(ctx context.Context, tx *txn.Tx) error {
							return txn.WithReadTx(ctx, tx, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
								_, err := rx.Query(ctx, "select generate_series(1, 20000)")
								return err
							})
						},
					} {
						err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
							require.NoError(t, p.before(ctx, tx))
							return way(ctx, tx)
						})
						require.ErrorIs(t, err, txn.ErrRowsOpen, name)
						require.Contains(t, err.Error(), "generate_series", name)
						require.Empty(t, f.notes(t), name)
					}
				})
			}
		}
	}
}

// Rows of a batch that were not closed are not in the way of the answer behind them, and take
// nothing of it when they are closed at last.
func TestRowsOfABatchClosedLate(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		b := &pgx.Batch{}
		b.Queue("select generate_series(1, 1000)")
		b.Queue("select generate_series(1, 5)")
		br := tx.SendBatch(ctx, b)
		first, err := br.Query()
		require.NoError(t, err)
		require.True(t, first.Next())
		second, err := br.Query()
		require.NoError(t, err)
		first.Close()
		require.False(t, first.Next())
		read, err := pgx.CollectRows(second, pgx.RowTo[int])
		require.NoError(t, err)
		require.Equal(t, []int{1, 2, 3, 4, 5}, read)
		require.NoError(t, br.Close())
	})
}

func TestWideAndLargeStatements(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		// More than the buffers of a socket hold, both ways at once.
		large := strings.Repeat("x", 1<<20)
		b := &pgx.Batch{}
		for range 8 {
			b.Queue("select $1::text", large)
		}
		br := tx.SendBatch(ctx, b)
		for range 8 {
			var got string
			require.NoError(t, br.QueryRow().Scan(&got))
			require.Equal(t, large, got)
		}
		require.NoError(t, br.Close())

		args, places := make([]any, 1000), make([]string, 1000)
		for i := range args {
			args[i], places[i] = i, fmt.Sprintf("$%d::int", i+1)
		}
		require.Equal(t, 999*1000/2, ask[int](t, ctx, tx, "select "+strings.Join(places, " + "), args...))
	})
}

// A goroutine that the function left behind with its rows or batch reads no further, and
// nothing of what it reads is somebody else's.
func TestReaderLeftBehind(t *testing.T) {
	f := setup(t, txn.Config{})
	d := f.single(t)
	for name, read := range map[string]func(context.Context, *txn.Tx, chan<- struct{}) error{
		"rows": func(ctx context.Context, tx *txn.Tx, started chan<- struct{}) error {
			rows, err := tx.Query(ctx, "select n from generate_series(1, 10000000) n")
			if err != nil {
				return err
			}
			for i := 0; rows.Next(); i++ {
				if err := rows.Scan(new(int)); err != nil {
					return err
				}
				if i == 0 {
					close(started)
				}
			}
			return rows.Err()
		},
		"batch": func(ctx context.Context, tx *txn.Tx, started chan<- struct{}) error {
			b := &pgx.Batch{}
			for range 10000 {
				b.Queue("select n from generate_series(1, 1000) n")
			}
			br := tx.SendBatch(ctx, b)
			for i := range 10000 {
				rows, err := br.Query()
				if err != nil {
					return err
				}
				for rows.Next() {
				}
				if err := rows.Err(); err != nil {
					return err
				}
				if i == 0 {
					close(started)
				}
			}
			return br.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			started, result := make(chan struct{}), make(chan error, 1)
			err := txn.WithTx(t.Context(), d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
				go func() { result <- read(ctx, tx, started) }()
				<-started
				return nil
			})
			require.ErrorIs(t, err, txn.ErrRowsOpen)
			require.Error(t, <-result)
			require.NoError(t, note(t, d, "the next borrower's "+name))
		})
	}
}

// What closed rows still say is theirs, and not what came behind them in the same flush.
func TestClosedRows(t *testing.T) {
	eachPlace(t, func(t *testing.T, ctx context.Context, tx *txn.Tx) {
		rows, err := tx.Query(ctx, "select 1 as a, 'x'::text as b where false")
		require.NoError(t, err)
		require.False(t, rows.Next())
		fields := rows.FieldDescriptions()
		require.Len(t, fields, 2)
		require.Equal(t, "b", fields[1].Name)
		require.Equal(t, "SELECT 0", rows.CommandTag().String())

		rows, err = tx.Query(ctx, "select 7 as a")
		require.NoError(t, err)
		require.True(t, rows.Next())
		require.Len(t, rows.FieldDescriptions(), 1)
		require.Len(t, rows.RawValues(), 1)
		rows.Close()
		require.Empty(t, rows.RawValues())
		require.Error(t, rows.Scan(new(int)))
		_, err = rows.Values()
		require.Error(t, err)
		require.NoError(t, rows.Err(), "it was closed without a failure")

		rows, err = tx.Query(ctx, "commit")
		require.Error(t, err)
		require.Empty(t, rows.FieldDescriptions())
		require.Error(t, rows.Scan(new(int)))
		require.Nil(t, rows.Conn())
	})
}
