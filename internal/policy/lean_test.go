package policy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"github.com/interlock-go/interlock/internal/gomodproxy"
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
	p := gomodproxy.New(t)
	library := requirements(load(t).module(t, "txn").mod)

	// Importing the library raises pgx and what comes with it, to the versions that the
	// library is tested with; testify too where it is there already, as it is with River. The
	// rest stays.
	t.Run("an application keeps its versions", func(t *testing.T) {
		t.Parallel()
		a := newApplication(t, p, older, olderProgram)
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
		a := newApplication(t, p, nil, "package application\n")
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
		a := newApplication(t, p, older, olderProgram)
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

// An application is a module that uses the proxy.
type application struct {
	proxy *gomodproxy.Proxy
	dir   string
}

// newApplication makes one, as go mod tidy leaves it.
func newApplication(t *testing.T, p *gomodproxy.Proxy, requires map[string]string, program string) *application {
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
	a.run(t, "mod", "edit", "-require="+path+"@"+a.proxy.Version)
	a.run(t, "mod", "tidy")
}

func (a *application) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600))
}

func (a *application) run(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", args...)
	c.Dir, c.Env = a.dir, a.proxy.Env
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
