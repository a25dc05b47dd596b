package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/interlock-go/interlock/txn"
)

// A user and an account created together: both rows exist afterwards, or neither, and the
// caller learns which.
func Example() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	signUp := func(ctx context.Context, email string, opening int64) (user int64, err error) {
		return txn.WithTxValue(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) (user int64, err error) {
			err = tx.QueryRow(ctx, "insert into users (email) values ($1) returning id", email).Scan(&user)
			if err != nil {
				return 0, fmt.Errorf("create user: %w", err)
			}
			_, err = tx.Exec(ctx, "insert into wallets (user_id, balance) values ($1, $2)", user, opening)
			if err != nil {
				return 0, fmt.Errorf("create wallet: %w", err)
			}
			return user, nil
		})
	}

	user, err := signUp(ctx, "ada@example.com", 100)
	fmt.Println(user > 0, err)

	_, err = signUp(ctx, "bob@example.com", -1) // the wallet is refused, so there is no user either
	fmt.Println(txn.SQLState(err), txn.ConstraintName(err))

	users, err := txn.WithReadTxValue(ctx, d, txn.Options{Label: "count"}, func(ctx context.Context, rx *txn.ReadTx) (n int, err error) {
		err = rx.QueryRow(ctx, "select count(*) from users").Scan(&n)
		return n, err
	})
	fmt.Println(users, err)

	// Output:
	// true <nil>
	// 23514 wallets_balance_check
	// 1 <nil>
}

// Nil means committed; after an error of the function's nothing was.
func ExampleWithTx() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com')"); err != nil {
			return err
		}
		return errors.New("on second thoughts")
	})
	fmt.Println(err)
	users, err := txn.WithReadTxValue(ctx, d, txn.Options{Label: "count"}, func(ctx context.Context, rx *txn.ReadTx) (n int, err error) {
		err = rx.QueryRow(ctx, "select count(*) from users").Scan(&n)
		return n, err
	})
	fmt.Println(users, err)

	// Output:
	// on second thoughts
	// 0 <nil>
}

// The function may run more than once. Its result is that of the run that was committed, as
// that of a captured variable would not be.
func ExampleWithTxValue() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	var captured []int64
	ids, err := txn.WithTxValue(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) (ids []int64, err error) {
		var id int64
		err = tx.QueryRow(ctx, "insert into users (email) values ('ada@example.com') returning id").Scan(&id)
		if err != nil {
			return nil, err
		}
		captured, ids = append(captured, id), append(ids, id)
		if tx.Attempt() == 1 { // the server ends the session
			return nil, tx.QueryRow(ctx, "select pg_terminate_backend(pg_backend_pid())").Scan(new(bool))
		}
		return ids, nil
	})
	fmt.Println(ids, err)
	fmt.Println(captured)

	// Output:
	// [2] <nil>
	// [1 2]
}

// What belongs together is read in one transaction, at a level that shows one moment.
func ExampleWithReadTx() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	signUp := func(ctx context.Context) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("insert into users (email) values ('ada@example.com')")
			return nil
		})
	}
	opts := txn.Options{Label: "report", Isolation: txn.RepeatableRead}
	err := txn.WithReadTx(ctx, d, opts, func(ctx context.Context, rx *txn.ReadTx) error {
		var before, after int
		if err := rx.QueryRow(ctx, "select count(*) from users").Scan(&before); err != nil {
			return err
		}
		if err := signUp(txn.Detach(ctx)); err != nil { // somebody else, meanwhile
			return err
		}
		err := rx.QueryRow(ctx, "select count(*) from users").Scan(&after)
		fmt.Println(before, after)
		return err
	})
	fmt.Println(err)

	// Output:
	// 0 0
	// <nil>
}

// The least handle: it cannot write, and joins any transaction.
func ExampleWithReadTxValue() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	find := func(ctx context.Context, t txn.ReadTransactor, email string) (int64, error) {
		return txn.WithReadTxValue(ctx, t, txn.Options{Label: "find"}, func(ctx context.Context, rx *txn.ReadTx) (id int64, err error) {
			err = rx.QueryRow(ctx, "select id from users where email = $1", email).Scan(&id)
			return id, err
		})
	}
	_, err := find(ctx, d, "ada@example.com")
	fmt.Println(errors.Is(err, txn.ErrNotFound))

	// An error of a joined read leaves the transaction as it was: "find, else create".
	id, err := txn.WithTxValue(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) (int64, error) {
		id, err := find(ctx, tx, "ada@example.com")
		if errors.Is(err, txn.ErrNotFound) {
			err = tx.QueryRow(ctx, "insert into users (email) values ('ada@example.com') returning id").Scan(&id)
		}
		return id, err
	})
	fmt.Println(id, err)

	// Output:
	// true
	// 1 <nil>
}

