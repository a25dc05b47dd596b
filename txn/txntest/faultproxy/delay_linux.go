package faultproxy

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A sleeper waits more exactly than Go's timers, which may wake an idle process a millisecond
// late: by a timer of the kernel's, which Go waits for as for a socket. The zero value is
// ready; one goroutine may use it.
type sleeper struct{ timer *os.File }

// until returns at the time due, or, if that is far, when stop is closed.
func (s *sleeper) until(due time.Time, stop <-chan struct{}) {
	const near = 2 * time.Millisecond
	if due.IsZero() || !rest(time.Until(due)-near, stop) {
		return
	}
	d := time.Until(due)
	if d <= 0 {
		return
	}
	if s.timer == nil && s.open() != nil || s.set(d) != nil {
		rest(d, stop)
		return
	}
	_, _ = s.timer.Read(make([]byte, 8))
}

func (s *sleeper) open() error {
	const monotonic = 1
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return errno
	}
	s.timer = os.NewFile(fd, "timer")
	return nil
}

func (s *sleeper) set(d time.Duration) error {
	c, err := s.timer.SyscallConn()
	if err != nil {
		return err
	}
	spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(int64(d))} // once
	var errno syscall.Errno
	err = c.Control(func(fd uintptr) {
		_, _, errno = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

func (s *sleeper) close() {
	if s.timer != nil {
		_ = s.timer.Close()
	}
}
