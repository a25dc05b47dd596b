package account

import (
	"context"
	"errors"
	"fmt"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// WelcomeBonus is what a user gets once.
const WelcomeBonus money.Minor = 1000

// GrantWelcomeBonus pays the welcome bonus to an account whose owner has not had it, such as
// one from before there was a bonus. If the owner has had it, on this account or another, the
// receipt is that of the time, with Replayed set. New users get it by SignUp.
//
// It locks the owner and then the account, both FOR NO KEY UPDATE, and is right at each
// isolation level.
//
// It is refused with ErrUnknownAccount, ErrNotOpen or ErrBalanceOverflow.
func GrantWelcomeBonus(ctx context.Context, t txn.Transactor, account int64) (Receipt, error) {
	opts := txn.Options{
		Label: "account: welcome bonus",
		// Above READ COMMITTED the snapshot may be older than the user's lock: then the bonus
		// that another call has paid is not seen, but met in the primary key. The next attempt
		// sees it.
		RetryAlso: []string{stateUniqueViolation},
	}
	return txn.WithTxValue(ctx, t, opts, func(ctx context.Context, tx *txn.Tx) (Receipt, error) {
		q := db.New(tx)
		a, err := q.GetAccount(ctx, account)
		if errors.Is(err, txn.ErrNotFound) || err == nil && a.UserID == nil {
			return Receipt{}, &UnknownAccountError{AccountID: account}
		}
		if err != nil {
			return Receipt{}, fmt.Errorf("welcome bonus: %w", err)
		}
		// The bonus is the user's, not the account's: two calls for two accounts of one user
		// must meet.
		if _, err := q.LockUser(ctx, *a.UserID); err != nil {
			return Receipt{}, fmt.Errorf("welcome bonus: %w", err)
		}
		had, err := q.FindWelcomeBonus(ctx, *a.UserID)
		if err == nil {
			return receiptOf(had), nil
		}
		if !errors.Is(err, txn.ErrNotFound) {
			return Receipt{}, fmt.Errorf("welcome bonus: %w", err)
		}
		return payBonus(ctx, tx, *a.UserID, account)
	})
}

// payBonus pays the bonus to a user who, as the caller knows, has not had it.
func payBonus(ctx context.Context, tx *txn.Tx, user, account int64) (Receipt, error) {
	receipt, err := welcomeBonus(account).make(ctx, tx, "")
	if err != nil {
		return Receipt{}, fmt.Errorf("welcome bonus: %w", err)
	}
	db.New(tx).Queued().CreateWelcomeBonus(db.CreateWelcomeBonusParams{UserID: user, TransferID: receipt.TransferID})
	return receipt, nil
}

func welcomeBonus(account int64) movement {
	return movement{kind: db.TransferKindWelcomeBonus, system: codeBonus, to: account, amount: WelcomeBonus}
}
