package account_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
)

func TestTransfer(t *testing.T) {
	b := setup(t, txn.Config{})
	from, to := b.customer(t, 1000), b.customer(t, 1000)
	receipt, err := account.Transfer(t.Context(), b.db, account.TransferRequest{From: from, To: to, Amount: 300, Key: "k", Memo: "rent"})
	require.NoError(t, err)
	require.False(t, receipt.Replayed)
	require.Equal(t, money.Minor(300), receipt.Amount)
	require.Equal(t, money.Minor(700), b.balance(t, from))
	require.Equal(t, money.Minor(1300), b.balance(t, to))
	require.Equal(t, []money.Minor{account.WelcomeBonus, -300}, b.statement(t, from))
	require.Equal(t, []money.Minor{account.WelcomeBonus, 300}, b.statement(t, to))

	page, err := account.Statement(t.Context(), b.db, account.StatementRequest{Account: to, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []account.Entry{{
		ID: page.Entries[0].ID, TransferID: receipt.TransferID, Kind: db.TransferKindTransfer,
		Amount: 300, Other: from, Memo: "rent", At: receipt.At,
	}}, page.Entries)
}

func TestDepositAndWithdraw(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	_, err := account.Deposit(t.Context(), b.db, account.DepositRequest{Account: id, Amount: 500, Key: "in"})
	require.NoError(t, err)
	_, err = account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: id, Amount: 1500, Key: "out"})
	require.NoError(t, err)
	require.Zero(t, b.balance(t, id))
	require.Equal(t, []money.Minor{account.WelcomeBonus, 500, -1500}, b.statement(t, id))
	require.EqualValues(t, 1000, fromTable[int64](t, b,
		"select sum(amount_minor)::bigint from ledger_entries e join accounts a on a.id = e.account_id where code = 'external'"))
}

func TestTransferRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	from, to, full := b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000)
	frozen, closed := b.customer(t, 1000), b.customer(t, 0)
	b.set(t, frozen, "status = 'frozen'")
	b.set(t, closed, "status = 'closed'")
	// The books could not hold so much: an account is filled without them, and emptied at
	// the end.
	b.set(t, full, "balance_minor = 9223372036854775807")
	defer b.set(t, full, "balance_minor = 1000")
	external := fromTable[int64](t, b, "select id from accounts where code = 'external'")
	const nobody = 1 << 40

	for name, test := range map[string]struct {
		r    account.TransferRequest
		want error
	}{
		"no amount":         {account.TransferRequest{From: from, To: to}, account.ErrAmountNotPositive},
		"negative amount":   {account.TransferRequest{From: from, To: to, Amount: -1}, account.ErrAmountNotPositive},
		"smallest amount":   {account.TransferRequest{From: from, To: to, Amount: math.MinInt64}, account.ErrAmountNotPositive},
		"same account":      {account.TransferRequest{From: from, To: from, Amount: 1}, account.ErrSameAccount},
		"unknown payer":     {account.TransferRequest{From: nobody, To: to, Amount: 1}, &account.UnknownAccountError{AccountID: nobody}},
		"unknown payee":     {account.TransferRequest{From: from, To: nobody, Amount: 1}, &account.UnknownAccountError{AccountID: nobody}},
		"poor, unknown":     {account.TransferRequest{From: from, To: nobody, Amount: 1001}, &account.UnknownAccountError{AccountID: nobody}},
		"from the system":   {account.TransferRequest{From: external, To: to, Amount: 1}, &account.UnknownAccountError{AccountID: external}},
		"to the system":     {account.TransferRequest{From: from, To: external, Amount: 1}, &account.UnknownAccountError{AccountID: external}},
		"frozen payer":      {account.TransferRequest{From: frozen, To: to, Amount: 1}, &account.NotOpenError{AccountID: frozen, Status: db.AccountStatusFrozen}},
		"frozen payee":      {account.TransferRequest{From: from, To: frozen, Amount: 1}, &account.NotOpenError{AccountID: frozen, Status: db.AccountStatusFrozen}},
		"closed payee":      {account.TransferRequest{From: from, To: closed, Amount: 1}, &account.NotOpenError{AccountID: closed, Status: db.AccountStatusClosed}},
		"too little":        {account.TransferRequest{From: from, To: to, Amount: 1001}, &account.InsufficientFundsError{AccountID: from, Available: 1000, Needed: 1001}},
		"largest amount":    {account.TransferRequest{From: from, To: to, Amount: math.MaxInt64}, &account.InsufficientFundsError{AccountID: from, Available: 1000, Needed: math.MaxInt64}},
		"payee overflows":   {account.TransferRequest{From: from, To: full, Amount: 1}, account.ErrBalanceOverflow},
		"long key":          {account.TransferRequest{From: from, To: to, Amount: 1, Key: strings.Repeat("k", 201)}, account.ErrInvalid},
		"key with a zero":   {account.TransferRequest{From: from, To: to, Amount: 1, Key: "k\x00"}, account.ErrInvalid},
		"key of no letters": {account.TransferRequest{From: from, To: to, Amount: 1, Key: "\xff"}, account.ErrInvalid},
		"long memo":         {account.TransferRequest{From: from, To: to, Amount: 1, Memo: strings.Repeat("m", 501)}, account.ErrInvalid},
	} {
		if test.r.Key == "" {
			test.r.Key = name
		}
		before := fromTable[string](t, b, booksSQL)
		receipt, err := account.Transfer(t.Context(), b.db, test.r)
		require.Zero(t, receipt, name)
		require.Error(t, err, name)
		require.False(t, txn.IsRetryable(err), name)
		if sameType := errors.Is(err, test.want); !sameType {
			require.Equal(t, test.want, err, name)
		}
		require.Equal(t, before, fromTable[string](t, b, booksSQL), "%s: nothing changes", name)
	}
	_, err := account.Transfer(t.Context(), b.db, account.TransferRequest{From: from, To: to, Amount: 1})
	require.Equal(t, &account.InvalidError{Field: "Key"}, err)
	_, err = account.Transfer(t.Context(), b.db, account.TransferRequest{From: from, To: to, Amount: 1, Key: "x", Memo: strings.Repeat("m", 501)})
	invalid, ok := errors.AsType[*account.InvalidError](err)
	require.True(t, ok)
	require.Equal(t, "Memo", invalid.Field)
}

// booksSQL is a fingerprint of everything that money touches.
const booksSQL = `
	select md5(coalesce((select string_agg(a::text, ',' order by id) from accounts a), '')
		|| coalesce((select string_agg(t::text, ',' order by id) from transfers t), '')
		|| coalesce((select string_agg(e::text, ',' order by id) from ledger_entries e), ''))`

// The sentinels answer errors.Is also for their structs.
func TestErrorsAnswerIs(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]error{
		{&account.InvalidError{Field: "Key"}, account.ErrInvalid},
		{&account.UnknownAccountError{}, account.ErrUnknownAccount},
		{&account.NotOpenError{}, account.ErrNotOpen},
		{&account.InsufficientFundsError{}, account.ErrInsufficientFunds},
	} {
		require.ErrorIs(t, pair[0], pair[1])
		require.NotErrorIs(t, pair[0], account.ErrKeyReused)
	}
	err := &account.InsufficientFundsError{AccountID: 7, Available: 1000, Needed: 1250}
	require.EqualError(t, err, "account: insufficient funds: account 7 has 10.00, needed 12.50")
}

func TestDepositAndWithdrawRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	id, frozen, full := b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000)
	b.set(t, frozen, "status = 'frozen'")
	b.set(t, full, "balance_minor = 9223372036854775807")
	defer b.set(t, full, "balance_minor = 1000")
	external := fromTable[int64](t, b, "select id from accounts where code = 'external'")
	deposit := func(r account.DepositRequest) error {
		_, err := account.Deposit(t.Context(), b.db, r)
		return err
	}
	withdraw := func(r account.WithdrawRequest) error {
		_, err := account.Withdraw(t.Context(), b.db, r)
		return err
	}
	require.ErrorIs(t, deposit(account.DepositRequest{Account: id, Key: "k"}), account.ErrAmountNotPositive)
	require.ErrorIs(t, deposit(account.DepositRequest{Account: id, Amount: 1}), account.ErrInvalid)
	require.ErrorIs(t, deposit(account.DepositRequest{Amount: 1, Key: "k"}), account.ErrUnknownAccount)
	require.ErrorIs(t, deposit(account.DepositRequest{Account: external, Amount: 1, Key: "k"}), account.ErrUnknownAccount)
	require.ErrorIs(t, deposit(account.DepositRequest{Account: frozen, Amount: 1, Key: "k"}), account.ErrNotOpen)
	require.ErrorIs(t, deposit(account.DepositRequest{Account: full, Amount: 1, Key: "k"}), account.ErrBalanceOverflow)

	require.ErrorIs(t, withdraw(account.WithdrawRequest{Account: id, Amount: -5, Key: "k"}), account.ErrAmountNotPositive)
	require.ErrorIs(t, withdraw(account.WithdrawRequest{Account: id, Amount: 1}), account.ErrInvalid)
	require.ErrorIs(t, withdraw(account.WithdrawRequest{Amount: 1, Key: "k"}), account.ErrUnknownAccount)
	require.ErrorIs(t, withdraw(account.WithdrawRequest{Account: frozen, Amount: 1, Key: "k"}), account.ErrNotOpen)
	require.Equal(t, &account.InsufficientFundsError{AccountID: id, Available: 1000, Needed: 1001},
		withdraw(account.WithdrawRequest{Account: id, Amount: 1001, Key: "k"}))
}

func TestReplay(t *testing.T) {
	b := setup(t, txn.Config{})
	from, to := b.customer(t, 1000), b.customer(t, 1000)
	r := account.TransferRequest{From: from, To: to, Amount: 1000, Key: "k", Memo: "all of it"}
	first, err := account.Transfer(t.Context(), b.db, r)
	require.NoError(t, err)

	want := first
	want.Replayed = true
	again := func(why string) {
		t.Helper()
		receipt, err := account.Transfer(t.Context(), b.db, r)
		require.NoError(t, err, why)
		require.Equal(t, want, receipt, why)
	}
	again("the account is empty now")
	b.set(t, to, "status = 'frozen'")
	again("the payee is frozen now")
	b.set(t, from, "status = 'closed'")
	again("the payer is closed now")
	require.Zero(t, b.balance(t, from))
	require.Equal(t, money.Minor(2000), b.balance(t, to))

	in := account.DepositRequest{Account: b.customer(t, 1000), Amount: 5, Key: "in"}
	first, err = account.Deposit(t.Context(), b.db, in)
	require.NoError(t, err)
	second, err := account.Deposit(t.Context(), b.db, in)
	require.NoError(t, err)
	require.Equal(t, first.TransferID, second.TransferID)
	require.True(t, second.Replayed)

	out := account.WithdrawRequest{Account: in.Account, Amount: 1005, Key: "out"}
	first, err = account.Withdraw(t.Context(), b.db, out)
	require.NoError(t, err)
	second, err = account.Withdraw(t.Context(), b.db, out)
	require.NoError(t, err)
	require.Equal(t, first.TransferID, second.TransferID)
	require.True(t, second.Replayed)
	require.Zero(t, b.balance(t, in.Account))
}

