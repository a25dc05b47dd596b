package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/sqlcbind"
)

// What is here changes one account in one statement: where Interlock has the least to save. As
// a transfer it moves amount out of from; to is left alone.

// statements begin with the one that the others are compared with.
var statements = []contender{
	{name: "raw", open: statementRaw, trips: 1},
	{name: "pgxbatch", open: statementBatch, trips: 1},
	{name: "pgxbatch+commit", open: statementBatchCommit, trips: 2},
	{name: "begintxfunc", open: statementBegin, trips: 3},
	{name: "autocommit", open: statementAutocommit, trips: 1},
	{name: "queued", open: statementQueued, trips: 1},
	{name: "interlock", open: statementInterlock, trips: 2},
	{name: "gorm", open: statementGORM, trips: 3},
	{name: "bun", open: statementBun, trips: 1},
}

// A pair is one of Interlock's ways and the same by hand, with as many round trips.
type pair struct{ ours, byHand string }

var pairs = []pair{
	{"autocommit", "raw"},
	{"queued", "pgxbatch"},
	{"interlock", "pgxbatch+commit"},
}

func statementRaw(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error { return add(ctx, pool, from, -amount) }, pool.Close, nil
}

// statementBegin is what a helper for transactions costs that does not send things together.
func statementBegin(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error {
		return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			return add(ctx, tx, from, -amount)
		})
	}, pool.Close, nil
}

// statementBatch sends BEGIN, the statement and COMMIT at once.
func statementBatch(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error {
		var b pgx.Batch
		b.Queue(beginSQL)
		b.Queue(addOrFail, from, -amount)
		b.Queue("commit").Exec(committed)
		return pool.SendBatch(ctx, &b).Close()
	}, pool.Close, nil
}

// statementBatchCommit sends BEGIN and the statement at once, and COMMIT after a look at the
// answer.
func statementBatchCommit(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		var b pgx.Batch
		b.BeginTx(pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		b.Queue(addSQL, from, -amount).Exec(one)
		br := conn.SendBatch(ctx, &b)
		tx := br.Tx()
		if err := br.Close(); err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
		return tx.Commit(ctx)
	}, pool.Close, nil
}

// statementAutocommit does what generated code does on a *txn.DB.
func statementAutocommit(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	auto := sqlcbind.Autocommit(d)
	return func(ctx context.Context, from, _, amount int64) error { return add(ctx, auto, from, -amount) }, d.Close, nil
}

func statementInterlock(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "add"}, func(ctx context.Context, tx *txn.Tx) error {
			return add(ctx, tx, from, -amount)
		})
	}, d.Close, nil
}

func statementQueued(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "add"}, func(_ context.Context, tx *txn.Tx) error {
			tx.Queue(addOrFail, from, -amount)
			return nil
		})
	}, d.Close, nil
}

// statementGORM has GORM's default, a transaction around each statement that writes.
func statementGORM(_ context.Context, url string, conns int) (transfer, func(), error) {
	g, done, err := gormOn(url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error {
		return gormAdd(g.Session(&gorm.Session{Context: ctx}), from, -amount)
	}, done, nil
}

func statementBun(_ context.Context, url string, conns int) (transfer, func(), error) {
	b, done, err := bunOn(url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, _, amount int64) error { return bunAdd(ctx, b, from, -amount) }, done, nil
}
