package account_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// A sender is a function that sends.
type sender func(context.Context, mail.Message) error

func (s sender) Send(ctx context.Context, m mail.Message) error { return s(ctx, m) }

// work lets River work the jobs of this package until the test ends.
func (b *books) work(t *testing.T, users txn.ReadTransactor, s mail.Sender) {
	t.Helper()
	workers := river.NewWorkers()
	account.AddWorkers(workers, users, s)
	client, err := river.NewClient(riverpgxv5.New(b.Pool(t)), &river.Config{
		Schema: jobs.Schema, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 5}},
		FetchCooldown: 10 * time.Millisecond, FetchPollInterval: 10 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, client.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, client.StopAndCancel(context.WithoutCancel(t.Context()))) })
}

// naiveSignUp sends the mail before COMMIT, and has all of it, with what comes afterwards,
// under one error.
func naiveSignUp(ctx context.Context, tx pgx.Tx, email string, send func() error, afterwards func() error) (err error) {
	defer func() {
		if err != nil {
			if undone := tx.Rollback(ctx); undone != nil {
				err = undone
			}
		}
	}()
	if _, err := tx.Exec(ctx, "insert into naive.users (email) values ($1)", email); err != nil {
		return err
	}
	if err := send(); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return afterwards()
}

// A mail cannot be rolled back, and a transaction that waits for the mail server keeps its locks
// and its connection. What fails after COMMIT does not make the work undone.
func TestWelcomeMailFollowsCommit(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	nobody := func(email string) bool {
		return fromTable[bool](t, b, "select not exists (select from naive.users where email = $1)", email)
	}
	owner, err := pgx.Connect(t.Context(), b.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, "create unique index on naive.users (email)")
	exec(t, owner, "alter table naive.movements add constraint movement unique (user_id) deferrable initially deferred")
	exec(t, naive, "insert into naive.movements (user_id) values (7)")

	var sent []string
	tx := begin(t, naive)
	err = naiveSignUp(t.Context(), tx, "eve@example.com", func() error {
		sent = append(sent, "eve@example.com")
		waiting := begin(t, naive)
		blocked := async(func() error {
			_, err := waiting.Exec(t.Context(), "insert into naive.users (email) values ('eve@example.com')")
			return err
		})
		waitBlocked(t, b.admin, 1) // for as long as the mail server takes
		require.True(t, fromTable[bool](t, b, "select pg_cancel_backend($1)", waiting.Conn().PgConn().PID()))
		require.Equal(t, "57014", txn.SQLState(<-blocked))
		_, err := tx.Exec(t.Context(), "insert into naive.movements (user_id) values (7)") // COMMIT will fail
		return err
	}, func() error { return nil })
	require.Error(t, err)
	require.Equal(t, []string{"eve@example.com"}, sent, "welcome")
	require.True(t, nobody("eve@example.com"), "but to nobody")

	err = naiveSignUp(t.Context(), begin(t, naive), "fay@example.com", func() error { return nil },
		func() error { return errors.New("the new user cannot be read back") })
	require.ErrorIs(t, err, pgx.ErrTxClosed, "that it cannot be rolled back is all that the caller hears")
	require.False(t, nobody("fay@example.com"), "it is committed")

	// Ours: no user, no mail.
	users := txn.New(b.Pool(t, txn.ConfigurePool), watched(txn.Config{}))
	messages := make(chan mail.Message, 10)
	b.work(t, users, sender(func(_ context.Context, m mail.Message) error {
		if n := users.Pool().Stat().AcquiredConns(); n > 0 {
			return fmt.Errorf("%d connections wait for the mail server", n)
		}
		messages <- m
		return nil
	}))
	changed := errors.New("the caller changed its mind")
	require.ErrorIs(t, txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: undone"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := account.SignUp(ctx, tx, account.SignUpRequest{Email: "eve@example.com", Name: "Eve"})
		return errors.Join(err, changed)
	}), changed)

	// With a user that is repeated by its transaction, one mail.
	require.NoError(t, repeatOnce(t.Context(), b.db, func(ctx context.Context, tx *txn.Tx) error {
		_, err := account.SignUp(ctx, tx, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
		require.Empty(t, messages, "nobody is welcome before COMMIT")
		return err
	}))
	user := fromTable[int64](t, b, "select id from users where email = 'ada@example.com'")
	require.Equal(t, mail.Message{
		Key: fmt.Sprintf("welcome/%d", user), To: "ada@example.com", Subject: "Welcome",
		Body: "Hello Ada,\n\nyour account is open, and a welcome bonus of 10.00 is in it.\n",
	}, <-messages)
	require.Eventually(t, func() bool {
		return fromTable[int](t, b, "select count(*) from river.river_job where state = 'completed'") == 1
	}, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, messages)
	require.Equal(t, 1, fromTable[int](t, b, "select count(*) from river.river_job"))
}

// A mail server that is away fails the job, which River tries again, and not the sign-up. The
// message is the same one each time.
func TestWelcomeMailIsSentAgain(t *testing.T) {
	b := setup(t, txn.Config{})
	user, err := account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
	require.NoError(t, err)
	away := errors.New("the mail server is away")
	var sent []mail.Message
	w := account.WelcomeMailWorker{Users: b.db, Sender: sender(func(_ context.Context, m mail.Message) error {
		sent = append(sent, m)
		if len(sent) == 1 {
			return away
		}
		return nil
	})}
	work := func(id int64) error {
		return w.Work(t.Context(), &river.Job[account.WelcomeMail]{Args: account.WelcomeMail{UserID: id}})
	}
	require.ErrorIs(t, work(user.UserID), away)
	require.NoError(t, work(user.UserID))
	require.Len(t, sent, 2)
	require.Equal(t, sent[0], sent[1])

	err = work(1 << 40)
	cancelled, ok := errors.AsType[*river.JobCancelError](err)
	require.True(t, ok, "%v: trying again would not help", err)
	require.ErrorIs(t, cancelled, txn.ErrNotFound)
	require.Len(t, sent, 2)
}
