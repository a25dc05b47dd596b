package policy_test

import (
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A service whose tests do not take part would be left out of the orders of locks of all
// together, and nobody would notice.
func TestServicesTakePartInTheLockOrder(t *testing.T) {
	t.Parallel()
	services := 0
	for _, folder := range withoutLockOrder(load(t).sources, &services) {
		t.Errorf("%s: its tests do not take part in the order of locks: write func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }, as docs/lock-order.md says", folder)
	}
	require.NotZero(t, services, "no services: this test looks in the wrong place")

	file := func(name, text string) *source {
		f, err := parse(name, []byte(text))
		require.NoError(t, err)
		return f
	}
	const run = "package a\nvar lockOrder = txntest.NewLockOrder(db.QueryInfo)\nfunc TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }"
	require.Equal(t, []string{"service/b", "service/c", "service/d"}, withoutLockOrder([]*source{
		file("service/a/a.go", "package a"), file("service/a/setup_test.go", run),
		file("service/b/b.go", "package b"),
		file("service/c/c.go", "package c"), file("service/c/c_test.go", strings.Replace(run, "lockOrder.Run(m)", "m.Run()", 1)),
		file("service/d/d.go", "package d"), file("service/d/d_test.go", strings.Replace(run, "TestMain", "main", 1)),
		file("txn/e.go", "package e"),
	}, new(int)))
}

// withoutLockOrder are the folders of services without a TestMain that lets a LockOrder run the
// tests.
func withoutLockOrder(sources []*source, services *int) []string {
	takesPart := map[string]bool{}
	for _, f := range sources {
		if ok, err := path.Match("service/*", f.dir()); !ok || err != nil {
			continue
		}
		takesPart[f.dir()] = takesPart[f.dir()] || f.isTest() && runsByLockOrder(f)
	}
	*services = len(takesPart)
	maps.DeleteFunc(takesPart, func(_ string, takes bool) bool { return takes })
	return slices.Sorted(maps.Keys(takesPart))
}

// runsByLockOrder finds x.Run(m) in TestMain.
func runsByLockOrder(f *source) (found bool) {
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "TestMain" {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if ok && len(call.Args) == 1 {
				s, ok := call.Fun.(*ast.SelectorExpr)
				found = found || ok && s.Sel.Name == "Run"
			}
			return !found
		})
	}
	return found
}
