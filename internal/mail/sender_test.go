package mail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/internal/mail/mailtest"
)

const from = "shop@example.com"

var message = mail.Message{
	Key: "welcome/7", To: "ada@example.com", Subject: "Wëlcome " + strings.Repeat("to the shop ", 20),
	Body: "Hëllo,\n.\n" + strings.Repeat("long ", 300) + "\n",
}

// requireMessage reads a text as a recipient would.
func requireMessage(t *testing.T, text string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(text))
	require.NoError(t, err)
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, message.Subject, subject)
	require.Equal(t, from, m.Header.Get("From"))
	require.Equal(t, message.To, m.Header.Get("To"))
	require.Equal(t, "<welcome/7@example.com>", m.Header.Get("Message-ID"))
	_, err = m.Header.Date()
	require.NoError(t, err)
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	require.NoError(t, err)
	require.Equal(t, message.Body, strings.ReplaceAll(string(body), "\r\n", "\n"))
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d, err := mail.NewDirectory(path, from)
	require.NoError(t, err)
	require.NoFileExists(t, d.File(message.Key))
	// Many at once, as when a job is worked twice.
	var sending sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		sending.Go(func() { errs[i] = d.Send(t.Context(), message) })
	}
	sending.Wait()
	require.NoError(t, errors.Join(errs...))
	text, err := os.ReadFile(d.File(message.Key))
	require.NoError(t, err)
	requireMessage(t, string(text))

	other := message
	other.Body = "another text"
	require.NoError(t, d.Send(t.Context(), other))
	again, err := os.ReadFile(d.File(message.Key))
	require.NoError(t, err)
	require.Equal(t, text, again, "the first one stays")

	// No key leads out of the directory, or to the file of another one.
	for _, key := range []string{"../../x", "..", ".", "a/b", "a=2fb", "a\x00b", "a b", "A/b"} {
		other.Key = key
		require.NoError(t, d.Send(t.Context(), other), "%q", key)
		require.Equal(t, path, filepath.Dir(d.File(key)))
	}
	files, err := os.ReadDir(path)
	require.NoError(t, err)
	require.Len(t, files, 1+8, "and nothing unfinished")
}

// What a crash leaves behind is not taken for a message.
func TestDirectoryAfterACrash(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, ".unfinished-1"), []byte("From: sh"), 0o600))
	d, err := mail.NewDirectory(path, from)
	require.NoError(t, err)
	require.NoError(t, d.Send(t.Context(), message))
	text, err := os.ReadFile(d.File(message.Key))
	require.NoError(t, err)
	requireMessage(t, string(text))
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	server := mailtest.NewServer(t)
	s, err := mail.NewSMTP(mail.SMTPConfig{Address: server.Address(), From: from})
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, s.Send(t.Context(), message))
	}
	received := server.Received()
	require.Len(t, received, 2)
	require.Equal(t, []string{message.To}, received[0].To)
	require.Equal(t, received[0].ID, received[1].ID, "by which the receiver tells that it is one")
	requireMessage(t, received[0].Text)
}

// PLAIN is for a machine's own server, or TLS: this server is on the machine.
func TestSMTPAuthenticates(t *testing.T) {
	t.Parallel()
	server := mailtest.NewServer(t)
	cfg := mail.SMTPConfig{Address: server.Address(), From: from, User: "shop", Password: "s3cret"}
	s, err := mail.NewSMTP(cfg)
	require.NoError(t, err)
	require.Error(t, s.Send(t.Context(), message), "the server has no authentication")
	server.Offer("8BITMIME", "AUTH PLAIN")
	require.NoError(t, s.Send(t.Context(), message))
	require.Equal(t, "\x00shop\x00s3cret", server.Login())
	require.Len(t, server.Received(), 1)
}

// What a server refuses or fails at is an error, and nothing is sent in the clear instead.
func TestSMTPFails(t *testing.T) {
	t.Parallel()
	server := mailtest.NewServer(t)
	s, err := mail.NewSMTP(mail.SMTPConfig{Address: server.Address(), From: from})
	require.NoError(t, err)
	server.Refuse(message.To)
	err = s.Send(t.Context(), message)
	refused, ok := errors.AsType[*textproto.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, 550, refused.Code)
	server.Offer("STARTTLS")
	other := message
	other.To = "bob@example.com"
	require.Error(t, s.Send(t.Context(), other))
	require.Empty(t, server.Received())
}

// A server that does not answer is given up when the context ends, at whatever point.
func TestSMTPEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := mailtest.NewServer(t)
	s, err := mail.NewSMTP(mail.SMTPConfig{Address: server.Address(), From: from})
	require.NoError(t, err)
	for moment, kept := range map[mailtest.Moment]int{mailtest.Connected: 0, mailtest.Taken: 1} {
		before := len(server.Received())
		held := server.Hold(moment)
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error, 1)
		go func() { sent <- s.Send(ctx, message) }()
		require.NoError(t, held.Wait(t.Context()))
		cancel()
		require.ErrorIs(t, <-sent, context.Canceled)
		require.Len(t, server.Received(), before+kept, "after an error it may have been taken")
		held.Release()
	}
}

func TestSendersRefuse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, filepath.Join(t.TempDir(), "none")} {
		_, err := mail.NewDirectory(path, from)
		require.Error(t, err, path)
	}
	for _, bad := range []string{"", "shop", "Shop <shop@example.com>", "a@b.example\r\nBcc: eve@example.com"} {
		_, err := mail.NewDirectory(t.TempDir(), bad)
		require.Error(t, err, "%q", bad)
		_, err = mail.NewSMTP(mail.SMTPConfig{Address: "127.0.0.1:25", From: bad})
		require.Error(t, err, "%q", bad)
	}
	for _, address := range []string{"", "127.0.0.1", ":25"} {
		_, err := mail.NewSMTP(mail.SMTPConfig{Address: address, From: from})
		require.Error(t, err, "%q", address)
	}

	d, err := mail.NewDirectory(t.TempDir(), from)
	require.NoError(t, err)
	for name, change := range map[string]func(*mail.Message){
		"no key":            func(m *mail.Message) { m.Key = "" },
		"a recipient's end": func(m *mail.Message) { m.To += "\r\nBcc: eve@example.com" },
	} {
		m := message
		change(&m)
		require.Error(t, d.Send(t.Context(), m), name)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Send(ended, message), context.Canceled)

	// A line end in a subject does not become another header.
	m := message
	m.Subject = "Hello\r\nBcc: eve@example.com"
	require.NoError(t, d.Send(t.Context(), m))
	text, err := os.ReadFile(d.File(m.Key))
	require.NoError(t, err)
	parsed, err := netmail.ReadMessage(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.Empty(t, parsed.Header.Get("Bcc"), fmt.Sprint(parsed.Header))
}
