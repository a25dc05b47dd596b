package account

import (
	"context"
	"errors"
	"fmt"

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

// Deposit puts money into an account, once for each key.
//
// It is refused with ErrAmountNotPositive, ErrUnknownAccount, ErrNotOpen, ErrBalanceOverflow,
// ErrKeyReused or ErrInvalid.
func Deposit(ctx context.Context, t txn.Transactor, r DepositRequest) (Receipt, error) {
	m := movement{kind: db.TransferKindDeposit, key: r.Key, to: r.Account, amount: r.Amount, memo: r.Memo}
	return across(ctx, t, "account: deposit", m, r.Account)
}

// A WithdrawRequest asks for money to be paid out of a customer's account.
type WithdrawRequest struct {
	Account int64
	Amount  money.Minor // more than zero
	Key     string      // names the request, see the package documentation; 1 to 200 characters
	Memo    string      // at most 500 characters
}

// Withdraw takes money out of an account, once for each key.
//
// It is refused with ErrAmountNotPositive, ErrUnknownAccount, ErrNotOpen,
// ErrInsufficientFunds, ErrKeyReused or ErrInvalid.
func Withdraw(ctx context.Context, t txn.Transactor, r WithdrawRequest) (Receipt, error) {
	m := movement{kind: db.TransferKindWithdrawal, key: r.Key, from: r.Account, amount: r.Amount, memo: r.Memo}
	return across(ctx, t, "account: withdraw", m, r.Account)
}

// across makes a movement between a customer's account and the world.
func across(ctx context.Context, t txn.Transactor, label string, m movement, customer int64) (Receipt, error) {
	if err := m.check(); err != nil {
		return Receipt{}, err
	}
	return txn.WithTxValue(ctx, t, txn.Options{Label: label}, func(ctx context.Context, tx *txn.Tx) (Receipt, error) {
		return m.withSystem(ctx, db.New(tx), customer, codeExternal)
	})
}

// withSystem makes a movement whose other side is the system account of that code. Only the
// customer's account is locked.
func (m movement) withSystem(ctx context.Context, q db.LockQuerier, customer int64, code string) (Receipt, error) {
	row, err := q.LockAccountWithSystem(ctx, db.LockAccountWithSystemParams{ID: customer, SystemCode: code})
	if errors.Is(err, txn.ErrNotFound) {
		return m.carryOut(ctx, q)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("lock account: %w", err)
	}
	if m.kind == db.TransferKindWithdrawal {
		m.to = row.SystemAccount
	} else {
		m.from = row.SystemAccount
	}
	return m.carryOut(ctx, q, row.Account)
}
