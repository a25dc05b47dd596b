//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pgserver

import "syscall"

// KillWatchdog ends the process that cleans up when this one ends.
func KillWatchdog(s *Server) error { return s.watchdog.cmd.Process.Kill() }

// KillServer ends the server's main process as nobody should.
func KillServer(s *Server) error { return s.proc.Kill() }

// Dead reports whether no process of the server in dir lives.
func Dead(dir string) bool {
	f := abandoned(dir, aliveFile)
	if f == nil {
		return false
	}
	_ = f.Close()
	return true
}

// ServerAttr makes a process one of the user whom servers run as.
func ServerAttr() *syscall.SysProcAttr {
	a, err := serverAccount()
	if err != nil {
		panic(err)
	}
	return &syscall.SysProcAttr{Credential: a.credential}
}
