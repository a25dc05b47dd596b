// Package ledger keeps accounts, and moves money between them.
package ledger

import (
	"context"
	"errors"

	"github.com/interlock-go/interlock/txn"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/ledger/db"
)

var (
	// ErrNoAccount is returned when an account is not there.
	ErrNoAccount = errors.New("no such account")

	// ErrFunds is returned when an account has less than it is to pay.
	ErrFunds = errors.New("insufficient funds")
)

// A Ledger is the accounts of a database.
type Ledger struct {
	d *txn.DB
}

// New is the ledger in a database with schema.sql.
func New(pool *pgxpool.Pool) *Ledger {
	return &Ledger{d: txn.New(pool, txn.Config{})}
}

// Open opens an account.
func (l *Ledger) Open(ctx context.Context, owner string, balance int64) (db.Account, error) {
	q := db.Autocommit(l.d)
	return q.CreateAccount(ctx, db.CreateAccountParams{Owner: owner, Balance: balance})
}

// Transfer moves an amount from payer to payee, and returns the id of the transfer.
func (l *Ledger) Transfer(ctx context.Context, payer, payee, amount int64) (int64, error) {
	opts := txn.Options{Label: "transfer"}
	return txn.WithTxValue(ctx, l.d, opts, func(ctx context.Context, tx *txn.Tx) (int64, error) {
		return l.transfer(ctx, tx, payer, payee, amount)
	})
}

// Pay pays all of them the amount, or nobody.
func (l *Ledger) Pay(ctx context.Context, payer int64, payees []int64, amount int64) error {
	return txn.WithTx(ctx, l.d, txn.Options{Label: "pay"}, func(ctx context.Context, tx *txn.Tx) error {
		for _, payee := range payees {
			if _, err := l.transfer(ctx, tx, payer, payee, amount); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *Ledger) transfer(ctx context.Context, tx *txn.Tx, payer, payee, amount int64) (int64, error) {
	q := db.New(tx)
	accounts, err := q.LockAccounts(ctx, db.LockAccountsParams{Payer: payer, Payee: payee})
	if err != nil {
		return 0, err
	}
	if len(accounts) < 2 {
		return 0, ErrNoAccount
	}
	for _, a := range accounts {
		if a.ID == payer && a.Balance < amount {
			return 0, ErrFunds
		}
	}
	queued := q.Queued()
	queued.AddToBalance(db.AddToBalanceParams{ID: payer, Amount: -amount})
	queued.AddToBalance(db.AddToBalanceParams{ID: payee, Amount: amount})
	return q.CreateTransfer(ctx, db.CreateTransferParams{Payer: payer, Payee: payee, Amount: amount})
}

// A Statement is an account with its transfers, as they were at one moment.
type Statement struct {
	Account   db.Account
	Transfers []db.Transfer
}

// Statement reads an account's.
func (l *Ledger) Statement(ctx context.Context, account int64) (Statement, error) {
	var a *txn.Pending[db.Account]
	var transfers *txn.Pending[[]db.Transfer]
	opts := txn.Options{Label: "statement", Isolation: txn.RepeatableRead}
	err := txn.WithReadTx(ctx, l.d, opts, func(_ context.Context, rx *txn.ReadTx) error {
		q := db.NewRead(rx).Queued()
		a, transfers = q.GetAccount(account), q.ListTransfers(account)
		return nil
	})
	if err != nil {
		return Statement{}, err
	}
	var s Statement
	if s.Account, err = a.Value(); errors.Is(err, pgx.ErrNoRows) {
		return s, ErrNoAccount
	} else if err != nil {
		return s, err
	}
	s.Transfers, err = transfers.Value()
	return s, err
}
