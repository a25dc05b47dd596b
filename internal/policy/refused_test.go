package policy_test

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

// refused are statements that do not compile. Each stands beside one that does, of the same
// form, so that it is refused for the reason that it is here for. What is around them is in
// program.
var refused = []struct{ name, wrong, right, says string }{
	// Locks end with their transaction, so they need one that goes on.
	{
		name:  "a lock on the pool",
		wrong: `_, err = db.Autocommit(d).LockAccount(ctx, 1)`,
		right: `_, err = db.New(tx).LockAccount(ctx, 1)`,
		says:  "type *db.AutocommitQueries has no field or method LockAccount",
	},
	{
		name:  "the pool for a function that locks",
		wrong: `locking(db.Autocommit(d))`,
		right: `locking(db.New(tx))`,
		says:  "*db.AutocommitQueries does not implement db.LockQuerier",
	},
	{
		name:  "the pool in place of a transaction",
		wrong: `_ = db.New(d)`,
		right: `_ = db.New(tx)`,
		says:  "cannot use d (variable of type *txn.DB) as *txn.Tx value",
	},

	// Reads neither lock nor write.
	{
		name:  "a lock on a handle for reads",
		wrong: `_, err = db.NewRead(rx).LockAccount(ctx, 1)`,
		right: `_, err = db.NewRead(rx).GetAccount(ctx, 1)`,
		says:  "type *db.ReadQueries has no field or method LockAccount",
	},
	{
		name:  "a write on a handle for reads",
		wrong: `_, err = db.NewRead(rx).CreateAccount(ctx, 1)`,
		right: `_, err = db.New(tx).CreateAccount(ctx, 1)`,
		says:  "type *db.ReadQueries has no field or method CreateAccount",
	},
	{
		name:  "a handle for reads for a function that writes",
		wrong: `writing(db.NewRead(rx))`,
		right: `writing(db.New(tx)); writing(db.Autocommit(d))`,
		says:  "*db.ReadQueries does not implement db.WriteQuerier",
	},
	{
		name:  "a write in a function that asked for reads",
		wrong: `func(q db.ReadQuerier) { _, err = q.CreateAccount(ctx, 1) }(db.New(tx))`,
		right: `func(q db.ReadQuerier) { _, err = q.GetAccount(ctx, 1) }(db.New(tx))`,
		says:  "type db.ReadQuerier has no field or method CreateAccount",
	},
	{
		name:  "a lock in a function that asked for writes",
		wrong: `func(q db.WriteQuerier) { _, err = q.LockAccount(ctx, 1) }(db.New(tx))`,
		right: `func(q db.LockQuerier) { _, err = q.LockAccount(ctx, 1) }(db.New(tx))`,
		says:  "type db.WriteQuerier has no field or method LockAccount",
	},
	{
		name:  "every query on a read-only transaction",
		wrong: `_ = db.New(rx)`,
		right: `_ = db.NewRead(rx)`,
		says:  "cannot use rx (variable of type *txn.ReadTx) as *txn.Tx value",
	},
	{
		name:  "a write by hand in a read-only transaction",
		wrong: `_, err = rx.Exec(ctx, "delete from settings")`,
		right: `_, err = tx.Exec(ctx, "delete from settings")`,
		says:  "type *txn.ReadTx has no field or method Exec",
	},
	{
		name:  "COPY into a table in a read-only transaction",
		wrong: `_, err = rx.CopyFrom(ctx, nil, nil, nil)`,
		right: `_, err = tx.CopyFrom(ctx, nil, nil, nil)`,
		says:  "type *txn.ReadTx has no field or method CopyFrom",
	},
	{
		name:  "a read-only transaction for a service that writes",
		wrong: `serving(rx)`,
		right: `serving(tx); serving(d)`,
		says:  "*txn.ReadTx does not implement txn.Transactor",
	},
	{
		name:  "a read-write transaction inside a read-only one",
		wrong: `err = txn.WithTx(ctx, rx, txn.Options{}, func(context.Context, *txn.Tx) error { return nil })`,
		right: `err = txn.WithReadTx(ctx, rx, txn.Options{}, func(context.Context, *txn.ReadTx) error { return nil })`,
		says:  "*txn.ReadTx does not implement txn.Transactor",
	},
	{
		name:  "a function that writes in a transaction that is only read in",
		wrong: `err = txn.WithReadTx(ctx, d, txn.Options{}, func(context.Context, *txn.Tx) error { return nil })`,
		right: `err = txn.WithReadTx(ctx, d, txn.Options{}, func(context.Context, *txn.ReadTx) error { return nil })`,
		says:  "as func(context.Context, *txn.ReadTx) error value",
	},

	// The function's result ends its transaction, and nothing else does.
	{
		name:  "COMMIT in the function",
		wrong: `err = txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return tx.Commit(ctx) })`,
		right: `err = txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return nil })`,
		says:  "type *txn.Tx has no field or method Commit",
	},
	{
		name:  "ROLLBACK in the function",
		wrong: `err = txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return tx.Rollback(ctx) })`,
		right: `err = txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error { return context.Canceled })`,
		says:  "type *txn.Tx has no field or method Rollback",
	},
	{
		name:  "COMMIT where only reads are",
		wrong: `err = txn.WithReadTx(ctx, d, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error { return rx.Commit(ctx) })`,
		right: `err = txn.WithReadTx(ctx, d, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error { return nil })`,
		says:  "type *txn.ReadTx has no field or method Commit",
	},
	{
		name:  "a transaction to be ended by hand",
		wrong: `_, err = d.Begin(ctx)`,
		right: `_, err = d.Pool().Begin(ctx)`, // leaves the library, and says so
		says:  "type *txn.DB has no field or method Begin",
	},

	// Statements run in transactions, or through generated code.
	{
		name:  "a write by hand on the pool",
		wrong: `_, err = d.Exec(ctx, "delete from settings")`,
		right: `_, err = tx.Exec(ctx, "delete from settings")`,
		says:  "type *txn.DB has no field or method Exec",
	},
	{
		name:  "a query by hand on the pool",
		wrong: `_, err = d.Query(ctx, "select 1")`,
		right: `_, err = rx.Query(ctx, "select 1")`,
		says:  "type *txn.DB has no field or method Query",
	},
	{
		name:  "a row by hand from the pool",
		wrong: `_ = d.QueryRow(ctx, "select 1")`,
		right: `_ = rx.QueryRow(ctx, "select 1")`,
		says:  "type *txn.DB has no field or method QueryRow",
	},
	{
		name:  "a batch by hand on the pool",
		wrong: `_ = d.SendBatch(ctx, nil)`,
		right: `_ = rx.SendBatch(ctx, nil)`,
		says:  "type *txn.DB has no field or method SendBatch",
	},

	// Handles are the library's alone. What embeds one is that one.
	{
		name:  "a Transactor of one's own",
		wrong: `var _ txn.Transactor = &own{}`,
		right: `var _ txn.Transactor = &embedding{tx}`,
		says:  "*own does not implement txn.Transactor (unexported method",
	},
	{
		name:  "a ReadTransactor of one's own",
		wrong: `var _ txn.ReadTransactor = &own{}`,
		right: `var _ txn.ReadTransactor = &embedding{tx}`,
		says:  "*own does not implement txn.ReadTransactor (unexported method",
	},
	{
		name:  "Reads of one's own",
		wrong: `var _ txn.Reads = &own{}`,
		right: `var _ txn.Reads = &embedding{tx}`,
		says:  "*own does not implement txn.Reads (unexported method",
	},
	{
		name:  "a transaction of pgx in place of a handle",
		wrong: `_ = db.NewRead(theirs)`,
		right: `_ = db.NewRead(tx)`,
		says:  "pgx.Tx does not implement txn.Reads",
	},
	{
		name:  "sqlc's queries behind the generated ones",
		wrong: `_ = db.NewRead(rx).q`,
		right: `_ = db.NewRead(rx)`,
		says:  "cannot refer to unexported field q",
	},
}

