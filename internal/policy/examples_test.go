package policy_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each exported function and method of the library has an example of its own, with output: a
// caller sees it at work where its comment is shown. The exceptions are methods that others
// call: those of error, of what errors.Is, As and Unwrap look for, and of fmt.Stringer.
func TestExamples(t *testing.T) {
	t.Parallel()
	var library []*source
	for _, f := range load(t).sources {
		if load(t).moduleOf(f.path) == "txn" && f.dir() != "txn/txntest/faultproxy" { // its examples are not written yet
			library = append(library, f)
		}
	}
	for _, fault := range withoutExample(library) {
		t.Error(fault)
	}
}

// withoutExample finds the functions of the files' packages that have no example.
func withoutExample(sources []*source) (faults []string) {
	shown := map[string]bool{} // by folder and name
	for _, f := range sources {
		for _, e := range examplesIn(f) {
			if e.Output == "" && !e.EmptyOutput {
				faults = append(faults, fmt.Sprintf("%s: Example%s has no output: end it with // Output: and what it prints", f.path, e.Name))
			}
			// A suffix begins in lower case, so that ExampleTx_Queue_twice is of Tx_Queue.
			name := e.Name
			if i := strings.LastIndexByte(name, '_'); i >= 0 && i+1 < len(name) && !ast.IsExported(name[i+1:]) {
				name = name[:i]
			}
			shown[path.Join(f.dir(), name)] = true
		}
	}
	for _, f := range sources {
		if f.isTest() || slices.Contains(strings.Split(f.dir(), "/"), "internal") {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !exportedFunction(fn) || calledByOthers(fn) {
				continue
			}
			if name := exampleName(fn); !shown[path.Join(f.dir(), name)] {
				faults = append(faults, fmt.Sprintf("%s: no example: write Example%s, which shows why one would call it", f.position(fn), name))
			}
		}
	}
	return faults
}

func examplesIn(f *source) []*doc.Example {
	if !f.isTest() {
		return nil
	}
	return doc.Examples(f.ast)
}

func exportedFunction(fn *ast.FuncDecl) bool {
	return fn.Name.IsExported() && (fn.Recv == nil || ast.IsExported(receiver(fn)))
}

// exampleName is what follows Example in the name of a function's example.
func exampleName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return receiver(fn) + "_" + fn.Name.Name
}

// receiver is the name of a method's type.
func receiver(fn *ast.FuncDecl) string {
	e := fn.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// calledByOthers says whether a method is one that packages errors and fmt look for.
func calledByOthers(fn *ast.FuncDecl) bool {
	return fn.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is", "As", "String"}, fn.Name.Name)
}

// The rule, broken and kept.
func TestExamplesFindsFaults(t *testing.T) {
	t.Parallel()
	file := func(name, text string) *source {
		f, err := parse(name, []byte(text))
		require.NoError(t, err)
		return f
	}
	require.Equal(t, []string{
		"a/a_test.go: ExampleSilent has no output: end it with // Output: and what it prints",
		"a/a.go:2: no example: write ExampleF, which shows why one would call it",
		"a/a.go:7: no example: write ExampleT_M, which shows why one would call it",
		"a/a.go:9: no example: write ExampleG_M, which shows why one would call it",
	}, withoutExample([]*source{
		file("a/a.go", `package a
func F() {}
func Shown() {}
func Silent() {}
func hidden() {}
type T struct{}
func (T) M() {}
func (*T) Shown() {}
func (*G[K, V]) M() {}
func (*T) String() string { return "" }
func (t) M() {}
`),
		file("a/a_test.go", `package a_test
func ExampleShown_twice() {
	// Output:
}
func ExampleSilent() {}
func ExampleT_Shown() {
	// Output: 1
}
`),
		file("a/internal/b/b.go", "package b\nfunc F() {}"),
		file("b/b_test.go", "package b_test\nfunc ExampleF() {\n\t// Output: 1\n}"),
	}))
}
