//go:build unix

package faultproxy

import "syscall"

// A sender writes to a socket what it takes without waiting. One goroutine may use it.
type sender struct {
	socket syscall.RawConn // nil: not a plain socket
	write  func(fd uintptr) bool
	data   []byte
	sent   int
}

func newSender(e endpoint) *sender {
	s := &sender{}
	s.write = func(fd uintptr) bool {
		s.sent, _ = syscall.Write(int(fd), s.data)
		return true
	}
	if socket, ok := e.Conn.(syscall.Conn); ok {
		s.socket, _ = socket.SyscallConn()
	}
	return s
}

// send returns how much of b has been sent: nothing, if the socket is full or broken.
func (s *sender) send(b []byte) int {
	if s.socket == nil {
		return 0
	}
	s.data, s.sent = b, 0
	_ = s.socket.Write(s.write)
	s.data = nil
	return max(0, s.sent)
}
