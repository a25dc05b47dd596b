package account_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

func TestStatementPages(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	deposit := func(n int) {
		_, err := account.Deposit(t.Context(), b.db, account.DepositRequest{Account: id, Amount: money.Minor(n), Key: fmt.Sprint("d", n)})
		require.NoError(t, err)
	}
	for n := 1; n <= 9; n++ {
		deposit(n)
	}
	var seen []money.Minor
	r := account.StatementRequest{Account: id, Limit: 4}
	pages := 0
	for {
		page, err := account.Statement(t.Context(), b.db, r)
		require.NoError(t, err)
		for _, e := range page.Entries {
			seen = append(seen, e.Amount)
		}
		pages++
		deposit(100 + pages) // meanwhile: by OFFSET the next page would repeat an entry
		if page.Next == 0 {
			break
		}
		r.Before = page.Next
	}
	require.Equal(t, []money.Minor{9, 8, 7, 6, 5, 4, 3, 2, 1, account.WelcomeBonus}, seen)
	require.Equal(t, 3, pages)
}

// Money moves between the reading of a balance and that of the entries.
func TestBalanceAndStatementOfOneMoment(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	for _, level := range isolations {
		var balance, sum money.Minor
		pages := 0
		err := txn.WithReadTx(t.Context(), b.db, txn.Options{Label: "test: read", Isolation: level}, func(ctx context.Context, rx *txn.ReadTx) (err error) {
			if balance, err = account.Balance(ctx, rx, id); err != nil {
				return err
			}
			for r := (account.StatementRequest{Account: id, Limit: 1}); ; pages++ {
				_, err := account.Deposit(txn.Detach(ctx), b.db, account.DepositRequest{Account: id, Amount: 5, Key: fmt.Sprint(level, pages)})
				if err != nil {
					return err
				}
				page, err := account.Statement(ctx, rx, r)
				if err != nil {
					return err
				}
				for _, e := range page.Entries {
					sum += e.Amount
				}
				if page.Next == 0 {
					return nil
				}
				r.Before = page.Next
			}
		})
		require.NoError(t, err, level)
		if level == txn.ReadCommitted {
			require.Equal(t, balance+5, sum, "the first page begins with the deposit made meanwhile")
		} else {
			require.Equal(t, balance, sum, level)
		}
	}
}

func TestStatementLimits(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	// One entry is there; the rest comes in one statement, past the service.
	_, err := b.admin.Exec(t.Context(), `
		with t as (
			insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor)
			select 'deposit', 'many ' || n, 1, $1, 1 from generate_series(1, 599) n returning id
		), e as (
			insert into ledger_entries (transfer_id, account_id, amount_minor)
			select id, 1, -1 from t union all select id, $1, 1 from t
		)
		update accounts set balance_minor = balance_minor + 599 where id = $1`, id)
	require.NoError(t, err)
	for limit, want := range map[int]int{0: account.DefaultPage, 1: 1, 499: 499, account.MaxPage: 500, 1 << 40: 500} {
		page, err := account.Statement(t.Context(), b.db, account.StatementRequest{Account: id, Limit: limit})
		require.NoError(t, err)
		require.Len(t, page.Entries, want)
		require.Equal(t, page.Entries[want-1].ID, page.Next)
	}
	page, err := account.Statement(t.Context(), b.db, account.StatementRequest{Account: id, Before: 1})
	require.NoError(t, err)
	require.Empty(t, page.Entries)
	require.Zero(t, page.Next)

	_, err = account.Statement(t.Context(), b.db, account.StatementRequest{Account: id, Limit: -1})
	require.ErrorIs(t, err, account.ErrInvalid)
	_, err = account.Statement(t.Context(), b.db, account.StatementRequest{Account: id, Before: -1})
	require.ErrorIs(t, err, account.ErrInvalid)
	_, err = account.Statement(t.Context(), b.db, account.StatementRequest{Account: 1 << 40})
	require.ErrorIs(t, err, account.ErrUnknownAccount)
	_, err = account.Balance(t.Context(), b.db, 1<<40)
	require.ErrorIs(t, err, account.ErrUnknownAccount)
	_, err = account.Balance(t.Context(), b.db, fromTable[int64](t, b, "select id from accounts where code = 'external'"))
	require.ErrorIs(t, err, account.ErrUnknownAccount)
}