// A function that takes a Transactor runs alone or as a part of a larger transaction.
func ExampleTransactor() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	create := func(ctx context.Context, t txn.Transactor, email string) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "create"}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "insert into users (email) values ($1)", email)
			fmt.Println(tx.Label())
			return err
		})
	}

	if err := create(ctx, d, "ada@example.com"); err != nil {
		log.Fatal(err)
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		return errors.Join(create(ctx, tx, "bob@example.com"), create(ctx, tx, "eve@example.com"))
	})
	fmt.Println(err)

	// Output:
	// create
	// import/create
	// import/create
	// <nil>
}

// What a savepoint contains can fail alone.
func ExampleTx_Savepoint() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		for _, email := range []string{"ada@example.com", "ada@example.com", "bob@example.com"} {
			err := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error {
				_, err := tx.Exec(ctx, "insert into users (email) values ($1)", email)
				return err
			})
			if txn.ConstraintName(err) == "users_email_key" {
				fmt.Println("skipped a duplicate")
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	fmt.Println(err)

	// Output:
	// skipped a duplicate
	// <nil>
}

// The first error counts, even if the function dropped it.
func ExampleWithTx_swallowed() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "careless"}, func(ctx context.Context, tx *txn.Tx) error {
		_, _ = tx.Exec(ctx, "insert into users (email) values (null)")
		return nil // PostgreSQL would answer COMMIT with ROLLBACK, and no error
	})
	fmt.Println(errors.Is(err, txn.ErrRollbackOnly), txn.SQLState(err))

	// Output:
	// true 23502
}

// Writes that need no answer are queued: they travel with COMMIT.
func ExampleTx_Queue() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	errTaken := errors.New("the address is taken")
	signUp := func(email string) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("insert into users (email) values ($1)", email).OnError(func(err error) error {
				if txn.ConstraintName(err) == "users_email_key" {
					return errTaken
				}
				return err
			})
			return nil
		})
	}
	fmt.Println(signUp("ada@example.com"))
	fmt.Println(errors.Is(signUp("ada@example.com"), errTaken))

	// Output:
	// <nil>
	// true
}

// Answers of different queries come in one round trip.
func ExamplePending() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		ada := tx.Queue("insert into users (email) values ('ada@example.com')")
		_, err := ada.Value()
		fmt.Println(errors.Is(err, txn.ErrPending))

		if err := tx.Flush(ctx); err != nil {
			return err
		}
		tag, err := ada.Value()
		fmt.Println(tag, err)
		return nil
	})
	fmt.Println(err)

	// Output:
	// true
	// INSERT 0 1 <nil>
	// <nil>
}

// Independent queries of different types come in one round trip, BEGIN and COMMIT included.
func ExampleQueueValue() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	count := func(table string) func(txn.Querier) (int, error) {
		return func(q txn.Querier) (n int, err error) {
			err = q.QueryRow(ctx, "select count(*) from "+table).Scan(&n)
			return n, err
		}
	}
	var users, wallets *txn.Pending[int]
	err := txn.WithReadTx(ctx, d, txn.Options{Label: "report"}, func(ctx context.Context, rx *txn.ReadTx) error {
		users = txn.QueueValue(rx, count("users"))
		wallets = txn.QueueValue(rx, count("wallets"))
		return nil
	})
	fmt.Println(err)
	fmt.Println(users.Value())
	fmt.Println(wallets.Value())

	// Output:
	// <nil>
	// 0 <nil>
	// 0 <nil>
}

// What the world must not hear of too early waits for COMMIT.
func ExampleTx_AfterCommit() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	signUp := func(email string, opening int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.AfterCommit(func(context.Context) error {
				fmt.Println("welcome,", email)
				return nil
			})
			tx.AfterRollback(func(_ context.Context, err error) {
				fmt.Println("sorry,", email, txn.SQLState(err))
			})
			tx.Queue("insert into users (email) values ($1)", email)
			tx.Queue("insert into wallets (user_id, balance) select id, $2 from users where email = $1", email, opening)
			return nil
		})
	}
	_ = signUp("ada@example.com", 100)
	_ = signUp("bob@example.com", -1)

	// Output:
	// welcome, ada@example.com
	// sorry, bob@example.com 23514
}

// BeforeCommit may still say no.
func ExampleTx_BeforeCommit() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "import"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.BeforeCommit(func(ctx context.Context, tx *txn.Tx) error {
			var users int
			if err := tx.QueryRow(ctx, "select count(*) from users").Scan(&users); err != nil {
				return err
			}
			if users > 1 {
				return fmt.Errorf("%d users are too many", users)
			}
			return nil
		})
		_, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com'), ('bob@example.com')")
		return err
	})
	fmt.Println(err)

	// Output:
	// 2 users are too many
}

// A repeatable read behind an advisory lock sees what the lock's last holder did.
func ExampleOptions_locks() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	opts := txn.Options{
		Label:       "close the month",
		Isolation:   txn.RepeatableRead,
		Locks:       []txn.Key{txn.NewKey("month", 2026, 11)},
		LockTimeout: time.Second,
	}
	err := txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com')")
		return err
	})
	fmt.Println(err)

	// Output:
	// <nil>
}

