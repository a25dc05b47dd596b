package pgserver

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// watchdog is a shell process that outlives this one: when the pipe on its input ends, for
// whatever reason, it stops the server and removes its directory.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

const watchdogScript = `
trap '' INT TERM HUP
while read -r line; do :; done
"$1" -D "$2/data" -m immediate -w -t 20 stop >/dev/null 2>&1
rm -rf "$2"
`

func watch(a account, b binaries, dir string) (*watchdog, error) {
	cmd := a.command("/", "/bin/sh", "-c", watchdogScript, "watchdog", b.path("pg_ctl"), dir)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &watchdog{cmd, pipe}, nil
}

// end lets the watchdog do its work and waits for it.
func (w *watchdog) end() error {
	return errors.Join(w.pipe.Close(), w.cmd.Wait())
}

// dirPrefix begins the name of each server's directory.
const dirPrefix = "interlock-pg-"

// sweep removes what servers left behind whose owner died together with the watchdog.
func sweep(b binaries, a account) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		if !abandoned(dir) {
			continue
		}
		stop := a.command("/", b.path("pg_ctl"), "-D", filepath.Join(dir, "data"), "-m", "immediate", "-w", "-t", "20", "stop")
		_ = stop.Run() // fails if the server is gone too
		_ = os.RemoveAll(dir)
	}
}
