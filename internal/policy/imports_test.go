package policy_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// policy says who may import whom. It is a statement of what the architecture is, not a
// record of what the code happens to do.
//
// Do not change it to make a build pass. A row becomes longer when the architecture changes;
// what is absent from it is absent on purpose.
//
// A row is a package; after the colon what it may import besides the standard library; after
// the bar what its tests may import besides that, the package itself and testify. A row that
// ends with a comma goes on. Packages of the repository are named by their folders, with "*"
// for any one name; the others by their names in others.
const policy = `
	# The library. Applications import it, so it asks for pgx alone.

	txn                     : pgx, txn/internal/* | txn/sqlcbind, txn/txntest, txn/txntest/*
	txn/internal/seam       :
	txn/internal/sqltext    :
	txn/sqlcbind            : pgx, txn, txn/internal/seam | txn/txntest/pgserver
	txn/txntest             : pgx, txn, txn/internal/seam, txn/txntest/*, testify, testing
	txn/txntest/faultproxy  : pgx, txn/internal/sqltext | txn/txntest, txn/txntest/pgserver
	txn/txntest/pgserver    : pgx
	txn/txntest/lockorder   : txn/txntest

	# The reference application. Only the generated package sees what binds queries to
	# handles, and what sqlc wrote. Services have no pgx, and do not import one another.

	.                     : uuid, decimal
	schema                : | pgx, goose, txn, txn/txntest, internal/testschema
	db                    : pgx, txn, txn/sqlcbind, db/internal/sqlcgen, db/money | internal/testschema, txn/txntest/pgserver
	db/internal/sqlcgen   : pgx, uuid, decimal, db/money
	db/money              :
	service/*             : river, txn, db, db/money, internal/jobs, internal/mail | pgx, txn/txntest, txn/txntest/*, internal/testschema
	internal/jobs         : pgx, river, txn | txn/txntest, internal/testschema
	internal/mail          : | internal/mail/mailtest
	internal/mail/mailtest : testing
	internal/payment       : db/money, service/* | pgx, river, txn, txn/txntest, db, internal/jobs, internal/testschema
	internal/search        : service/*

	# The command, which puts everything together.

	cmd/interlock         : internal/cli
	internal/httpapi      : txn, db, db/money, service/* | pgx, txn/txntest, txn/txntest/*, internal/testschema
	internal/cli          : pgx, goose, river, cobra, txn, txn/txntest/faultproxy, txn/txntest/pgserver,
	                        schema, db, db/money, service/*, internal/invariant, internal/jobs, internal/mail,
	                        internal/httpapi, internal/payment, internal/search | txn/txntest, internal/mail/mailtest, internal/testschema

	# The generator. It knows neither the schema nor the library, which only the text that it
	# writes names. Of parse_cgo.go and parse_nocgo.go a build has one.

	cmd/interlock-gen                     : cobra, cmd/interlock-gen/internal/* | txn/txntest/pgserver
	cmd/interlock-gen/internal/generate   : pgx, sqlc, cmd/interlock-gen/internal/* | txn/txntest/pgserver
	cmd/interlock-gen/internal/project    : modfile, yaml
	cmd/interlock-gen/internal/scratch    : pgx, goose, txn/txntest/pgserver
	cmd/interlock-gen/internal/facade     : cmd/interlock-gen/internal/annotation, cmd/interlock-gen/internal/query
	cmd/interlock-gen/internal/annotation : | pg_query in Go
	cmd/interlock-gen/internal/check      : pgx, yaml, cmd/interlock-gen/internal/annotation,
	                                        cmd/interlock-gen/internal/query | cmd/interlock-gen/internal/scratch,
	                                        txn/txntest/pgserver
	cmd/interlock-gen/internal/locks      : cmd/interlock-gen/internal/query
	cmd/interlock-gen/internal/query      : pgx, pg_query, pg_query in Go | txn/txntest/pgserver

	# For tests.

	internal/invariant    :
	internal/testschema   : pgx, goose, schema, internal/invariant, internal/jobs, txn/txntest, txn/txntest/pgserver, testing
	internal/gomodproxy   : modfile, module, zip, testing
	internal/policy       : | pgx, modfile, db, txn, internal/gomodproxy
	internal/adopting     : | sqlc, modfile, txn/txntest, txn/txntest/pgserver, internal/gomodproxy
	internal/readme       : | txn/txntest
	internal/lockorder    : | txn/txntest/pgserver
	internal/mutants      : txn/txntest/pgserver
`

