// Package mailtest gives tests a mail server, which can be held at the moments that matter.
package mailtest

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Server is a mail server on the loopback interface. It keeps what it is given.
type Server struct {
	listener net.Listener
	closed   context.Context
	serving  sync.WaitGroup

	mu       sync.Mutex
	held     map[Moment]*Held
	received []Received
	offers   []string
	refused  map[string]bool
	login    string
}

// Offer makes the server offer extensions, such as "AUTH PLAIN" or "STARTTLS". It does not have
// the latter.
func (s *Server) Offer(extensions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers = extensions
}

// Refuse makes the server refuse a recipient for good.
func (s *Server) Refuse(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[to] = true
}

// Login is what the last client authenticated with, as PLAIN has it: NUL, user, NUL, password.
func (s *Server) Login() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login
}

// A Received is a message as it came in.
type Received struct {
	To   []string // of the envelope
	ID   string   // the header Message-ID
	Text string
}

// A Moment is a point of an SMTP session.
type Moment int

// Moments at which a server can be held.
const (
	Connected Moment = iota // before the greeting: nothing was said yet
	Taken                   // the message is kept, and the client has no answer yet
)

// NewServer starts a server that ends with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("mailtest: %v", err)
	}
	closed, closing := context.WithCancel(context.Background())
	s := &Server{listener: l, closed: closed, held: map[Moment]*Held{}, refused: map[string]bool{}}
	s.serving.Go(s.accept)
	t.Cleanup(func() {
		closing()
		_ = l.Close()
		s.serving.Wait()
	})
	return s
}

// Address is the server's host and port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Received returns what came in so far, each as often as it came.
func (s *Server) Received() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.received...)
}

// A Held is a session that stopped at its moment.
type Held struct {
	reached, released chan struct{}
}

// Hold stops the next session that comes to the moment, until it is released.
func (s *Server) Hold(m Moment) *Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &Held{reached: make(chan struct{}), released: make(chan struct{})}
	s.held[m] = h
	return h
}

// Wait returns when a session has come to the moment.
func (h *Held) Wait(ctx context.Context) error {
	select {
	case <-h.reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release lets the session go on.
func (h *Held) Release() { close(h.released) }

// pass stops the session if the moment is held.
func (s *Server) pass(m Moment) {
	s.mu.Lock()
	h := s.held[m]
	delete(s.held, m)
	s.mu.Unlock()
	if h == nil {
		return
	}
	close(h.reached)
	select {
	case <-h.released:
	case <-s.closed.Done():
	}
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(s.closed, func() { _ = conn.Close() })()
			s.serve(textproto.NewConn(conn))
		})
	}
}

// serve is a session. An error ends it: the client is gone.
func (s *Server) serve(c *textproto.Conn) {
	s.pass(Connected)
	if c.PrintfLine("220 mailtest") != nil {
		return
	}
	var to []string
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		answer := "250 ok"
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			answer = s.greeting()
		case "AUTH":
			answer = s.authenticate(rest)
		case "MAIL":
			to = nil
		case "RCPT":
			address, _, _ := strings.Cut(rest[strings.IndexByte(rest, '<')+1:], ">")
			if to = append(to, address); s.refuses(address) {
				answer = "550 nobody of the name"
			}
		case "DATA":
			if c.PrintfLine("354 go on") != nil {
				return
			}
			text, err := io.ReadAll(c.DotReader())
			if err != nil {
				return // cut short: not taken
			}
			s.take(to, string(text))
			s.pass(Taken)
		case "QUIT":
			answer = "221 bye"
		default:
			answer = "502 not known"
		}
		if c.PrintfLine("%s", answer) != nil || verb == "QUIT" {
			return
		}
	}
}

func (s *Server) greeting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := append([]string{"mailtest"}, s.offers...)
	last := len(lines) - 1
	var answer strings.Builder
	for _, line := range lines[:last] {
		answer.WriteString("250-" + line + "\r\n")
	}
	return answer.String() + "250 " + lines[last]
}

func (s *Server) authenticate(rest string) string {
	_, text, _ := strings.Cut(rest, " ")
	login, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "501 not base64"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.offers, "AUTH PLAIN") {
		return "502 not known"
	}
	s.login = string(login)
	return "235 ok"
}

func (s *Server) refuses(to string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[to]
}

func (s *Server) take(to []string, text string) {
	r := Received{To: to, Text: text}
	if m, err := netmail.ReadMessage(strings.NewReader(text)); err == nil {
		r.ID = m.Header.Get("Message-ID")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, r)
}
