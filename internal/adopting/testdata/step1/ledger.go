// Package ledger keeps accounts, and moves money between them.
package ledger

import (
	"context"
	"errors"

	"github.com/interlock-go/interlock/txn"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"example.com/ledger/store"
)

var (
	// ErrNoAccount is returned when an account is not there.
	ErrNoAccount = errors.New("no such account")

	// ErrFunds is returned when an account has less than it is to pay.
	ErrFunds = errors.New("insufficient funds")
)

// A Ledger is the accounts of a database.
type Ledger struct {
	pool *pgxpool.Pool
	d    *txn.DB
}

// New is the ledger in a database with schema.sql.
func New(pool *pgxpool.Pool) *Ledger {
	return &Ledger{pool: pool, d: txn.New(pool, txn.Config{})}
}

// Open opens an account.
func (l *Ledger) Open(ctx context.Context, owner string, balance int64) (store.Account, error) {
	q := store.New(l.pool)
	return q.CreateAccount(ctx, store.CreateAccountParams{Owner: owner, Balance: balance})
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
	return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		j := txn.Join(tx, txn.Options{Label: "pay"})
		for _, payee := range payees {
			if _, err := l.transfer(ctx, j.Tx(), payer, payee, amount); err != nil {
				return err
			}
		}
		return j.Finish(ctx)
	})
}

func (l *Ledger) transfer(ctx context.Context, tx *txn.Tx, payer, payee, amount int64) (int64, error) {
	q := store.New(tx)
	accounts, err := q.LockAccounts(ctx, store.LockAccountsParams{Payer: payer, Payee: payee})
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
	if err := q.AddToBalance(ctx, store.AddToBalanceParams{ID: payer, Amount: -amount}); err != nil {
		return 0, err
	}
	if err := q.AddToBalance(ctx, store.AddToBalanceParams{ID: payee, Amount: amount}); err != nil {
		return 0, err
	}
	return q.CreateTransfer(ctx, store.CreateTransferParams{Payer: payer, Payee: payee, Amount: amount})
}

// A Statement is an account with its transfers, as they were at one moment.
type Statement struct {
	Account   store.Account
	Transfers []store.Transfer
}

// Statement reads an account's.
func (l *Ledger) Statement(ctx context.Context, account int64) (Statement, error) {
	var s Statement
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, l.pool, snapshot, func(tx pgx.Tx) (err error) {
		q := store.New(tx)
		if s.Account, err = q.GetAccount(ctx, account); err != nil {
			return err
		}
		s.Transfers, err = q.ListTransfers(ctx, account)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoAccount
	}
	return s, err
}
