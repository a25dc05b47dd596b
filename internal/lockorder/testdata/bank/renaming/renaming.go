package renaming

import (
	"context"

	"example.com/bank/bank"
	"github.com/interlock-go/interlock/txn"
)

func Rename(ctx context.Context, t txn.Transactor) error {
	return bank.Lock(ctx, t, bank.LockUser, bank.LockAccount)
}
