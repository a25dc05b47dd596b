package closing

import (
	"context"

	"example.com/bank/bank"
	"github.com/interlock-go/interlock/txn"
)

func Close(ctx context.Context, t txn.Transactor) error {
	return bank.Lock(ctx, t, bank.LockAccount, bank.LockUser)
}
