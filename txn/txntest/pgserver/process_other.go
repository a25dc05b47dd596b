//go:build !unix

package pgserver

import (
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
func claim(string) (*os.File, error)                             { return nil, errUnsupported }
func abandoned(string) bool                                      { return false }
