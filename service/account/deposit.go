package account

import (
	"context"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A DepositRequest asks for money from outside to be put into a customer's account.
type DepositRequest struct {
	Account int64
	Amount  money.Minor // more than zero
	Key     string      // names the request, see the package documentation; 1 to 200 characters
	Memo    string      // at most 500 characters
}

// Deposit puts money into an account, once for each key: it adds to the balance. The server
// adds, under the account's lock, so that of two at once none is lost.
//
// It locks the account FOR NO KEY UPDATE: others who insert rows that refer to it do not wait.
// Any isolation level is enough. In a transaction of its own it takes two round trips.
//
// It is refused with ErrAmountNotPositive, ErrUnknownAccount, ErrNotOpen, ErrBalanceOverflow,
// ErrKeyReused or ErrInvalid.
func Deposit(ctx context.Context, t txn.Transactor, r DepositRequest) (Receipt, error) {
	m := movement{kind: db.TransferKindDeposit, key: r.Key, system: codeExternal, to: r.Account, amount: r.Amount, memo: r.Memo}
	return m.carryOut(ctx, t, "account: deposit")
}

// A WithdrawRequest asks for money to be paid out of a customer's account.
type WithdrawRequest struct {
	Account int64
	Amount  money.Minor // more than zero
	Key     string      // names the request, see the package documentation; 1 to 200 characters
	Memo    string      // at most 500 characters
}

// Withdraw takes money out of an account, once for each key. It looks at the balance under the
// account's lock, and the server subtracts.
//
// It locks the account FOR NO KEY UPDATE. Any isolation level is enough. In a transaction of
// its own it takes two round trips.
//
// It is refused with ErrAmountNotPositive, ErrUnknownAccount, ErrNotOpen,
// ErrInsufficientFunds, ErrKeyReused or ErrInvalid.
func Withdraw(ctx context.Context, t txn.Transactor, r WithdrawRequest) (Receipt, error) {
	m := movement{kind: db.TransferKindWithdrawal, key: r.Key, from: r.Account, system: codeExternal, amount: r.Amount, memo: r.Memo}
	return m.carryOut(ctx, t, "account: withdraw")
}
