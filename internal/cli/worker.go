package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/spf13/cobra"

	"github.com/interlock-go/interlock/internal/jobs"
	"github.com/interlock-go/interlock/internal/mail"
	"github.com/interlock-go/interlock/internal/payment"
	"github.com/interlock-go/interlock/internal/search"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/service/blog"
	"github.com/interlock-go/interlock/service/booking"
	"github.com/interlock-go/interlock/service/order"
	"github.com/interlock-go/interlock/txn"
)

// Variables of the environment for what no command line should show.
const (
	smtpPasswordVariable  = "INTERLOCK_SMTP_PASSWORD"
	paymentsTokenVariable = "INTERLOCK_PAYMENTS_TOKEN"
	searchTokenVariable   = "INTERLOCK_SEARCH_TOKEN"
)

// How long jobs may take, and what follows from it.
const (
	// jobTimeout ends a job's context, and with it the session with a mail server. Receivers that
	// speak HTTP are given less, so that their silence is told from ours.
	jobTimeout      = 20 * time.Second
	receiverTimeout = 15 * time.Second

	// rescueAfter is the age at which a job that still counts as running is taken for one whose
	// worker died. It is more than a living worker needs: jobTimeout, and the ten seconds in
	// which the answer of a payment provider is recorded all the same. River's own default is
	// an hour.
	rescueAfter = 40 * time.Second

	// takeover is when a dead worker's job is worked again at the latest, if it was at its first
	// attempt: the leader of the workers looks for such jobs every 30 seconds (one that died is
	// replaced within 21), and what it finds has its turn after a second, and up to 5 until it
	// is looked for. A later attempt has its turn after the pause that follows a failure.
	takeover = rescueAfter + (30+1+5)*time.Second

	// stopPatience is for jobs whose context has ended with --stop-timeout.
	stopPatience   = 12 * time.Second
	maxStopTimeout = time.Hour
)

// minConns is what River takes of a worker's pool besides the jobs: it fetches, completes,
// elects a leader and tidies up at the same time.
const minConns = 4

func workerCommand() *cobra.Command {
	w := &worker{}
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Work the jobs of the services: mail, payments, the search index, sweeping",
		Long: `Worker works the jobs that transactions of the reference application have left behind, with
River: it sends mails, asks the payment provider, brings posts to the search index, and
ends holds of seats and reservations whose time is over. Any number may run at a time.

A job is worked at least once. If a worker is killed, another one does again what it had not
completed, within ` + takeover.String() + ` if it was the first attempt; each receiver is told a key or a
version by which it makes one effect of both. What fails is tried again, after a second first
and after hours later, for three weeks. A payment provider is asked each quarter of an hour
or so, for ` + order.KeyLifetime.String() + `; then somebody has to look up there what became of the payment.

Mail goes to a directory, where each message is a file, written once, or to a mail server
(smtp://user@host:port; without user to send without authentication), as a message whose
Message-ID is made of the key.

On SIGINT or SIGTERM it takes no further job, and ends with exit code 0 when those at work are
done. After --stop-timeout they are cancelled, to be tried again later. A second signal ends
it at once; that is as if it had been killed. Its log is JSON, on standard error.

Bring a new version to the workers before the programs that leave jobs for it: the workers
discard a job of a kind that they do not know, should its worker die.

Secrets come from the environment: ` + smtpPasswordVariable + `, ` + paymentsTokenVariable + `
and ` + searchTokenVariable + `. The database is the one of --database-url, else of the
environment's ` + databaseVariable + `, migrated by interlock migrate up. Connect as a role that owns
no table, and to the server itself or to a pooler in session mode.`,
		Example: `  interlock worker --mail /var/spool/shop --payments https://pay.example.com/v1 --search https://search.example.com/posts
  interlock worker --mail smtp://shop@mail.example.com:587 --mail-from shop@example.com …`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&w.url, "database-url", "", "database to work on, as a URL or as key=value words (default $"+databaseVariable+")")
	f.StringVar(&w.mail, "mail", "", "where mail goes: a directory, or smtp://host:port")
	f.StringVar(&w.mailFrom, "mail-from", "noreply@localhost", "address that mail comes from")
	f.StringVar(&w.payments, "payments", "", "URL of the payment provider's interface")
	f.StringVar(&w.currency, "currency", "EUR", "currency of the books, for the payment provider")
	f.StringVar(&w.search, "search", "", "URL of the search index")
	f.IntVar(&w.concurrency, "concurrency", 10, "how many jobs to work at a time")
	f.DurationVar(&w.stopTimeout, "stop-timeout", 15*time.Second, "how long jobs at work may go on after SIGTERM")
	f.TextVar(&w.logLevel, "log-level", slog.LevelInfo, "DEBUG shows each transaction")
	return cmd
}

