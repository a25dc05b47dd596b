package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	crdbpgx "github.com/cockroachdb/cockroach-go/v2/crdb/crdbpgxv5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"gorm.io/gorm"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

// A transfer moves money between two accounts, in a transaction of its own.
type transfer func(ctx context.Context, from, to, amount int64) error

// A contender is a way to write the transfer.
type contender struct {
	name string

	// books: it is the reference application's transfer, on its tables. The others have the
	// table wallets, and do no more than lock, look and move.
	books bool

	// open connects to a database with at most conns connections. Statements are prepared
	// and kept where the contender can.
	open func(ctx context.Context, url string, conns int) (t transfer, done func(), err error)

	refusal error // what the transfer returns when there is too little money
	unknown error // and when there is no such account
	trips   int   // round trips of a transfer
}

// contenders begin with the one that the others are compared with.
var contenders = []contender{
	{name: "raw", open: openRaw, trips: 6, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "begintxfunc", open: openBeginTxFunc, trips: 6, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "pgxbatch", open: openPGXBatch, trips: 2, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "pgxoneflush", open: openPGXOneFlush, trips: 1, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "interlock", open: openInterlock, trips: 5, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "queued", open: openQueued, trips: 2, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "oneflush", open: openOneFlush, trips: 1, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "generated", open: openGenerated, trips: 2, books: true, refusal: account.ErrInsufficientFunds, unknown: account.ErrUnknownAccount},
	{name: "crdbpgxv5", open: openCRDB, trips: 8, refusal: errFunds, unknown: pgx.ErrNoRows},
	{name: "gorm", open: openGORM, trips: 6, refusal: errFunds, unknown: gorm.ErrRecordNotFound},
	{name: "bun", open: openBun, trips: 6, refusal: errFunds, unknown: sql.ErrNoRows},
}

// errFunds is returned when there is too little money in the account that is to give.
var errFunds = errors.New("bench: insufficient funds")

// executor is what pgx's pool, its transactions and Interlock's have in common.
type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// sender can ask, too.
type sender interface {
	executor
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// move is the transfer in four statements. The ones who write SQL share it, so that they
// differ in the transaction around it alone. The accounts are locked in the order of their
// ids.
func move(ctx context.Context, tx sender, from, to, amount int64) error {
	for _, id := range [2]int64{min(from, to), max(from, to)} {
		var balance int64
		err := tx.QueryRow(ctx, "select balance from wallets where id = $1 for no key update", id).Scan(&balance)
		if err != nil {
			return err
		}
		if id == from && balance < amount {
			return errFunds
		}
	}
	if err := add(ctx, tx, from, -amount); err != nil {
		return err
	}
	return add(ctx, tx, to, amount)
}

const addSQL = "update wallets set balance = balance + $2 where id = $1"

func add(ctx context.Context, tx executor, id, amount int64) error {
	tag, err := tx.Exec(ctx, addSQL, id, amount)
	if err != nil {
		return err
	}
	return one(tag)
}

// one refuses an update that did not change one row.
func one(tag pgconn.CommandTag) error { return single(tag.RowsAffected()) }

// single is one for those who have a number.
func single(rows int64) error {
	if rows != 1 {
		return fmt.Errorf("bench: an update changed %d rows", rows)
	}
	return nil
}

func openRaw(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		tx, err := pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if err := move(ctx, tx, from, to, amount); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}, pool.Close, nil
}

func openBeginTxFunc(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			return move(ctx, tx, from, to, amount)
		})
	}, pool.Close, nil
}

// openCRDB repeats the transaction where that helps, by way of a savepoint. It is made for
// CockroachDB, where to release that savepoint is to commit: on PostgreSQL it takes no
// notice of a COMMIT that failed.
func openCRDB(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return crdbpgx.ExecuteTx(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
			return move(ctx, tx, from, to, amount)
		})
	}, pool.Close, nil
}

func openInterlock(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "transfer"}, func(ctx context.Context, tx *txn.Tx) error {
			return move(ctx, tx, from, to, amount)
		})
	}, d.Close, nil
}

// openGenerated is the transfer as the reference application has it: two statements, which
// also keep a ledger, check the accounts' status, and recognise a request sent twice.
func openGenerated(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	var requests atomic.Int64
	return func(ctx context.Context, from, to, amount int64) error {
		_, err := account.Transfer(ctx, d, account.TransferRequest{
			From: from, To: to, Amount: money.Minor(amount), Key: fmt.Sprintf("bench-%d", requests.Add(1)),
		})
		return err
	}, d.Close, nil
}

func openPool(ctx context.Context, url string, conns int, configure ...func(*pgxpool.Config)) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(conns)
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // see openSQL
	for _, f := range configure {
		f(cfg)
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

func openDB(ctx context.Context, url string, conns int) (*txn.DB, error) {
	pool, err := openPool(ctx, url, conns, txn.ConfigurePool)
	if err != nil {
		return nil, err
	}
	return txn.New(pool, txn.Config{}), nil
}