// With an idempotency key the same work is done once, however often it is asked for.
func ExampleOptions_idempotencyKey() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	pay := func(key string, amount int64) error {
		opts := txn.Options{Label: "pay", IdempotencyKey: key, Fingerprint: fmt.Sprint(amount)}
		return txn.WithTx(ctx, d, opts, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("insert into users (email) values ('ada@example.com')")
			return nil
		})
	}
	fmt.Println(pay("invoice 7", 100))
	fmt.Println(errors.Is(pay("invoice 7", 100), txn.ErrAlreadyCommitted))
	fmt.Println(errors.Is(pay("invoice 7", 250), txn.ErrKeyReused))

	// Output:
	// <nil>
	// true
	// true
}

// Settings hold for one transaction: a tenant for row-level security, for instance.
func ExampleConfig_settingsFrom() {
	type tenantKey struct{}
	d, done := exampleDB(func(cfg *txn.Config) {
		cfg.SettingsFrom = func(ctx context.Context) map[string]string {
			tenant, _ := ctx.Value(tenantKey{}).(string)
			return map[string]string{"app.tenant": tenant}
		}
	})
	defer done()

	ctx := context.WithValue(context.Background(), tenantKey{}, "north")
	tenant, err := txn.WithReadTxValue(ctx, d, txn.Options{Label: "report"}, func(ctx context.Context, rx *txn.ReadTx) (tenant string, err error) {
		err = rx.QueryRow(ctx, "select current_setting('app.tenant')").Scan(&tenant)
		return tenant, err
	})
	fmt.Println(tenant, err)

	// Output:
	// north <nil>
}

// Only one at a time may do it; the others do something else.
func ExampleTx_TryAdvisoryLock() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	err := txn.WithTx(ctx, d, txn.Options{Label: "clean up"}, func(ctx context.Context, tx *txn.Tx) error {
		granted, err := tx.TryAdvisoryLock(ctx, txn.NewKey("clean up"))
		fmt.Println(granted)
		return err
	})
	fmt.Println(err)

	// Output:
	// true
	// <nil>
}

// A transaction that other code began takes part.
func ExampleJoin() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	create := func(ctx context.Context, t txn.Transactor, email string) error {
		return txn.WithTx(ctx, t, txn.Options{Label: "create"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("insert into users (email) values ($1)", email)
			return nil
		})
	}
	err := pgx.BeginFunc(ctx, d.Pool(), func(legacy pgx.Tx) error {
		j := txn.Join(legacy, txn.Options{Label: "legacy"})
		if err := create(ctx, j.Tx(), "ada@example.com"); err != nil {
			return err
		}
		return j.Finish(ctx) // sends what is queued
	})
	fmt.Println(err)

	// Output:
	// <nil>
}

// For a write by hand, how many rows it hit is asked, not assumed.
func ExampleExpectVersion() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	rename := func(id, version int64, email string) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "rename"}, func(ctx context.Context, tx *txn.Tx) error {
			tag, err := tx.Exec(ctx, "update users set email = $3, version = version + 1 where id = $1 and version = $2", id, version, email)
			if err != nil {
				return err
			}
			return txn.ExpectVersion(ctx, tx, tag, "select from users where id = $1", id)
		})
	}
	_, err := d.Pool().Exec(ctx, "insert into users (email) values ('ada@example.com')")
	fmt.Println(err)
	fmt.Println(rename(1, 1, "countess@example.com"))
	fmt.Println(errors.Is(rename(1, 1, "lovelace@example.com"), txn.ErrStale))
	fmt.Println(errors.Is(rename(2, 1, "lovelace@example.com"), txn.ErrNotFound))

	// Output:
	// <nil>
	// <nil>
	// true
	// true
}

// Independent work inside a transaction is said to be so.
func ExampleDetach() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	audit := func(ctx context.Context, text string) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "audit"}, func(ctx context.Context, tx *txn.Tx) error {
			tx.Queue("insert into users (email) values ($1)", text)
			return nil
		})
	}
	err := txn.WithTx(ctx, d, txn.Options{Label: "work"}, func(ctx context.Context, tx *txn.Tx) error {
		fmt.Println(errors.Is(audit(ctx, "a@example.com"), txn.ErrNestedDB))
		fmt.Println(audit(txn.Detach(ctx), "b@example.com"))
		return errors.New("undone")
	})
	fmt.Println(err)

	// Output:
	// true
	// <nil>
	// undone
}

// One record a transaction, in the program's own log.
func ExampleNewSlogObserver() {
	ctx := context.Background()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "pid", "duration": // differ from run to run
				return slog.Attr{}
			}
			return a
		},
	}))
	d, done := exampleDB(func(cfg *txn.Config) { cfg.Observers = []txn.Observer{txn.NewSlogObserver(logger)} })
	defer done()

	_ = txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('ada@example.com')")
		return nil
	})

	// Output:
	// level=DEBUG msg=transaction label=sign-up attempts=1 outcome=committed statements=1 round_trips=1 savepoints=0
}
