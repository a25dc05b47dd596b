package pgserver

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A private directory's name begins with dirPrefix. In it are the data, the log, and two
// files that are locked: ownerFile while the process lives that made the directory,
// aliveFile while a process of the server lives. Process ids would not do, they are reused.
const (
	dirPrefix = "interlock-pg-"
	ownerFile = "owner.lock"
	aliveFile = "server.lock"
)

// watchdog is a shell process that outlives this one: when the pipe on its input ends, for
// whatever reason, it stops the server and removes its directory.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// More than one attempt: initdb, or a server about to start, may still be making files.
const watchdogScript = `
trap '' INT TERM HUP
while read -r line; do :; done
n=0
while [ -e "$2" ] && [ $n -lt 10 ]; do
	[ $n -eq 0 ] || sleep 1
	"$1" -D "$2/data" -m immediate -w -t 20 stop
	rm -rf "$2/data"
	rm -rf "$2"
	n=$((n + 1))
done
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

// end lets the watchdog do what is left to do, and waits for it.
func (w *watchdog) end() error {
	err := w.pipe.Close()
	var killed *exec.ExitError
	if werr := w.cmd.Wait(); !errors.As(werr, &killed) {
		err = errors.Join(err, werr)
	}
	return err
}

// discard removes a private directory, the files last by which others know what it is.
func discard(dir string) error {
	return errors.Join(os.RemoveAll(filepath.Join(dir, "data")), os.RemoveAll(dir))
}

// sweep removes what servers left behind whose process died together with the watchdog.
func sweep(parent string, b binaries, a account) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !a.owns(info) {
			continue
		}
		owner := abandoned(dir, ownerFile)
		if owner == nil {
			// A process that died before it had made the file left nothing else.
			if _, err := os.Lstat(filepath.Join(dir, ownerFile)); os.IsNotExist(err) && time.Since(info.ModTime()) > time.Hour {
				_ = discard(dir)
			}
			continue
		}
		if alive := abandoned(dir, aliveFile); alive != nil {
			_ = alive.Close()
		} else {
			// As the account: the process id that pg_ctl reads there is trusted no further.
			stop := a.command("/", b.path("pg_ctl"), "-D", filepath.Join(dir, "data"), "-m", "immediate", "-w", "-t", "20", "stop")
			_ = stop.Run() // fails if the server never started
		}
		_ = discard(dir)
		_ = owner.Close()
	}
}
