package mail

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"time"
)

// text is the message as mail servers exchange it. But for its date it is the same each time.
func (m Message) text(from string, now time.Time) ([]byte, error) {
	if m.Key == "" {
		return nil, errors.New("mail: a message without a key could not be told from another one")
	}
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from},
		{"To", m.To},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
		{"Date", now.Format(time.RFC1123Z)},
		{"Message-ID", m.id(from)},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		if strings.ContainsAny(h[1], "\r\n") && h[0] != "Subject" { // a long subject is folded
			return nil, fmt.Errorf("mail: %s of message %s has more than one line", h[0], m.Key)
		}
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	body := quotedprintable.NewWriter(&b)
	if _, err := body.Write([]byte(strings.ReplaceAll(m.Body, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	if err := body.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// checkFrom refuses what is not an address alone.
func checkFrom(from string) error {
	if a, err := netmail.ParseAddress(from); err != nil || a.Address != from {
		return fmt.Errorf("mail: messages need an address that they come from, without a name: %q", from)
	}
	return nil
}

// id is the Message-ID, which is made of the key alone, and of the sender's domain.
func (m Message) id(from string) string {
	domain := from[strings.LastIndexByte(from, '@')+1:]
	return "<" + atom(m.Key) + "@" + domain + ">"
}

// atom writes a key in letters that need no quotes in a Message-ID. Two keys have two atoms.
func atom(key string) string {
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}
