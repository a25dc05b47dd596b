// Package gomodproxy serves this repository's modules to the go command from a folder, as the
// proxy of a release would, for tests of what an application gets that requires them.
package gomodproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const ours = "github.com/interlock-go/interlock"

// modules are the folders of those that are served.
var modules = []string{".", "txn"}

// A Proxy is a folder with the modules as git has them or would take them.
type Proxy struct {
	Version string   // of each of the modules
	Env     []string // the environment of a go command that uses it
}

// New makes one for t. Modules that are not the repository's come from the go command's own
// cache, or else from where they always do.
func New(t testing.TB) *Proxy {
	t.Helper()
	// The go command keeps what it fetched for ever, so no version is used twice.
	p := &Proxy{Version: fmt.Sprintf("v0.1.0-test.%d", time.Now().UnixNano())}
	dir, cache := t.TempDir(), goEnv(t, "GOMODCACHE")
	root, err := root()
	must(t, err)
	for _, folder := range modules {
		name := path.Join(ours, folder)
		must(t, p.serve(filepath.Join(root, folder), filepath.Join(dir, name, "@v")))
		t.Cleanup(func() { must(t, forget(cache, name, p.Version)) })
	}
	p.Env = append(os.Environ(),
		"GOPROXY="+fileURL(dir)+","+fileURL(filepath.Join(cache, "cache", "download"))+","+goEnv(t, "GOPROXY"),
		"GONOPROXY=none",
		"GONOSUMDB="+strings.Trim(goEnv(t, "GONOSUMDB")+","+ours+","+ours+"/*", ","),
		"GOFLAGS=-mod=mod",
		"GOWORK=off",
	)
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("gomodproxy: %v", err)
	}
}

func goEnv(t testing.TB, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

func fileURL(dir string) string { return "file://" + filepath.ToSlash(dir) }

// root is the folder of the repository, above the package that is tested.
func root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// serve writes the files that the go command asks a proxy for.
func (p *Proxy) serve(from, to string) error {
	text, err := os.ReadFile(filepath.Join(from, "go.mod"))
	if err != nil {
		return err
	}
	name := modfile.ModulePath(text)
	goMod, err := p.released(text)
	if err != nil {
		return err
	}
	files, err := tracked(from)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	// Modules within the module are left out by Create.
	if err := zip.Create(&packed, module.Version{Path: name, Version: p.Version}, files); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"list":              []byte(p.Version + "\n"),
		p.Version + ".info": fmt.Appendf(nil, `{"Version": %q}`, p.Version),
		p.Version + ".mod":  goMod,
		p.Version + ".zip":  packed.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// released is a go.mod as a release has it: it requires its siblings, and replaces nothing.
func (p *Proxy) released(text []byte) ([]byte, error) {
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return nil, err
	}
	for _, replaced := range slices.Clone(mod.Replace) {
		err = errors.Join(err,
			mod.AddRequire(replaced.Old.Path, p.Version),
			mod.DropReplace(replaced.Old.Path, replaced.Old.Version))
	}
	mod.Cleanup()
	return modfile.Format(mod.Syntax), err
}

// tracked are the files below a folder that git has or would take, and that are still there.
func tracked(dir string) ([]zip.File, error) {
	// The owner of a checkout in a container is often not who runs the tests.
	c := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("a checkout of the repository is needed: git ls-files: %w", err)
	}
	var files []zip.File
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			files = append(files, zipped{name, filepath.Join(dir, name)})
		}
	}
	return files, nil
}

// zipped is a file of a module's archive.
type zipped struct{ name, from string }

func (z zipped) Path() string                 { return z.name }
func (z zipped) Lstat() (fs.FileInfo, error)  { return os.Lstat(z.from) }
func (z zipped) Open() (io.ReadCloser, error) { return os.Open(z.from) }

// forget removes a version from the go command's cache.
func forget(cache, name, version string) error {
	folder := filepath.Join(cache, name+"@"+version)
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o700) // the cache is read-only
		}
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
			return err
		}
	}
	downloads, err := filepath.Glob(filepath.Join(cache, "cache", "download", name, "@v", version+".*"))
	for _, download := range downloads {
		err = errors.Join(err, os.Remove(download))
	}
	return err
}
