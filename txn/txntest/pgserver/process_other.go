//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package pgserver

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

type account struct{}

var errUnsupported = errors.New("pgserver: starting PostgreSQL is not supported on this system; " +
	"name a server for tests in INTERLOCK_TEST_DATABASE_URL")

func serverAccount() (account, error)                            { return account{}, errUnsupported }
func (account) own(string) error                                 { return errUnsupported }
func (account) command(_, name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }
func interrupt(p *os.Process) error                              { return p.Kill() }
func quit(p *os.Process) error                                   { return p.Kill() }
func (account) tempDir() string                                  { return os.TempDir() }
func (account) owns(os.FileInfo) bool                            { return false }
func ownedDir(string) error                                      { return errUnsupported }
func claim(string) (*os.File, error)                             { return nil, errUnsupported }
func lockFile(context.Context, string) (*os.File, error)         { return nil, errUnsupported }
func abandoned(_, _ string) *os.File                             { return nil }
