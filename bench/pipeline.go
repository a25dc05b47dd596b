package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/interlock-go/interlock/txn"
)

// What is here sends statements together, as far as the transfer allows.

// lockBoth is the first half of the transfer in one statement: it takes the locks in the
// order of the ids.
const lockBoth = "select id, balance from wallets where id = any($1) order by id for no key update"

// look reads the answer to lockBoth.
func look(rows pgx.Rows, from, amount int64) error {
	var id, balance, seen int64
	enough := false
	_, err := pgx.ForEachRow(rows, []any{&id, &balance}, func() error {
		seen++
		enough = enough || id == from && balance >= amount
		return nil
	})
	switch {
	case err != nil:
		return err
	case seen != 2:
		return fmt.Errorf("bench: %d of 2 accounts: %w", seen, pgx.ErrNoRows)
	case !enough:
		return errFunds
	}
	return nil
}

// openQueued decides in Go: the locks cost one round trip, and the updates travel with
// COMMIT. They cannot miss, since both rows are locked.
func openQueued(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "transfer"}, func(ctx context.Context, tx *txn.Tx) error {
			rows, err := tx.Query(ctx, lockBoth, []int64{from, to})
			if err != nil {
				return err
			}
			if err := look(rows, from, amount); err != nil {
				return err
			}
			tx.Queue(addSQL, from, -amount)
			tx.Queue(addSQL, to, amount)
			return nil
		})
	}, d.Close, nil
}

// addOrFail is addSQL that fails by itself when there is no such account: where it travels
// with COMMIT, whoever counts rows afterwards counts too late.
const addOrFail = `with added as (update wallets set balance = balance + $2 where id = $1 returning 1)
select case (select count(*) from added) when 1 then 0 else (-1)::information_schema.cardinal_number end`

// openOneFlush decides in the server: the table's CHECK refuses a negative balance, and
// everything travels at once. The updates come in the order of the ids, since they take the
// locks.
func openOneFlush(ctx context.Context, url string, conns int) (transfer, func(), error) {
	d, err := openDB(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return txn.WithTx(ctx, d, txn.Options{Label: "transfer"}, func(_ context.Context, tx *txn.Tx) error {
			for _, c := range changes(from, to, amount) {
				tx.Queue(addOrFail, c.id, c.amount).OnError(refused)
			}
			return nil
		})
	}, d.Close, nil
}

// A change is what a transfer does to one account.
type change struct{ id, amount int64 }

// changes are a transfer's, in the order of the ids.
func changes(from, to, amount int64) [2]change {
	both := [2]change{{from, -amount}, {to, amount}}
	if from > to {
		both[0], both[1] = both[1], both[0]
	}
	return both
}

// refused names the constraints that decide for openOneFlush.
func refused(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok || pg.Code != "23514":
		return nil
	case pg.SchemaName == "information_schema" && pg.DataTypeName == "cardinal_number":
		return pgx.ErrNoRows
	case pg.ConstraintName == "wallets_balance_check":
		return errFunds
	}
	return nil
}

// openPGXBatch is openQueued by hand, with pgx alone: BEGIN in the batch of the locks, COMMIT
// in that of the updates. Like pgx's own transactions it does not repeat anything.
func openPGXBatch(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		var lock, change pgx.Batch
		lock.BeginTx(pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		lock.Queue(lockBoth, []int64{from, to}).Query(func(rows pgx.Rows) error { return look(rows, from, amount) })
		locked := conn.SendBatch(ctx, &lock)
		tx := locked.Tx()
		if err := locked.Close(); err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
		change.Queue(addSQL, from, -amount)
		change.Queue(addSQL, to, amount)
		// pgx does not know that this ends the transaction, so tx is of no use behind it.
		change.Queue("commit").Exec(committed)
		if err := conn.SendBatch(ctx, &change).Close(); err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
		return nil
	}, pool.Close, nil
}

// beginSQL is what txn sends, and says which isolation it wants whatever the server's default.
const beginSQL = "begin isolation level read committed read write"

// committed refuses the answer to a COMMIT that the server took for a ROLLBACK.
func committed(tag pgconn.CommandTag) error {
	if tag.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// openPGXOneFlush is openOneFlush by hand.
func openPGXOneFlush(ctx context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openPool(ctx, url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		var b pgx.Batch
		b.Queue(beginSQL)
		for _, c := range changes(from, to, amount) {
			b.Queue(addOrFail, c.id, c.amount)
		}
		b.Queue("commit").Exec(committed)
		err = conn.SendBatch(ctx, &b).Close()
		if err == nil {
			return nil
		}
		_, _ = conn.Exec(ctx, "rollback")
		if known := refused(err); known != nil {
			return known
		}
		return err
	}, pool.Close, nil
}
