// Package mail is what services say about messages to people. How they are sent is decided
// where the program is put together.
package mail

import "context"

// A Message is a mail to one person.
type Message struct {
	// Key names the message, such as "welcome/7". Jobs are worked at least once, so a message
	// may be sent again: with the same key, by which a receiver tells that it has it.
	Key     string
	To      string // an address, without a name
	Subject string // one line
	Body    string // plain text, UTF-8, lines that end with \n
}

// A Sender sends messages. Its methods may be called from several goroutines.
type Sender interface {
	// Send returns nil when the receiver has taken the message on. After an error it may have
	// done so all the same: send it again, with the same key.
	Send(ctx context.Context, m Message) error
}