// others are the packages in policy that are not the repository's. A path stands for what is
// below it too.
var others = map[string]string{
	"pgx":            "github.com/jackc/pgx/v5",
	"goose":          "github.com/pressly/goose/v3",
	"river":          "github.com/riverqueue/river",
	"sqlc":           "github.com/sqlc-dev/sqlc",
	"pg_query":       "github.com/pganalyze/pg_query_go/v6",
	"pg_query in Go": "github.com/wasilibs/go-pgquery",
	"cobra":          "github.com/spf13/cobra",
	"modfile":        "golang.org/x/mod/modfile",
	"module":         "golang.org/x/mod/module",
	"zip":            "golang.org/x/mod/zip",
	"yaml":           "gopkg.in/yaml.v3",
	"uuid":           "github.com/google/uuid",
	"decimal":        "github.com/shopspring/decimal",
	"testify":        "github.com/stretchr/testify",
	"testing":        "testing", // in a program it would bring its flags
}

// free is the module that may import anything, and that nobody may import.
const free = "bench"

const ours = "github.com/interlock-go/interlock"

// A row is a line of policy.
type row struct {
	name       string // of a folder, perhaps with *
	code, test []string
}

func rows(policy string) []row {
	var found []row
	for line := range strings.Lines(strings.ReplaceAll(policy, ",\n", ", ")) {
		line = strings.TrimSpace(line)
		name, rest, isRow := strings.Cut(line, ":")
		if !isRow || strings.HasPrefix(line, "#") {
			continue
		}
		code, test, _ := strings.Cut(rest, "|")
		found = append(found, row{strings.TrimSpace(name), names(code), names(test)})
	}
	return found
}

func names(list string) []string {
	var found []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			found = append(found, name)
		}
	}
	return found
}

func TestImports(t *testing.T) {
	t.Parallel()
	var sources []*source
	for _, f := range load(t).sources {
		if load(t).moduleOf(f.path) != free {
			sources = append(sources, f)
		}
	}
	for _, fault := range imports(rows(policy), sources) {
		t.Error(fault)
	}
}

// imports compares the imports of the files with the rows.
func imports(rows []row, sources []*source) (faults []string) {
	faultf := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	folders := map[string]bool{}
	for _, f := range sources {
		folders[f.dir()] = true
	}
	for _, r := range rows {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(folders)), r.covers) {
			faultf("policy has a row for %s, and there is no such package: remove the row", r.name)
		}
		for _, name := range slices.Concat(r.code, r.test) {
			if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name || matches(name, r.name) }) && others[name] == "" {
				faultf("policy lets %s import %s, which is neither a package with a row nor in others: correct the name", r.name, name)
			}
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		switch n := len(slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !r.covers(folder) })); {
		case n == 0:
			faultf("package %s has no row in policy: decide what it may import", folder)
		case n > 1:
			faultf("package %s has %d rows in policy: leave one", folder, n)
		}
	}
	for _, f := range sources {
		i := slices.IndexFunc(rows, func(r row) bool { return r.covers(f.dir()) })
		if i < 0 {
			continue
		}
		for _, imported := range f.imports() {
			if !rows[i].allows(f, imported) {
				faultf("%s imports %s, which %s may not. %s", f.path, imported, f.dir(), rows[i].advice(f))
			}
		}
	}
	return faults
}

func (r row) covers(folder string) bool { return matches(r.name, folder) }

// allows says whether a file of the package may have an import.
func (r row) allows(f *source, imported string) bool {
	if standard(imported) && imported != "testing" {
		return true
	}
	allowed := r.code
	if f.isTest() {
		allowed = slices.Concat(allowed, r.test, []string{f.dir(), "testify", "testing"})
	}
	return slices.ContainsFunc(allowed, func(name string) bool {
		if other := others[name]; other != "" {
			return imported == other || strings.HasPrefix(imported, other+"/")
		}
		folder, isOurs := strings.CutPrefix(imported, ours+"/")
		return isOurs && matches(name, folder)
	})
}

func (r row) advice(f *source) string {
	allowed := r.code
	if f.isTest() {
		allowed = slices.Concat(allowed, r.test)
	}
	if len(allowed) == 0 {
		return "It may import nothing: move what needs the import, or ask for it in an interface"
	}
	return fmt.Sprintf("It may import %s: move what needs the import, or ask for it in an interface", strings.Join(allowed, ", "))
}

