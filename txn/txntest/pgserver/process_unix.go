//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An account is the user whom PostgreSQL runs as: this process's, unless that is root.
type account struct {
	credential *syscall.Credential // nil: this process's own
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return account{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
		}
	}
	return account{}, errors.New("pgserver: PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as")
}

// own gives a path to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// command is a process of the account, in a session of its own, so that a Ctrl-C meant for
// this process does not reach it.
func (a account) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(environment(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: a.credential}
	return cmd
}

// environment is this process's without what would configure PostgreSQL: PGDATA, PGPORT
// and their like are some other server's.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "PG") && name != "HOME" && !strings.HasPrefix(name, "LC_") && name != "LANG" {
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C", "TZ=UTC")
}

func interrupt(p *os.Process) error { return p.Signal(syscall.SIGINT) }  // fast shutdown
func quit(p *os.Process) error      { return p.Signal(syscall.SIGQUIT) } // immediate shutdown

// tempDir is the directory for private directories: os.TempDir, unless that is closed to the
// account.
func (a account) tempDir() string {
	dir := os.TempDir()
	if a.credential == nil || openToAll(dir) {
		return dir
	}
	for _, other := range []string{"/tmp", "/var/tmp"} {
		if openToAll(other) {
			return other
		}
	}
	return dir
}

// openToAll reports whether anybody may make files in dir, and reach it.
func openToAll(dir string) bool {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for needed := os.FileMode(0o003); ; needed = 0o001 {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&needed != needed {
			return false
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return true
	}
}

// ownedDir makes dir, in which only this user may write and all may read.
func ownedDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to somebody else", dir)
	}
	return os.Chmod(dir, 0o755) // whatever the umask
}

// claim locks the directory's owner file for as long as this process lives.
func claim(dir string) (*os.File, error) {
	// Locked before it has its name: nobody sees it free.
	tmp := filepath.Join(dir, "owner.tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, ownerFile))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lockFile makes and locks a file. It waits for whoever holds it, until ctx ends.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		}
	}
}

// abandoned locks a file that the directory's owner, or its server, holds while alive. It
// returns nil if it is held, or is not there.
func abandoned(dir, name string) *os.File {
	// Anybody can make a directory of such a name: no links, no pipes to hang on.
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = f.Close()
		return nil
	}
	return f
}

// owns reports whether a directory belongs to the account.
func (a account) owns(info os.FileInfo) bool {
	uid := uint32(os.Geteuid())
	if a.credential != nil {
		uid = a.credential.Uid
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && st.Uid == uid
}