const program = `
package program

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/txn"
)

func program(ctx context.Context, d *txn.DB, tx *txn.Tx, rx *txn.ReadTx, theirs pgx.Tx) (err error) {
	%s
	return err
}

func locking(db.LockQuerier)  {}
func writing(db.WriteQuerier) {}
func serving(txn.Transactor)  {}

type embedding struct{ *txn.Tx }

// As far as another package can get.
type own struct{ pgx.Tx }

type scope struct{}

func (*own) runTx(context.Context, txn.Options, func(context.Context, *scope) error) error     { return nil }
func (*own) runReadTx(context.Context, txn.Options, func(context.Context, *scope) error) error { return nil }
func (*own) scope() *scope                                                                     { return nil }
`

func TestRefused(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	for _, r := range refused {
		t.Run(r.name, func(t *testing.T) {
			require.Empty(t, c.compile(t, r.right), "has to compile: %s", r.right)
			errs := c.compile(t, r.wrong)
			require.Len(t, errs, 1, "has to be refused, for one reason: %s", r.wrong)
			require.ErrorContains(t, errs[0], r.says)
		})
	}
}

// A compiler checks types against the packages as the go command builds them. It is for one
// goroutine.
type compiler struct{ packages types.Importer }

func newCompiler(t *testing.T) compiler {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}",
		ours+"/db", ours+"/txn")
	list.Dir = load(t).root
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	require.NoError(t, err, "go list: %s", &stderr)
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[name] = file
	}
	lookup := func(name string) (io.ReadCloser, error) { return os.Open(files[name]) }
	return compiler{importer.ForCompiler(token.NewFileSet(), "gc", lookup)}
}