func TestKeyReused(t *testing.T) {
	b := setup(t, txn.Config{})
	from, to, other := b.customer(t, 1000), b.customer(t, 1000), b.customer(t, 1000)
	r := account.TransferRequest{From: from, To: to, Amount: 100, Key: "k"}
	_, err := account.Transfer(t.Context(), b.db, r)
	require.NoError(t, err)
	before := fromTable[string](t, b, booksSQL)
	for name, change := range map[string]func(*account.TransferRequest){
		"amount":           func(r *account.TransferRequest) { r.Amount++ },
		"more than it has": func(r *account.TransferRequest) { r.Amount = 5000 },
		"payee":            func(r *account.TransferRequest) { r.To = other },
		"unknown payee":    func(r *account.TransferRequest) { r.To = 1 << 40 },
		"payer":            func(r *account.TransferRequest) { r.From = other },
		"turned round":     func(r *account.TransferRequest) { r.From, r.To = r.To, r.From },
		"memo":             func(r *account.TransferRequest) { r.Memo = "x" },
	} {
		changed := r
		change(&changed)
		receipt, err := account.Transfer(t.Context(), b.db, changed)
		require.ErrorIs(t, err, account.ErrKeyReused, name)
		require.Zero(t, receipt, name)
	}
	_, err = account.Deposit(t.Context(), b.db, account.DepositRequest{Account: to, Amount: 100, Key: "k"})
	require.ErrorIs(t, err, account.ErrKeyReused, "another kind")
	_, err = account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: from, Amount: 100, Key: "k"})
	require.ErrorIs(t, err, account.ErrKeyReused, "another kind")
	require.Equal(t, before, fromTable[string](t, b, booksSQL))
}

func TestJoined(t *testing.T) {
	b := setup(t, txn.Config{})
	from, to := b.customer(t, 1000), b.customer(t, 1000)
	broke := errors.New("the caller changed its mind")
	pay := func(ctx context.Context, tx *txn.Tx, amount money.Minor, key string) error {
		_, err := account.Transfer(ctx, tx, account.TransferRequest{From: from, To: to, Amount: amount, Key: key})
		return err
	}

	err := txn.WithTx(t.Context(), b.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.NoError(t, pay(ctx, tx, 100, "a"))
		balance, err := account.Balance(ctx, tx, from)
		require.NoError(t, err)
		require.Equal(t, money.Minor(900), balance, "a transaction sees its own work")
		return broke
	})
	require.ErrorIs(t, err, broke)
	require.Equal(t, money.Minor(1000), b.balance(t, from), "undone with the outer transaction")

	err = txn.WithTx(t.Context(), b.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		require.ErrorIs(t, pay(ctx, tx, 5000, "a"), account.ErrInsufficientFunds)
		return nil // swallowed
	})
	require.ErrorIs(t, err, txn.ErrRollbackOnly)
	require.ErrorIs(t, err, account.ErrInsufficientFunds)

	err = txn.WithTx(t.Context(), b.db, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
		refused := tx.Savepoint(ctx, func(ctx context.Context, tx *txn.Tx) error { return pay(ctx, tx, 5000, "a") })
		require.ErrorIs(t, refused, account.ErrInsufficientFunds)
		return pay(ctx, tx, 200, "b")
	})
	require.NoError(t, err)
	require.Equal(t, money.Minor(800), b.balance(t, from))

	// Inside a read-only transaction the reads join, too.
	err = txn.WithReadTx(t.Context(), b.db, txn.Options{Isolation: txn.RepeatableRead}, func(ctx context.Context, rx *txn.ReadTx) error {
		balance, err := account.Balance(ctx, rx, to)
		require.NoError(t, err)
		page, err := account.Statement(ctx, rx, account.StatementRequest{Account: to})
		require.NoError(t, err)
		require.Equal(t, money.Minor(1200), balance)
		require.Len(t, page.Entries, 2)
		return nil
	})
	require.NoError(t, err)
}

func TestRepeatedByItsTransaction(t *testing.T) {
	b := setup(t, txn.Config{})
	from, to := b.customer(t, 1000), b.customer(t, 1000)
	var receipts []account.Receipt
	require.NoError(t, repeatOnce(t.Context(), b.db, func(ctx context.Context, tx *txn.Tx) error {
		receipt, err := account.Transfer(ctx, tx, account.TransferRequest{From: from, To: to, Amount: 10, Key: "k"})
		receipts = append(receipts, receipt)
		return err
	}))
	require.Len(t, receipts, 2)
	require.False(t, receipts[1].Replayed, "the first attempt left nothing")
	require.Equal(t, money.Minor(990), b.balance(t, from))
}
