package account

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/txn"
)

// Balance returns what a customer's account holds. By the time the caller looks at it, it may
// hold something else: whoever wants to spend it asks for the transfer and is refused. It locks
// nothing, at any isolation level.
//
// It is refused with ErrUnknownAccount.
func Balance(ctx context.Context, t txn.ReadTransactor, account int64) (money.Minor, error) {
	opts := txn.Options{Label: "account: balance"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (money.Minor, error) {
		a, err := customer(ctx, db.NewRead(rx), account)
		return a.BalanceMinor, err
	})
}

// Sizes of a statement's page.
const (
	DefaultPage = 50
	MaxPage     = 500
)

// A StatementRequest asks for a page of an account's ledger.
type StatementRequest struct {
	Account int64
	Before  int64 // the Next of the page before; zero for the newest entries
	Limit   int   // how many entries; zero is DefaultPage, more than MaxPage is MaxPage
}

// A Page is a part of an account's ledger, newest first.
type Page struct {
	Entries []Entry
	Next    int64 // Before of the next page's request; zero if this is the last one
}

// An Entry is what one transfer did to an account.
type Entry struct {
	ID         int64
	TransferID int64
	Kind       db.TransferKind
	Amount     money.Minor // positive: the account got it; negative: it gave it
	Other      int64       // the account on the other side
	Memo       string
	At         time.Time
}

// Statement returns a page of a customer's account's ledger. Entries that are made while
// somebody turns pages neither repeat nor hide others: a page begins below an entry, not
// after a number of them. It locks nothing, at any isolation level.
//
// It is refused with ErrUnknownAccount or ErrInvalid.
func Statement(ctx context.Context, t txn.ReadTransactor, r StatementRequest) (Page, error) {
	switch {
	case r.Before < 0:
		return Page{}, &InvalidError{Field: "Before"}
	case r.Limit < 0:
		return Page{}, &InvalidError{Field: "Limit"}
	case r.Limit == 0:
		r.Limit = DefaultPage
	}
	r.Limit = min(r.Limit, MaxPage)
	if r.Before == 0 {
		r.Before = math.MaxInt64
	}
	opts := txn.Options{Label: "account: statement"}
	return txn.WithReadTxValue(ctx, t, opts, func(ctx context.Context, rx *txn.ReadTx) (Page, error) {
		q := db.NewRead(rx)
		if _, err := customer(ctx, q, r.Account); err != nil {
			return Page{}, err
		}
		// One more than asked for tells whether there is another page.
		rows, err := q.ListEntries(ctx, db.ListEntriesParams{
			AccountID: r.Account, BeforeID: r.Before, MaxRows: int64(r.Limit) + 1,
		})
		if err != nil {
			return Page{}, fmt.Errorf("statement: %w", err)
		}
		return page(rows, r.Limit), nil
	})
}

func page(rows []db.ListEntriesRow, limit int) Page {
	p := Page{Entries: make([]Entry, 0, min(len(rows), limit))}
	for _, row := range rows {
		if len(p.Entries) == limit {
			p.Next = p.Entries[limit-1].ID
			break
		}
		p.Entries = append(p.Entries, Entry{
			ID: row.ID, TransferID: row.TransferID, Kind: row.Kind, Amount: row.AmountMinor,
			Other: row.OtherAccount, Memo: row.Memo, At: row.CreatedAt,
		})
	}
	return p
}

// customer reads a customer's account.
func customer(ctx context.Context, q db.ReadQuerier, account int64) (db.Account, error) {
	a, err := q.GetAccount(ctx, account)
	if errors.Is(err, txn.ErrNotFound) || err == nil && a.Kind != db.AccountKindCustomer {
		return db.Account{}, &UnknownAccountError{AccountID: account}
	}
	if err != nil {
		return db.Account{}, fmt.Errorf("read account: %w", err)
	}
	return a, nil
}
