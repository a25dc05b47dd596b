package account

import (
	"context"

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
	return welcomeBonus(account).make(ctx, t, "account: welcome bonus")
}

// welcomeBonus is the bonus on its way to an account.
func welcomeBonus(account int64) movement {
	return movement{kind: db.TransferKindWelcomeBonus, system: codeBonus, to: account, amount: WelcomeBonus}
}
