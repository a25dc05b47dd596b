package faultproxy

import (
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A sleeper waits more exactly than Go's timers, which may wake an idle process a millisecond
// late: by a timer of the kernel's, which Go waits for as for a socket. The zero value is
// ready; one goroutine may use it.
type sleeper struct {
	timer   *os.File
	control syscall.RawConn // of the timer
	arm     func(fd uintptr)
	spec    [2]syscall.Timespec
	errno   syscall.Errno
	expired [8]byte
}

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
	_, _ = s.timer.Read(s.expired[:])
}

func (s *sleeper) open() error {
	const monotonic = 1
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return errno
	}
	timer := os.NewFile(fd, "timer")
	control, err := timer.SyscallConn()
	if err != nil {
		return errors.Join(err, timer.Close())
	}
	s.timer, s.control = timer, control
	s.arm = func(fd uintptr) {
		_, _, s.errno = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&s.spec)), 0, 0, 0)
	}
	return nil
}

func (s *sleeper) set(d time.Duration) error {
	s.spec[1] = syscall.NsecToTimespec(int64(d)) // once
	err := s.control.Control(s.arm)
	if err == nil && s.errno != 0 {
		err = s.errno
	}
	return err
}

func (s *sleeper) close() {
	if s.timer != nil {
		_ = s.timer.Close()
	}
}