// A worker is one run of the command.
type worker struct {
	url              string
	mail, mailFrom   string
	payments, search string
	currency         string
	concurrency      int
	stopTimeout      time.Duration
	logLevel         slog.Level
}

// receivers are where the effects of jobs go.
type receivers struct {
	mail     mail.Sender
	payments order.PaymentProvider
	search   blog.SearchIndex
}

func (w *worker) run(ctx context.Context, stderr io.Writer) (err error) {
	target, err := databaseOf("worker", w.url)
	if err != nil {
		return err
	}
	pool, to, err := w.check()
	if err != nil {
		return &usageError{fmt.Errorf("worker: %w", err)}
	}
	if err := w.work(ctx, pool, to, target, w.logger(stderr)); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return nil
}

// check refuses a command line that cannot be right. It connects to nothing.
func (w *worker) check() (pool *pgxpool.Config, to receivers, err error) {
	pool, err = w.pool()
	if err != nil {
		return nil, to, err
	}
	switch {
	case w.concurrency < 1 || w.concurrency > maxWorkers:
		return nil, to, fmt.Errorf("--concurrency must be 1 to %d", maxWorkers)
	case w.stopTimeout <= 0 || w.stopTimeout > maxStopTimeout:
		return nil, to, fmt.Errorf("--stop-timeout must be more than 0, and at most %s", maxStopTimeout)
	case w.mail == "" || w.payments == "" || w.search == "":
		return nil, to, errors.New("say where effects go: --mail, --payments and --search")
	}
	if to.mail, err = w.sender(); err != nil {
		return nil, to, fmt.Errorf("--mail: %w", err)
	}
	if to.payments, err = payment.NewClient(payment.Config{
		URL: w.payments, Currency: w.currency, Token: os.Getenv(paymentsTokenVariable), Timeout: receiverTimeout,
	}); err != nil {
		return nil, to, fmt.Errorf("--payments: %w", err)
	}
	if to.search, err = search.NewClient(search.Config{
		URL: w.search, Token: os.Getenv(searchTokenVariable), Timeout: receiverTimeout,
	}); err != nil {
		return nil, to, fmt.Errorf("--search: %w", err)
	}
	return pool, to, nil
}

// pool is the configuration of the connections, of which there are enough unless the URL says
// how many.
func (w *worker) pool() (*pgxpool.Config, error) {
	text := databaseURL(w.url)
	cfg, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, errors.New("the settings of the pool in the database URL cannot be parsed (not shown, it may hold a password)")
	}
	switch {
	case !strings.Contains(text, "pool_max_conns"):
		cfg.MaxConns = int32(max(w.concurrency, 1) + minConns)
	case cfg.MaxConns < minConns:
		return nil, fmt.Errorf("pool_max_conns must be at least %d", minConns)
	}
	txn.ConfigurePool(cfg)
	return cfg, nil
}

// sender is where mail goes.
func (w *worker) sender() (mail.Sender, error) {
	if !strings.Contains(w.mail, "://") {
		return mail.NewDirectory(w.mail, w.mailFrom)
	}
	u, err := url.Parse(w.mail)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed") // the error would show it whole
	}
	if _, set := u.User.Password(); set {
		return nil, errors.New("a command line is no place for a password: set " + smtpPasswordVariable)
	}
	if u.Scheme != "smtp" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("a URL has the form smtp://user@host:port")
	}
	return mail.NewSMTP(mail.SMTPConfig{
		Address: u.Host, From: w.mailFrom, User: u.User.Username(), Password: os.Getenv(smtpPasswordVariable),
	})
}