func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// The rules of imports, each broken once.
func TestImportsFindsFaults(t *testing.T) {
	t.Parallel()
	const policy = `
		txn        : pgx, db | goose
		db         : txn
		service/*  : db,
		             typo
		service/b  : db, txn
		gone       :
	`
	file := func(name string, imported ...string) *source {
		f, err := parse(name, []byte("package p\nimport (\n\""+strings.Join(imported, "\"\n\"")+"\"\n)"))
		require.NoError(t, err)
		return f
	}
	require.Equal(t, []string{
		"policy lets service/* import typo, which is neither a package with a row nor in others: correct the name",
		"policy has a row for gone, and there is no such package: remove the row",
		"package service/a/deep has no row in policy: decide what it may import",
		"package service/b has 2 rows in policy: leave one",
		"txn/a.go imports github.com/pressly/goose/v3, which txn may not. It may import pgx, db: move what needs the import, or ask for it in an interface",
		"txn/a.go imports testing, which txn may not. It may import pgx, db: move what needs the import, or ask for it in an interface",
		"txn/a.go imports github.com/jackc/pgx/v55, which txn may not. It may import pgx, db: move what needs the import, or ask for it in an interface",
		"txn/a_test.go imports github.com/interlock-go/interlock/service/a, which txn may not. It may import pgx, db, goose: move what needs the import, or ask for it in an interface",
		"service/a/a.go imports github.com/interlock-go/interlock/service/b, which service/a may not. It may import db, typo: move what needs the import, or ask for it in an interface",
		"service/b/b.go imports github.com/interlock-go/interlock/txn, which service/b may not. It may import db, typo: move what needs the import, or ask for it in an interface",
	}, imports(rows(policy), []*source{
		file("txn/a.go", "fmt", "github.com/jackc/pgx/v5/pgconn", ours+"/db", "github.com/pressly/goose/v3", "testing", "github.com/jackc/pgx/v55"),
		file("txn/a_test.go", "testing", "github.com/pressly/goose/v3", "github.com/stretchr/testify/require", ours+"/txn", ours+"/service/a"),
		file("db/a.go", ours+"/txn"),
		file("service/a/a.go", ours+"/db", ours+"/service/b"),
		file("service/b/b.go", ours+"/db", ours+"/txn"),
		file("service/a/deep/a.go", "net/http"),
	}))
}

// An application that imports the library takes on what its go.mod names, all of it.
func TestLibraryRequiresPgxAlone(t *testing.T) {
	t.Parallel()
	mod := load(t).module(t, "txn").mod
	require.Equal(t, ours+"/txn", mod.Module.Mod.Path)
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Mod.Path)
		}
	}
	require.ElementsMatch(t, []string{"github.com/jackc/pgx/v5", "github.com/stretchr/testify"}, direct,
		"module txn requires pgx, and testify for tests: what needs more is a module of its own beside it")
	require.Empty(t, mod.Replace, "a replacement holds only here, not where the library is used")
	require.Empty(t, mod.Exclude, "an exclusion holds only here, not where the library is used")
}

func TestModules(t *testing.T) {
	t.Parallel()
	r := load(t)
	for _, m := range r.modules {
		want := ours
		if m.dir != "." {
			want += "/" + m.dir
		}
		require.Equal(t, want, m.mod.Module.Mod.Path, "the module in %s is named by its folder", m.dir)
		for _, replaced := range m.mod.Replace {
			folder := path.Join(m.dir, replaced.New.Path)
			require.Empty(t, replaced.New.Version, "%s/go.mod replaces %s by another module: use a release of it", m.dir, replaced.Old.Path)
			sibling := slices.ContainsFunc(r.modules, func(m module) bool {
				return m.dir == folder && m.mod.Module.Mod.Path == replaced.Old.Path
			})
			require.True(t, sibling, "%s/go.mod replaces %s by %s, which is not that module of this repository", m.dir, replaced.Old.Path, replaced.New.Path)
		}
	}
}

func TestOthersAreInUse(t *testing.T) {
	t.Parallel()
	named := []string{}
	for _, r := range rows(policy) {
		named = slices.Concat(named, r.code, r.test)
	}
	for name, imported := range others {
		required := slices.ContainsFunc(load(t).modules, func(m module) bool {
			return slices.ContainsFunc(m.mod.Require, func(r *modfile.Require) bool {
				return imported == r.Mod.Path || strings.HasPrefix(imported, r.Mod.Path+"/")
			})
		})
		require.True(t, required || standard(imported), "no go.mod requires %s (%s): remove it from others", name, imported)
		require.Contains(t, named, name, "no row names it: remove it from others")
	}
}

// top are the entries of the repository's root, besides those that begin with a dot.
var top = names(`
	txn, schema, queries, db, service, cmd, internal, bench, docs,
	go.mod, go.sum, generate.go, sqlc.yaml, Makefile, README.md, CHANGELOG.md, LICENSE
`)

func TestTopLevel(t *testing.T) {
	t.Parallel()
	entries := map[string]bool{}
	for _, name := range load(t).tracked {
		first, _, _ := strings.Cut(name, "/")
		entries[first] = true
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !strings.HasPrefix(name, ".") && !slices.Contains(top, name) {
			t.Errorf("%s is not an entry of the root: put it where it belongs, such as docs, internal or cmd", name)
		}
	}
}
