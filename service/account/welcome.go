package account

import (
	"context"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/txn"
)

// WelcomeMail is the job that welcomes a new user. SignUp inserts it, so that there is one if
// and only if there is the user.
type WelcomeMail struct {
	UserID int64 `json:"user_id"`
}

// Kind names the job.
func (WelcomeMail) Kind() string { return "account.welcome_mail" }

// A WelcomeMailWorker works WelcomeMail jobs. It reads the user in a transaction of its own,
// which is over when the mail is sent: a slow mail server keeps no connection.
type WelcomeMailWorker struct {
	river.WorkerDefaults[WelcomeMail]
	Users  txn.ReadTransactor
	Sender mail.Sender
}

// AddWorkers adds the workers of this package's jobs. Their transactions lock nothing, at any
// isolation level. Their errors are River's to try again.
func AddWorkers(w *river.Workers, users txn.ReadTransactor, sender mail.Sender) {
	river.AddWorker(w, &WelcomeMailWorker{Users: users, Sender: sender})
}

// Work sends the mail to the address that the user has now. Each time it is the same message:
// the receiver tells by its key that it has it.
func (w *WelcomeMailWorker) Work(ctx context.Context, job *river.Job[WelcomeMail]) error {
	opts := txn.Options{Label: "account: read for the welcome mail"}
	user, err := txn.WithReadTxValue(ctx, w.Users, opts, func(ctx context.Context, rx *txn.ReadTx) (db.User, error) {
		return db.NewRead(rx).GetUser(ctx, job.Args.UserID)
	})
	if errors.Is(err, txn.ErrNotFound) {
		return river.JobCancel(fmt.Errorf("welcome user %d: %w", job.Args.UserID, err)) // there will be none
	}
	if err == nil {
		err = w.Sender.Send(ctx, welcome(user))
	}
	if err != nil {
		return fmt.Errorf("welcome user %d: %w", job.Args.UserID, err)
	}
	return nil
}

func welcome(user db.User) mail.Message {
	return mail.Message{
		Key:     fmt.Sprintf("welcome/%d", user.ID),
		To:      user.Email,
		Subject: "Welcome",
		Body: fmt.Sprintf("Hello %s,\n\nyour account is open, and a welcome bonus of %s is in it.\n",
			user.Name, WelcomeBonus),
	}
}
