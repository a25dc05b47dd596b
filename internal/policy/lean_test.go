package policy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/zip"
)

// older is an application that has River, goose and OpenTelemetry, none of them new. The
// versions are those that its own go.mod would settle on. Its Go is the library's: that is
// the one other thing which the library asks for.
var older = map[string]string{
	"github.com/jackc/pgx/v5":                            "v5.8.0",
	"github.com/pressly/goose/v3":                        "v3.24.1",
	"github.com/riverqueue/river":                        "v0.30.0",
	"github.com/riverqueue/river/riverdriver/riverpgxv5": "v0.30.0",
	"go.opentelemetry.io/otel":                           "v1.34.0",
}

const olderProgram = `package application

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"go.opentelemetry.io/otel"
)

var (
	_ = otel.Tracer
	_ = goose.NewProvider
)

func jobs(pool *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(pool), &river.Config{})
}
`

const (
	pgxPath   = "github.com/jackc/pgx/v5"
	goosePath = "github.com/pressly/goose/v3"
)

func TestLean(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	library := requirements(load(t).module(t, "txn").mod)

	// Importing the library raises pgx and what comes with it, to the versions that the
	// library is tested with; testify too where it is there already, as it is with River. The
	// rest stays.
	t.Run("an application keeps its versions", func(t *testing.T) {
		t.Parallel()
		a := p.application(t, older, olderProgram)
		before := a.required(t)
		require.Subset(t, before, older, "the versions of older raise one another: write what go mod tidy makes of them")

		a.add(t, ours+"/txn", ours+"/txn")
		a.run(t, "build", "./...") // its River with the newer pgx
		after := a.required(t)
		selected := a.selected(t)
		for path, version := range older {
			if path != pgxPath {
				require.Equal(t, version, selected[path], "importing the library moves %s", path)
			}
		}
		require.Equal(t, library[pgxPath], after[pgxPath])
		for path, version := range after {
			if path != ours+"/txn" && version != before[path] {
				t.Logf("%s %s becomes %s", path, before[path], version)
				require.Equal(t, library[path], version, "importing the library moves %s, which its go.mod does not name", path)
			}
		}
	})

	// Testify, which the library requires for its tests, does not come with it.
	t.Run("an empty application gains pgx alone", func(t *testing.T) {
		t.Parallel()
		a := p.application(t, nil, "package application\n")
		require.Empty(t, a.required(t))

		a.add(t, ours+"/txn", ours+"/txn")
		text, err := os.ReadFile(strings.TrimSpace(a.run(t, "list", "-m", "-f", "{{.GoMod}}", pgxPath)))
		require.NoError(t, err)
		pgxMod, err := modfile.Parse("go.mod", text, nil)
		require.NoError(t, err)
		gained, ofPgx := a.required(t), requirements(pgxMod)
		require.Contains(t, gained, ours+"/txn")
		require.Contains(t, gained, pgxPath)
		require.NotContains(t, gained, "github.com/stretchr/testify")
		for path := range gained {
			if path != ours+"/txn" && path != pgxPath {
				require.Contains(t, ofPgx, path, "importing the library makes an application require what pgx does not")
			}
		}
	})

	// Why the library is a module of its own: a package of the reference application, although
	// it imports nothing, raises what that application requires.
	t.Run("the reference application would raise them", func(t *testing.T) {
		t.Parallel()
		a := p.application(t, older, olderProgram)
		require.Equal(t, older[goosePath], a.required(t)[goosePath])
		a.add(t, ours, ours+"/db/money")
		require.Equal(t, requirements(load(t).module(t, ".").mod)[goosePath], a.required(t)[goosePath])
	})
}

// requirements are the versions that a go.mod names.
func requirements(mod *modfile.File) map[string]string {
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}

