package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/interlock-go/interlock/txn"
)

// A program opens one DB and gives it to all that begin transactions.
func ExampleOpen() {
	ctx := context.Background()
	url, done := exampleDatabase() // postgres://user:password@host/database
	defer done()

	d, err := txn.Open(ctx, url, txn.Config{
		Options:        txn.Options{LockTimeout: 2 * time.Second, IdleTimeout: time.Minute}, // unless a call says otherwise
		AcquireTimeout: 5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	err = txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		var limit string
		if err := tx.QueryRow(ctx, "show lock_timeout").Scan(&limit); err != nil {
			return err
		}
		fmt.Println(limit)
		return nil
	})
	fmt.Println(err)

	_, err = txn.Open(ctx, url, txn.Config{Options: txn.Options{LockTimeout: -time.Second}})
	wrong, _ := errors.AsType[*txn.OptionsError](err)
	fmt.Println(wrong.Field)

	// Output:
	// 2s
	// <nil>
	// LockTimeout
}

// Behind a connection pooler that gives sessions out for a transaction. This one keeps no
// prepared statements apart, so none are used.
func ExampleConfig_pooler() {
	ctx := context.Background()
	url, done := exampleDatabase()
	defer done()

	url += "&default_query_exec_mode=exec"
	d, err := txn.Open(ctx, url, txn.Config{Pooler: true})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	fmt.Println(txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "insert into users (email) values ($1)", "ada@example.com")
		return err
	}))

	// Output:
	// <nil>
}

// A pool that is configured by the program itself.
func ExampleNew() {
	ctx := context.Background()
	url, done := exampleDatabase()
	defer done()

	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		log.Fatal(err)
	}
	cfg.MaxConns = 3
	txn.ConfigurePool(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	d := txn.New(pool, txn.Config{})
	fmt.Println(txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ('ada@example.com')")
		return nil
	}))

	// Output:
	// <nil>
}

// A request that is given up does not cost its connection.
func ExampleConfigurePool() {
	ctx := context.Background()
	url, done := exampleDatabase()
	defer done()

	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		log.Fatal(err)
	}
	cfg.MaxConns = 1
	txn.ConfigurePool(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	d := txn.New(pool, txn.Config{})

	session := func(ctx context.Context, rx *txn.ReadTx) (pid int, err error) {
		err = rx.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid)
		return pid, err
	}
	before, err := txn.WithReadTxValue(ctx, d, txn.Options{}, session)
	if err != nil {
		log.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	err = txn.WithReadTx(impatient, d, txn.Options{Label: "report"}, func(ctx context.Context, rx *txn.ReadTx) error {
		rows, err := rx.Query(ctx, "select pg_sleep(60)")
		if err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	})
	fmt.Println(errors.Is(err, context.DeadlineExceeded), txn.SQLState(err)) // query_canceled
	after, err := txn.WithReadTxValue(ctx, d, txn.Options{}, session)
	fmt.Println(after == before, err)

	// Output:
	// true 57014
	// true <nil>
}

// What transactions are not for, such as LISTEN, goes through the pool.
func ExampleDB_Pool() {
	ctx := context.Background()
	d, done := exampleDB()
	defer done()

	listener, err := d.Pool().Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Release()
	if _, err := listener.Exec(ctx, "listen sign_up"); err != nil {
		log.Fatal(err)
	}
	err = txn.WithTx(ctx, d, txn.Options{Label: "sign-up"}, func(ctx context.Context, tx *txn.Tx) error {
		tx.Queue("insert into users (email) values ($1)", "ada@example.com")
		tx.Queue("select pg_notify('sign_up', $1)", "ada@example.com") // sent by COMMIT
		return nil
	})
	fmt.Println(err)
	heard, err := listener.Conn().WaitForNotification(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(heard.Channel, heard.Payload)

	// Output:
	// <nil>
	// sign_up ada@example.com
}

// Close at the end of a program waits for the transactions that still run.
func ExampleDB_Close() {
	ctx := context.Background()
	url, done := exampleDatabase()
	defer done()

	d, err := txn.Open(ctx, url, txn.Config{})
	if err != nil {
		log.Fatal(err)
	}
	begun := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- txn.WithTx(ctx, d, txn.Options{Label: "last"}, func(ctx context.Context, tx *txn.Tx) error {
			_, err := tx.Exec(ctx, "insert into users (email) values ('ada@example.com')")
			close(begun)
			return err
		})
	}()
	<-begun
	d.Close()
	fmt.Println(<-ended)
	fmt.Println(d.Pool().Stat().TotalConns(), "connections")

	// Output:
	// <nil>
	// 0 connections
}
