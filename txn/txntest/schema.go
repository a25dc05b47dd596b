package txntest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Schema is the state of a database that tests start from.
type Schema interface {
	// Key identifies what Apply does: it changes whenever that changes, as a hash of the
	// migrations does.
	Key() (string, error)

	// Apply brings an empty database to the state. ownerURL connects as its owner.
	Apply(ctx context.Context, ownerURL string) error
}

// SQL is the schema that the statements make, run in order in one transaction.
func SQL(statements ...string) Schema { return sqlSchema(statements) }

type sqlSchema []string

func (s sqlSchema) Key() (string, error) {
	h := sha256.New()
	for _, statement := range s {
		fmt.Fprintf(h, "%d\x00%s", len(statement), statement)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (s sqlSchema) Apply(ctx context.Context, ownerURL string) error {
	return connected(ctx, ownerURL, func(c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			for _, statement := range s {
				if _, err := tx.Exec(ctx, statement); err != nil {
					return fmt.Errorf("%w in: %s", err, statement)
				}
			}
			return nil
		})
	})
}

// connected runs do on a connection of its own.
func connected(ctx context.Context, url string, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	return do(c)
}
