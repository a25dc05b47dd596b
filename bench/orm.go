package main

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

// openSQL is database/sql on pgx's driver. Like pgx's pool it asks a connection that was idle
// for a second whether it lives. Here all are idle while others have their turn, and nobody asks.
func openSQL(url string, conns int, mode pgx.QueryExecMode) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = mode
	pool := stdlib.OpenDB(*cfg, stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	return pool, nil
}

type gormWallet struct {
	ID      int64 `gorm:"primaryKey"`
	Balance int64
}

func (gormWallet) TableName() string { return "wallets" }

func gormOn(url string, conns int) (*gorm.DB, func(), error) {
	pool, err := openSQL(url, conns, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = pool.Close() }
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		done()
		return nil, nil, err
	}
	return g, done, nil
}

func gormAdd(g *gorm.DB, id, amount int64) error {
	res := g.Model(&gormWallet{ID: id}).Update("balance", gorm.Expr("balance + ?", amount))
	if res.Error != nil {
		return res.Error
	}
	return single(res.RowsAffected)
}

func openGORM(_ context.Context, url string, conns int) (transfer, func(), error) {
	g, done, err := gormOn(url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return g.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			for _, id := range [2]int64{min(from, to), max(from, to)} {
				var w gormWallet
				if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Take(&w, id).Error; err != nil {
					return err
				}
				if id == from && w.Balance < amount {
					return errFunds
				}
			}
			if err := gormAdd(tx, from, -amount); err != nil {
				return err
			}
			return gormAdd(tx, to, amount)
		})
	}, done, nil
}

type bunWallet struct {
	bun.BaseModel `bun:"table:wallets"`
	ID            int64 `bun:",pk"`
	Balance       int64
}

// bunOn has the simple protocol, since bun writes the arguments into the text: each text
// would be prepared, and used for these arguments alone.
func bunOn(url string, conns int) (*bun.DB, func(), error) {
	pool, err := openSQL(url, conns, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, nil, err
	}
	b := bun.NewDB(pool, pgdialect.New())
	return b, func() { _ = b.Close() }, nil
}

func bunAdd(ctx context.Context, b bun.IDB, id, amount int64) error {
	res, err := b.NewUpdate().Model(&bunWallet{ID: id}).Set("balance = balance + ?", amount).WherePK().Exec(ctx)
	if err != nil {
		return err
	}
	rows, err := res.RowsAffected()
	if err != nil {
		return err
	}
	return single(rows)
}

func openBun(_ context.Context, url string, conns int) (transfer, func(), error) {
	b, done, err := bunOn(url, conns)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, from, to, amount int64) error {
		return b.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			for _, id := range [2]int64{min(from, to), max(from, to)} {
				w := bunWallet{ID: id}
				if err := tx.NewSelect().Model(&w).WherePK().For("NO KEY UPDATE").Scan(ctx); err != nil {
					return err
				}
				if id == from && w.Balance < amount {
					return errFunds
				}
			}
			if err := bunAdd(ctx, tx, from, -amount); err != nil {
				return err
			}
			return bunAdd(ctx, tx, to, amount)
		})
	}, done, nil
}
