package policy_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// A repository is what git has of it or would take. Go files are those that the go command
// sees: not in testdata, nor in folders that begin with a dot or an underscore.
type repository struct {
	root    string
	files   []string // paths from the root, with slashes
	tracked []string
	sources []*source
	modules []module
}

// A source is a Go file.
type source struct {
	path string
	text []byte
	set  *token.FileSet
	ast  *ast.File
}

// A module is a folder with a go.mod.
type module struct {
	dir string // "." for the root
	mod *modfile.File
}

func (f *source) dir() string  { return path.Dir(f.path) }
func (f *source) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// imports are the paths that a file imports.
func (f *source) imports() []string {
	paths := make([]string, len(f.ast.Imports))
	for i, s := range f.ast.Imports {
		paths[i] = strings.Trim(s.Path.Value, "\"`")
	}
	return paths
}

// position is "file:line" for messages.
func (f *source) position(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.set.Position(n.Pos()).Line)
}

func parse(name string, text []byte) (*source, error) {
	f := &source{path: name, text: text, set: token.NewFileSet()}
	var err error
	f.ast, err = parser.ParseFile(f.set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return f, err
}

// load reads the repository once for all tests.
func load(t *testing.T) *repository {
	t.Helper()
	r, err := loaded()
	require.NoError(t, err)
	return r
}

var loaded = sync.OnceValues(func() (*repository, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	r := &repository{root: root}
	if r.tracked, err = r.git("ls-files", "-z"); err != nil {
		return nil, err
	}
	if r.files, err = r.git("ls-files", "-z", "--cached", "--others", "--exclude-standard"); err != nil {
		return nil, err
	}
	for _, name := range r.files {
		if err := r.add(name); err != nil {
			return nil, err
		}
	}
	// The innermost first, so that the first whose folder holds a file is the file's.
	slices.SortFunc(r.modules, func(a, b module) int { return cmp.Compare(len(b.dir), len(a.dir)) })
	return r, nil
})

func (r *repository) add(name string) error {
	isMod := path.Base(name) == "go.mod"
	if !isMod && path.Ext(name) != ".go" || unseen(name) {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(r.root, name))
	if err != nil {
		return err
	}
	if isMod {
		mod, err := modfile.Parse(name, text, nil)
		r.modules = append(r.modules, module{path.Dir(name), mod})
		return err
	}
	f, err := parse(name, text)
	r.sources = append(r.sources, f)
	return err
}

// unseen says whether the go command passes over a file.
func unseen(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(s string) bool {
		return s == "testdata" || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "_")
	})
}

// git lists files, without those that are deleted but still in the index.
func (r *repository) git(args ...string) ([]string, error) {
	// The owner of a checkout in a container is often not who runs the tests.
	c := exec.Command("git", append([]string{"-c", "safe.directory=*"}, args...)...)
	c.Dir = r.root
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("the tests of policy need a checkout of the repository: git %s: %w", args[0], err)
	}
	var names []string
	for name := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		if _, err := os.Lstat(filepath.Join(r.root, string(name))); err == nil {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// module finds a module by its folder.
func (r *repository) module(t *testing.T, dir string) module {
	t.Helper()
	i := slices.IndexFunc(r.modules, func(m module) bool { return m.dir == dir })
	require.GreaterOrEqual(t, i, 0, "no go.mod in %s", dir)
	return r.modules[i]
}

// moduleOf is the folder of the module that a file belongs to.
func (r *repository) moduleOf(name string) string {
	for _, m := range r.modules {
		if m.dir == "." || strings.HasPrefix(name, m.dir+"/") {
			return m.dir
		}
	}
	return ""
}
