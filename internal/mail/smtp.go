package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"time"
)

// An SMTPConfig says how to reach a mail server.
type SMTPConfig struct {
	Address  string // host and port
	From     string // the address that messages come from
	User     string // "" to send without authentication
	Password string // of User; sent over TLS only, or to this machine
}

// goodbye is how long a server may take to end a session.
const goodbye = 2 * time.Second

// An SMTP sends messages by a mail server. The Message-ID of a message is made of its key, so
// that servers and mailboxes that look at it keep one of those that came more than once.
type SMTP struct {
	cfg  SMTPConfig
	host string
}

// NewSMTP checks the configuration. It sends nothing.
func NewSMTP(cfg SMTPConfig) (*SMTP, error) {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil || host == "" {
		return nil, fmt.Errorf("mail: a mail server needs a host and a port: %q", cfg.Address)
	}
	if err := checkFrom(cfg.From); err != nil {
		return nil, err
	}
	return &SMTP{cfg: cfg, host: host}, nil
}

// Send sends the message in a connection of its own, encrypted if the server can. It ends with
// ctx, at whatever point.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	text, err := m.text(s.cfg.From, time.Now())
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("mail: send message %s: %w", m.Key, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.send(conn, m.To, text); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return fmt.Errorf("mail: send message %s: %w", m.Key, err)
	}
	return nil
}

func (s *SMTP) send(conn net.Conn, to string, text []byte) error {
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: s.host}); err != nil {
			return err
		}
	}
	if s.cfg.User != "" {
		if err := c.Auth(smtp.PlainAuth("", s.cfg.User, s.cfg.Password, s.host)); err != nil {
			return err
		}
	}
	if err := c.Mail(s.cfg.From); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil { // here the server takes it on, or does not
		return err
	}
	// The message is the server's, whether it says goodbye or not.
	_ = conn.SetDeadline(time.Now().Add(goodbye))
	_ = c.Quit()
	return nil
}
