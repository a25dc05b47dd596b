package account

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// A Receipt says what a request did.
type Receipt struct {
	TransferID int64 // in table transfers
	Amount     money.Minor
	At         time.Time // when its transaction began, by the server's clock

	// Replayed is true when an earlier call with the same key had moved the money, and this
	// one moved none.
	Replayed bool
}

// A movement is money about to go from one account to another, for whatever reason.
type movement struct {
	kind     db.TransferKind
	key      string // "" for a welcome bonus only
	from, to int64
	amount   money.Minor
	memo     string
}

// codeExternal and codeBonus are the codes of the system accounts, which the migrations make.
const (
	codeExternal = "external"
	codeBonus    = "bonus"
)

// check refuses what can never be right, before anything is sent.
func (m movement) check() error {
	switch {
	case m.amount <= 0:
		return ErrAmountNotPositive
	case m.key == "":
		return &InvalidError{Field: "Key"}
	case m.kind == db.TransferKindTransfer && m.from == m.to:
		return ErrSameAccount
	}
	return nil
}

// carryOut makes the movement once. The locked are the customers' accounts of the two that
// exist, under locks that the caller has taken.
func (m movement) carryOut(ctx context.Context, q db.WriteQuerier, locked ...db.Account) (Receipt, error) {
	if refusal := m.refusal(locked); refusal != nil {
		// A request that was carried out before stays so, though it would be refused today:
		// its own money is gone, for instance.
		receipt, err := m.replay(ctx, q)
		if errors.Is(err, txn.ErrNotFound) {
			return Receipt{}, refusal
		}
		return receipt, err
	}
	var key *string
	if m.key != "" {
		key = &m.key
	}
	done, err := q.RecordTransfer(ctx, db.RecordTransferParams{
		Kind: m.kind, IdempotencyKey: key, FromAccount: m.from, ToAccount: m.to, AmountMinor: m.amount, Memo: m.memo,
	})
	switch {
	case errors.Is(err, txn.ErrNotFound):
		return m.replay(ctx, q)
	case err != nil:
		return Receipt{}, fmt.Errorf("record %s: %w", m.kind, refused(err))
	case done.BalancesChanged != int64(len(locked)):
		// The locks make this impossible; money must not go astray if they were not taken.
		return Receipt{}, &txn.AffectedError{Query: "RecordTransfer", None: done.BalancesChanged == 0,
			Want: int64(len(locked)), Got: done.BalancesChanged}
	}
	return Receipt{TransferID: done.ID, Amount: m.amount, At: done.CreatedAt}, nil
}

// refusal returns why the movement cannot be made, or nil.
func (m movement) refusal(locked []db.Account) error {
	for _, id := range m.customers() {
		if !slices.ContainsFunc(locked, func(a db.Account) bool { return a.ID == id && a.Kind == db.AccountKindCustomer }) {
			return &UnknownAccountError{AccountID: id}
		}
	}
	for _, a := range locked {
		switch {
		case a.Status != db.AccountStatusOpen:
			return &NotOpenError{AccountID: a.ID, Status: a.Status}
		case a.ID == m.from && a.BalanceMinor < m.amount:
			return &InsufficientFundsError{AccountID: a.ID, Available: a.BalanceMinor, Needed: m.amount}
		case a.ID == m.to && a.BalanceMinor > math.MaxInt64-m.amount:
			return fmt.Errorf("%w: account %d", ErrBalanceOverflow, a.ID)
		}
	}
	return nil
}

// customers returns which of the two accounts must be customers', as the transfer's kind says.
func (m movement) customers() []int64 {
	switch m.kind {
	case db.TransferKindDeposit, db.TransferKindWelcomeBonus:
		return []int64{m.to}
	case db.TransferKindWithdrawal:
		return []int64{m.from}
	}
	return []int64{m.from, m.to}
}

// replay returns the receipt of the earlier request with the movement's key. The error is
// txn.ErrNotFound if there is none.
func (m movement) replay(ctx context.Context, q db.ReadQuerier) (Receipt, error) {
	if m.key == "" {
		return Receipt{}, txn.ErrNotFound
	}
	t, err := q.FindTransferByKey(ctx, m.key)
	if err != nil {
		return Receipt{}, fmt.Errorf("find the transfer of a key: %w", refused(err))
	}
	if !m.describes(t) {
		return Receipt{}, fmt.Errorf("%w: key %q", ErrKeyReused, m.key)
	}
	return receiptOf(t), nil
}

// describes reports whether t is what the movement asks for. The system's side follows from
// the kind.
func (m movement) describes(t db.Transfer) bool {
	return t.Kind == m.kind && t.AmountMinor == m.amount && t.Memo == m.memo &&
		(t.FromAccount == m.from || t.FromKind == db.AccountKindSystem) &&
		(t.ToAccount == m.to || t.ToKind == db.AccountKindSystem)
}

func receiptOf(t db.Transfer) Receipt {
	return Receipt{TransferID: t.ID, Amount: t.AmountMinor, At: t.CreatedAt, Replayed: true}
}