// work works jobs until ctx ends, and those at work then are done.
func (w *worker) work(ctx context.Context, cfg *pgxpool.Config, to receivers, target *pgx.ConnConfig, logger *slog.Logger) (err error) {
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	d := txn.New(pool, txn.Config{
		// The server's own limits are for the case that this program has no chance to end what
		// it began.
		Options:        txn.Options{Timeout: jobTimeout, LockTimeout: lockTimeout},
		AcquireTimeout: acquireTimeout,
		LabelAppName:   true,
		Observers:      []txn.Observer{txn.NewSlogObserver(logger)},
		WarnAfter:      warnAfter,
	})
	defer func() { err = errors.Join(err, closeWithin(d, closePatience)) }()
	if err := jobs.Check(ctx, pool); err != nil {
		return err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), w.config(d, to, logger))
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	logger.Info("working", "database", target.Database, "server", hosts(target), "user", target.User)
	<-ctx.Done()
	logger.Info("stopping: no further job is taken")
	patience := time.NewTimer(w.stopTimeout + stopPatience)
	defer patience.Stop()
	select {
	case <-client.Stopped():
		logger.Info("stopped")
		return nil
	case <-patience.C:
		return errors.New("jobs go on though they were cancelled: they are left to another worker")
	}
}

func (w *worker) config(d *txn.DB, to receivers, logger *slog.Logger) *river.Config {
	workers := river.NewWorkers()
	account.AddWorkers(workers, d, to.mail)
	blog.AddWorkers(workers, d, to.search)
	booking.AddWorkers(workers, d)
	order.AddWorkers(workers, d, to.payments, to.mail)
	return &river.Config{
		Schema:       jobs.Schema,
		Workers:      workers,
		PeriodicJobs: slices.Concat(booking.PeriodicJobs(), order.PeriodicJobs()),
		Queues:       map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: w.concurrency}},
		// While a newer version of this program is rolled out, its jobs are left to it.
		FetchOnlyKnownKinds:  true,
		FetchPollInterval:    jobs.PollInterval,
		PollOnly:             true, // nobody would notify it, and LISTEN takes a connection of its own
		JobTimeout:           jobTimeout,
		RescueStuckJobsAfter: rescueAfter,
		SoftStopTimeout:      w.stopTimeout,
		// Only the owner of an index may rebuild it, which this role is not.
		ReindexerIndexNames: []string{},
		Middleware:          []rivertype.Middleware{river.WorkerMiddlewareFunc(logged(logger))},
		Logger:              logger,
	}
}

// logger writes records of the level, and of what belongs to a job also which one.
func (w *worker) logger(stderr io.Writer) *slog.Logger {
	return slog.New(jobHandler{slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: w.logLevel})})
}

// logged writes a record of each job that was worked.
func logged(logger *slog.Logger) func(context.Context, *rivertype.JobRow, func(context.Context) error) error {
	return func(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
		ctx = context.WithValue(ctx, jobKey{}, job)
		start := time.Now()
		err := work(ctx)
		level, attrs := slog.LevelInfo, []slog.Attr{slog.Duration("duration", time.Since(start))}
		if err != nil {
			level, attrs = slog.LevelWarn, append(attrs, slog.String("error", err.Error()))
		}
		logger.LogAttrs(ctx, level, "worked", attrs...)
		return err
	}
}

type jobKey struct{}

// A jobHandler adds to each record under a job's context which job that is, such as to those
// of txn.NewSlogObserver.
type jobHandler struct{ slog.Handler }

func (h jobHandler) Handle(ctx context.Context, r slog.Record) error {
	if job, ok := ctx.Value(jobKey{}).(*rivertype.JobRow); ok {
		r = r.Clone() // others may have the record, too
		r.AddAttrs(slog.Group("job", "kind", job.Kind, "id", job.ID, "attempt", job.Attempt))
	}
	return h.Handler.Handle(ctx, r)
}

func (h jobHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return jobHandler{h.Handler.WithAttrs(attrs)}
}

func (h jobHandler) WithGroup(name string) slog.Handler { return jobHandler{h.Handler.WithGroup(name)} }
