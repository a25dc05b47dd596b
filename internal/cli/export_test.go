package cli

import (
	"context"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Tampered is Main for a demonstration whose books somebody changes, as the superuser, before
// they are checked.
func Tampered(ctx context.Context, tamper func(context.Context, *pgxpool.Pool) error, args []string, stdout, stderr io.Writer) int {
	return run(ctx, rootCommand(&demo{beforeReport: tamper}), args, stdout, stderr)
}