// A proxy is a folder that serves this repository's modules to the go command, as the proxy
// of a release would. Everything else comes from where it always does.
type proxy struct {
	version string
	env     []string
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	r := load(t)
	// The go command keeps what it fetched for ever, so no version is used twice.
	p := &proxy{version: fmt.Sprintf("v0.1.0-test.%d", time.Now().UnixNano())}
	dir := t.TempDir()
	cache := goEnv(t, "GOMODCACHE")
	for _, folder := range []string{".", "txn"} {
		m := r.module(t, folder)
		path := m.mod.Module.Mod.Path
		require.NoError(t, p.serve(r, m, filepath.Join(dir, path, "@v")))
		t.Cleanup(func() { forget(t, cache, path, p.version) })
	}
	p.env = append(os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(dir)+","+goEnv(t, "GOPROXY"),
		"GONOPROXY=none",
		"GONOSUMDB="+strings.Trim(goEnv(t, "GONOSUMDB")+","+ours+","+ours+"/*", ","),
		"GOFLAGS=-mod=mod",
		"GOWORK=off",
	)
	return p
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// serve writes the files that the go command asks a proxy for.
func (p *proxy) serve(r *repository, m module, dir string) error {
	var files []zip.File
	for _, name := range r.files {
		if r.moduleOf(name) == m.dir {
			files = append(files, zipped{strings.TrimPrefix(name, m.dir+"/"), filepath.Join(r.root, name)})
		}
	}
	version := m.mod.Module.Mod
	version.Version = p.version
	var packed bytes.Buffer
	if err := zip.Create(&packed, version, files); err != nil {
		return err
	}
	goMod, err := p.released(r, m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for extension, text := range map[string][]byte{
		".info": fmt.Appendf(nil, `{"Version": %q}`, p.version),
		".mod":  goMod,
		".zip":  packed.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(dir, p.version+extension), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// released is a go.mod as a release has it: it requires its siblings, and replaces nothing.
func (p *proxy) released(r *repository, m module) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(r.root, m.dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return nil, err
	}
	for _, replaced := range slices.Clone(mod.Replace) {
		err = errors.Join(err,
			mod.AddRequire(replaced.Old.Path, p.version),
			mod.DropReplace(replaced.Old.Path, replaced.Old.Version))
	}
	mod.Cleanup()
	return modfile.Format(mod.Syntax), err
}

// zipped is a file of a module's archive.
type zipped struct{ name, from string }

func (z zipped) Path() string                 { return z.name }
func (z zipped) Lstat() (fs.FileInfo, error)  { return os.Lstat(z.from) }
func (z zipped) Open() (io.ReadCloser, error) { return os.Open(z.from) }

// forget removes a version from the go command's cache.
func forget(t *testing.T, cache, path, version string) {
	t.Helper()
	folder := filepath.Join(cache, path+"@"+version)
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o700) // the cache is read-only
		}
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, errors.Join(err, os.RemoveAll(folder)))
	}
	downloads, err := filepath.Glob(filepath.Join(cache, "cache", "download", path, "@v", version+".*"))
	require.NoError(t, err)
	for _, name := range downloads {
		require.NoError(t, os.Remove(name))
	}
}

// An application is a module that uses the proxy.
type application struct {
	*proxy
	dir string
}

// application makes one, as go mod tidy leaves it.
func (p *proxy) application(t *testing.T, requires map[string]string, program string) *application {
	t.Helper()
	a := &application{p, t.TempDir()}
	mod := new(modfile.File)
	mod.AddModuleStmt("example.com/application")
	mod.AddGoStmt(load(t).module(t, "txn").mod.Go.Version)
	for path, version := range requires {
		mod.AddNewRequire(path, version, false)
	}
	a.write(t, "go.mod", string(modfile.Format(mod.Syntax)))
	a.write(t, "application.go", program)
	a.run(t, "mod", "tidy")
	return a
}

// add imports a package of a module, and requires that.
func (a *application) add(t *testing.T, path, imported string) {
	t.Helper()
	a.write(t, "added.go", fmt.Sprintf("package application\n\nimport _ %q\n", imported))
	a.run(t, "mod", "edit", "-require="+path+"@"+a.version)
	a.run(t, "mod", "tidy")
}

func (a *application) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600))
}

func (a *application) run(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", args...)
	c.Dir, c.Env = a.dir, a.env
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), &stderr)
	return string(out)
}

// selected are the versions of all modules that the go command settles on.
func (a *application) selected(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for line := range strings.Lines(a.run(t, "list", "-m", "-f", "{{.Path}} {{.Version}}", "all")) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		versions[path] = version
	}
	return versions
}

// required is what the go.mod says, direct and indirect.
func (a *application) required(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, "go.mod"))
	require.NoError(t, err)
	mod, err := modfile.Parse("go.mod", text, nil)
	require.NoError(t, err)
	return requirements(mod)
}
