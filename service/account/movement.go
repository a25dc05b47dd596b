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
	system   string // code of the system account on one side, whose id is not known yet; or ""
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

// carryOut makes the movement once, in a transaction of t.
//
// In a transaction of its own it takes two round trips: one asks for all that decides, the
// other one carries the movement and COMMIT. In one that goes on, the caller wants to know
// now.
func (m movement) carryOut(ctx context.Context, t txn.Transactor, label string) (Receipt, error) {
	if err := m.check(); err != nil {
		return Receipt{}, err
	}
	return m.make(ctx, t, label)
}

func (m movement) make(ctx context.Context, t txn.Transactor, label string) (Receipt, error) {
	opts := txn.Options{Label: label, FlushJoined: true} // the receipt is in an answer
	if m.once() {
		// Above READ COMMITTED the snapshot may be older than the owner's lock: then the bonus
		// that another call has paid is not seen, but met in the primary key. The next attempt
		// sees it.
		opts.RetryAlso = []string{stateUniqueViolation}
	}
	o, err := txn.WithTxValue(ctx, t, opts, m.order)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := o.receipt(ctx, t)
	if err != nil && !errors.Is(err, ErrKeyReused) && o.answerLost() {
		return Receipt{}, &txn.HookError{Label: label, Err: err} // the money has moved
	}
	return receipt, err
}

// An order is a movement that was found to have been made before, or is on its way.
type order struct {
	movement
	before *db.Transfer
	row    *txn.Pending[db.RecordTransferRow]
}

// order decides whether the movement can be made, and queues it.
func (m movement) order(ctx context.Context, tx *txn.Tx) (order, error) {
	q := db.New(tx)
	if m.once() {
		// The bonus is the user's, not the account's: calls for two accounts of one user must
		// meet.
		q.Queued().LockUserOfAccount(m.to)
	}
	locking := q.Queued().LockAccounts(m.customers())
	var system *txn.Pending[db.Account]
	if m.system != "" {
		system = q.Queued().GetSystemAccount(m.system)
	}
	// After the locks: what another call with the key did under them is seen here.
	before, err := m.find(ctx, q)
	if err == nil {
		// It stays made, though it would be refused today: its own money is gone, for instance.
		return order{movement: m, before: &before}, m.same(before)
	}
	if !errors.Is(err, txn.ErrNotFound) {
		return order{}, fmt.Errorf("%s: %w", m.kind, refused(err))
	}
	locked, err := locking.Value()
	if err != nil {
		return order{}, fmt.Errorf("lock accounts: %w", err)
	}
	if err := m.refusal(locked); err != nil {
		return order{}, err
	}
	if system != nil {
		if m, err = m.withSystem(system); err != nil {
			return order{}, err
		}
	}
	row := m.record(q.Queued())
	if m.once() {
		q.Queued().NoteWelcomeBonus(m.to)
	}
	return order{movement: m, row: row}, nil
}

// once reports whether the movement is one for a user, and not for a key.
func (m movement) once() bool { return m.kind == db.TransferKindWelcomeBonus }

// withSystem is the movement with both accounts known.
func (m movement) withSystem(system *txn.Pending[db.Account]) (movement, error) {
	a, err := system.Value()
	if err != nil {
		return m, fmt.Errorf("find the system account %s: %w", m.system, err)
	}
	if m.kind == db.TransferKindWithdrawal {
		m.to = a.ID
	} else {
		m.from = a.ID
	}
	return m, nil
}

func (m movement) record(q *db.QueuedQueries) *txn.Pending[db.RecordTransferRow] {
	var key *string
	if m.key != "" {
		key = &m.key
	}
	return q.RecordTransfer(db.RecordTransferParams{
		Kind: m.kind, IdempotencyKey: key, FromAccount: m.from, ToAccount: m.to, AmountMinor: m.amount, Memo: m.memo,
	}).OnError(func(err error) error {
		if txn.ConstraintName(err) == "cardinal_number_domain_check" {
			// The locks make this impossible; money must not go astray if they were not taken.
			return &txn.AffectedError{Query: "RecordTransfer", Want: int64(len(m.customers())), Got: -1}
		}
		return refused(err)
	})
}

// answerLost reports whether the movement was made with a COMMIT of which only the outcome is
// known.
func (o order) answerLost() bool {
	if o.row == nil {
		return false
	}
	_, err := o.row.Value()
	return err != nil && !errors.Is(err, txn.ErrNotFound)
}

// receipt says what came of the order, once it was sent.
func (o order) receipt(ctx context.Context, t txn.ReadTransactor) (Receipt, error) {
	if o.before != nil {
		return receiptOf(*o.before), nil
	}
	row, err := o.row.Value()
	if err == nil {
		return Receipt{TransferID: row.ID, Amount: o.amount, At: row.CreatedAt}, nil
	}
	// Either another request has taken the key since, or the answer to this one was lost.
	made, err := txn.WithReadTxValue(ctx, t, txn.Options{Label: "account: find a transfer"}, func(ctx context.Context, rx *txn.ReadTx) (db.Transfer, error) {
		return o.find(ctx, db.NewRead(rx))
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("find the transfer of a key: %w", err)
	}
	receipt := receiptOf(made)
	receipt.Replayed = !o.answerLost()
	return receipt, o.same(made)
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

// find finds the transfer of the movement's key, or the owner's bonus. The error is
// txn.ErrNotFound if there is none.
func (m movement) find(ctx context.Context, q db.ReadQuerier) (db.Transfer, error) {
	if m.once() {
		return q.FindWelcomeBonusOfAccount(ctx, m.to)
	}
	return q.FindTransferByKey(ctx, m.key)
}

// same refuses the movement if its key belongs to t, which is another one. A bonus is the same
// on whichever account it is.
func (m movement) same(t db.Transfer) error {
	if !m.once() && !m.describes(t) {
		return fmt.Errorf("%w: key %q", ErrKeyReused, m.key)
	}
	return nil
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
