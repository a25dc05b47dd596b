package bench

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

// openSQL is database/sql on pgx's driver.
func openSQL(url string, conns int, mode pgx.QueryExecMode) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = mode
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	return pool, nil
}

type gormWallet struct {
	ID      int64 `gorm:"primaryKey"`
	Balance int64
}

func (gormWallet) TableName() string { return "wallets" }

func openGORM(_ context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openSQL(url, conns, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return nil, nil, err
	}
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		_ = pool.Close()
		return nil, nil, err
	}
	add := func(tx *gorm.DB, id, amount int64) error {
		res := tx.Model(&gormWallet{ID: id}).Update("balance", gorm.Expr("balance + ?", amount))
		if res.Error != nil {
			return res.Error
		}
		return single(res.RowsAffected)
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
			if err := add(tx, from, -amount); err != nil {
				return err
			}
			return add(tx, to, amount)
		})
	}, func() { _ = pool.Close() }, nil
}

type bunWallet struct {
	bun.BaseModel `bun:"table:wallets"`
	ID            int64 `bun:",pk"`
	Balance       int64
}

// openBun has the simple protocol, since bun writes the arguments into the text: each text
// would be prepared, and used for these arguments alone.
func openBun(_ context.Context, url string, conns int) (transfer, func(), error) {
	pool, err := openSQL(url, conns, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, nil, err
	}
	b := bun.NewDB(pool, pgdialect.New())
	add := func(ctx context.Context, tx bun.Tx, id, amount int64) error {
		res, err := tx.NewUpdate().Model(&bunWallet{ID: id}).Set("balance = balance + ?", amount).WherePK().Exec(ctx)
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		if err != nil {
			return err
		}
		return single(rows)
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
			if err := add(ctx, tx, from, -amount); err != nil {
				return err
			}
			return add(ctx, tx, to, amount)
		})
	}, func() { _ = b.Close() }, nil
}