func (c compiler) compile(t *testing.T, statements string) (errs []error) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "program.go", fmt.Sprintf(program, statements), parser.SkipObjectResolution)
	require.NoError(t, err)
	conf := types.Config{Importer: c.packages, Error: func(err error) { errs = append(errs, err) }}
	_, err = conf.Check("program", set, []*ast.File{f}, nil)
	require.Equal(t, err != nil, len(errs) > 0)
	return errs
}

// What sqlc wrote, and the seam of the library, are out of reach of other packages.
func TestRefusedImports(t *testing.T) {
	t.Parallel()
	for refused, right := range map[string]string{
		ours + "/db/internal/sqlcgen": ours + "/db",
		ours + "/txn/internal/seam":   ours + "/txn",
	} {
		t.Run(refused, func(t *testing.T) {
			t.Parallel()
			out, err := build(t, right)
			require.NoError(t, err, out)
			out, err = build(t, refused)
			require.Error(t, err)
			require.Contains(t, out, "use of internal package "+refused+" not allowed")
		})
	}
}

// build builds a package that has one import.
func build(t *testing.T, imported string) (string, error) {
	file := filepath.Join(t.TempDir(), "program.go")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "package program\n\nimport _ %q\n", imported), 0o600))
	c := exec.CommandContext(t.Context(), "go", "build", file)
	c.Dir = load(t).root
	out, err := c.CombinedOutput()
	return string(out), err
}

// The compiler lets an interface be asserted to a larger one. It must not succeed.
func TestRefusedAssertions(t *testing.T) {
	t.Parallel()
	var (
		d  *txn.DB
		tx *txn.Tx
		rx *txn.ReadTx

		locks, writes = reflect.TypeFor[db.LockQuerier](), reflect.TypeFor[db.WriteQuerier]()
		reads         = reflect.TypeFor[db.ReadQuerier]()
		transactor    = reflect.TypeFor[txn.Transactor]()

		exec = reflect.TypeFor[interface {
			Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
		}]()
		copies = reflect.TypeFor[interface {
			CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
		}]()
		query = reflect.TypeFor[interface {
			Query(context.Context, string, ...any) (pgx.Rows, error)
		}]()
		commit   = reflect.TypeFor[interface{ Commit(context.Context) error }]()
		rollback = reflect.TypeFor[interface{ Rollback(context.Context) error }]()
		begin    = reflect.TypeFor[interface {
			Begin(context.Context) (pgx.Tx, error)
		}]()
	)
	for _, c := range []struct {
		value    any
		is, isNo []reflect.Type
	}{
		{db.New(tx), []reflect.Type{locks, writes, reads}, []reflect.Type{exec, query, commit, rollback, begin}},
		{db.NewRead(rx), []reflect.Type{reads}, []reflect.Type{locks, writes, exec, query, commit, rollback, begin}},
		{db.NewRead(tx), []reflect.Type{reads}, []reflect.Type{locks, writes, exec, query, commit, rollback, begin}},
		{db.Autocommit(d), []reflect.Type{writes, reads}, []reflect.Type{locks, exec, query, commit, rollback, begin}},
		{d, []reflect.Type{transactor}, []reflect.Type{exec, copies, query, commit, rollback, begin}},
		{tx, []reflect.Type{transactor, exec, copies, query}, []reflect.Type{commit, rollback, begin}},
		{rx, []reflect.Type{query}, []reflect.Type{transactor, exec, copies, commit, rollback, begin}},
	} {
		have := reflect.TypeOf(c.value)
		for _, want := range c.is {
			require.True(t, have.Implements(want), "%v has to implement %v", have, want)
		}
		for _, refused := range c.isNo {
			require.False(t, have.Implements(refused), "%v must not implement %v", have, refused)
		}
	}
}

// A query that an interface leaves out is not a method of the type behind it either, under
// no interface that somebody may write.
func TestQueriesAreWhatTheInterfaceSays(t *testing.T) {
	t.Parallel()
	all := reflect.TypeFor[db.LockQuerier]()
	for _, c := range []struct{ behind, says reflect.Type }{
		{reflect.TypeFor[*db.ReadQueries](), reflect.TypeFor[db.ReadQuerier]()},
		{reflect.TypeFor[*db.AutocommitQueries](), reflect.TypeFor[db.WriteQuerier]()},
		{reflect.TypeFor[*db.Queries](), all},
	} {
		require.Positive(t, c.says.NumMethod())
		for m := range all.Methods() {
			_, has := c.behind.MethodByName(m.Name)
			_, want := c.says.MethodByName(m.Name)
			require.Equal(t, want, has, "%s is to be a method of %v if and only if %v has it", m.Name, c.behind, c.says)
		}
		for f := range c.behind.Elem().Fields() {
			require.False(t, f.IsExported() || f.Anonymous, "%v gives away its %s", c.behind, f.Name)
		}
	}
}
