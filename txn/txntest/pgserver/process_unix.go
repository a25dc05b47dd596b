//go:build unix

package pgserver

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// ownerFile is held locked by the process that started the server.
const ownerFile = "owner.lock"

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

// abandoned reports whether dir belongs to a server whose owner is dead, and to this user.
func abandoned(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	a, err := serverAccount()
	if err != nil {
		return false
	}
	uid := uint32(os.Geteuid())
	if a.credential != nil {
		uid = a.credential.Uid
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != uid {
		return false
	}
	f, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
