package account

import (
	"context"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A TransferRequest asks for money to move from one customer's account to another's.
type TransferRequest struct {
	From, To int64       // accounts
	Amount   money.Minor // more than zero
	Key      string      // names the request, see the package documentation; 1 to 200 characters
	Memo     string      // for both sides to read; at most 500 characters
}

// Transfer moves money from one account to another, once for each key. It locks both accounts
// FOR NO KEY UPDATE, in the order of their ids, and is right at each isolation level.
//
// It is refused with ErrAmountNotPositive, ErrSameAccount, ErrUnknownAccount, ErrNotOpen,
// ErrInsufficientFunds, ErrBalanceOverflow, ErrKeyReused or ErrInvalid.
func Transfer(ctx context.Context, t txn.Transactor, r TransferRequest) (Receipt, error) {
	m := movement{kind: db.TransferKindTransfer, key: r.Key, from: r.From, to: r.To, amount: r.Amount, memo: r.Memo}
	return m.carryOut(ctx, t, "account: transfer")
}
