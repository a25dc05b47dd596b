package account_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest/pgserver"
)

// The tests of this file, of lock_test.go and of once_test.go first run code as it is often
// written, and show what goes wrong with it; then the same case through this package. What
// goes wrong is no theory: if it went right one day, the test would fail and could go.

// naiveSQL makes tables as such code has them: without keys, checks and references.
const naiveSQL = `
	create schema naive;
	grant usage on schema naive to ` + pgserver.AppRole + `;
	create table naive.users (id bigint generated always as identity, email text, balance bigint not null default 0);
	create table naive.movements (user_id bigint, to_user_id bigint, amount bigint, kind text, balance_after bigint);
	create table naive.orders (id bigint, paid boolean not null default false);
	create table naive.wallets (id bigint, float_balance double precision not null default 0, decimal_balance decimal not null default 0);
	insert into naive.users (email, balance) values ('ada@example.com', 1000), ('bob@example.com', 1000);
	insert into naive.orders values (1);
	insert into naive.wallets values (1)`

// naive makes those tables and returns a pool to use them by, as the ordinary role. Users 1
// and 2 have 1000 each.
func (b *books) naive(t *testing.T) *pgxpool.Pool {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), b.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, naiveSQL)
	return b.Pool(t)
}

// naiveBalance is what table naive.users says.
func (b *books) naiveBalance(t *testing.T, user int64) int64 {
	t.Helper()
	return fromTable[int64](t, b, "select balance from naive.users where id = $1", user)
}

// total is the money of all customers.
func (b *books) total(t *testing.T) money.Minor {
	t.Helper()
	return fromTable[money.Minor](t, b, "select sum(balance_minor)::bigint from accounts")
}

// naiveTransfer moves money by two updates that may find no row, and makes a result of every
// error.
func naiveTransfer(ctx context.Context, pool *pgxpool.Pool, from, to, amount int64) (success bool, message string) {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "update naive.users set balance = balance - $2 where id = $1", from, amount); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update naive.users set balance = balance + $2 where id = $1", to, amount); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "insert into naive.movements values ($1, $2, $3, 'transfer')", from, to, amount)
		return err
	})
	if err != nil {
		return false, err.Error()
	}
	return true, ""
}

// The row is locked and the balance checked, yet the record and the answer are wrong: they
// are computed from the object that has been updated already.
func TestWithdrawalIsSubtractedOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	withdraw := func(id, amount int64) (newBalance int64) {
		tx := begin(t, naive)
		var user struct{ balance int64 }
		require.NoError(t, tx.QueryRow(t.Context(), "select balance from naive.users where id = $1 for update", id).Scan(&user.balance))
		require.GreaterOrEqual(t, user.balance, amount)
		user.balance -= amount // as an ORM's update does with the object
		exec(t, tx, "update naive.users set balance = $2 where id = $1", id, user.balance)
		exec(t, tx, "insert into naive.movements values ($1, null, $2, 'withdrawal', $3)", id, -amount, user.balance-amount)
		require.NoError(t, tx.Commit(t.Context()))
		return user.balance - amount
	}
	require.EqualValues(t, 800, withdraw(1, 100), "the answer")
	require.EqualValues(t, 800, fromTable[int64](t, b, "select balance_after from naive.movements"), "the record")
	require.EqualValues(t, 900, b.naiveBalance(t, 1), "the truth")

	id := b.customer(t, 1000)
	receipt, err := account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: id, Amount: 100, Key: "k"})
	require.NoError(t, err)
	require.Equal(t, money.Minor(100), receipt.Amount)
	require.Equal(t, money.Minor(900), b.balance(t, id))
	require.Equal(t, []money.Minor{account.WelcomeBonus, -100}, b.statement(t, id))
	require.EqualValues(t, 900, fromTable[int64](t, b, "select sum(amount_minor)::bigint from ledger_entries where account_id = $1", id))
}

// The payer is debited, the payee's UPDATE finds no row, which is no error, and the
// transaction commits.
func TestNoMoneyVanishes(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	success, _ := naiveTransfer(t.Context(), naive, 1, 99, 300)
	require.True(t, success)
	require.EqualValues(t, 1700, fromTable[int64](t, b, "select sum(balance)::bigint from naive.users"), "300 are gone")

	from, to := b.customer(t, 1000), b.customer(t, 1000)
	before := fromTable[string](t, b, booksSQL)
	const nobody = 1 << 40
	_, err := account.Transfer(t.Context(), b.db, account.TransferRequest{From: from, To: nobody, Amount: 300, Key: "k"})
	require.Equal(t, &account.UnknownAccountError{AccountID: nobody}, err)
	require.Equal(t, money.Minor(2000), b.total(t))

	// An account that exists may also be passed by: by a trigger, or a policy of row security.
	exec(t, b.admin, `
		create function pass_by() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger pass_by before update on accounts for each row
			when (new.balance_minor > old.balance_minor) execute function pass_by()`)
	_, err = account.Transfer(t.Context(), b.db, account.TransferRequest{From: from, To: to, Amount: 300, Key: "k"})
	require.Equal(t, &txn.QueuedError{Query: "RecordTransfer", Err: &txn.AffectedError{Query: "RecordTransfer", Want: 2, Got: -1}}, err)
	_, err = account.Deposit(t.Context(), b.db, account.DepositRequest{Account: to, Amount: 300, Key: "k"})
	require.Equal(t, &txn.QueuedError{Query: "RecordTransfer", Err: &txn.AffectedError{Query: "RecordTransfer", Want: 1, Got: -1}}, err)
	require.Equal(t, before, fromTable[string](t, b, booksSQL), "nothing has changed")
}

// Binary fractions are not what people mean by 0.1, neither in the column nor, with a decimal
// column, in the program.
func TestMoneyIsExact(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	// Adding in the server to a column of type double precision, and in the program to one of
	// type decimal.
	add := func(amount float64) {
		exec(t, naive, "update naive.wallets set float_balance = float_balance + $1", amount)
		balance, err := strconv.ParseFloat(fromTable[string](t, b, "select decimal_balance::text from naive.wallets"), 64)
		require.NoError(t, err)
		exec(t, naive, "update naive.wallets set decimal_balance = $1", balance+amount)
	}
	balances := func() [2]string {
		return [2]string{
			fromTable[string](t, b, "select float_balance::text from naive.wallets"),
			fromTable[string](t, b, "select decimal_balance::text from naive.wallets"),
		}
	}
	add(0.1)
	add(0.2)
	require.Equal(t, [2]string{"0.30000000000000004", "0.30000000000000004"}, balances())
	exec(t, naive, "update naive.wallets set float_balance = 0, decimal_balance = 0")
	for range 10 {
		add(0.1)
	}
	require.Equal(t, [2]string{"0.9999999999999999", "0.9999999999999999"}, balances(), "less than 1: too little to pay 1")
	price := 1.15
	require.EqualValues(t, 114, int64(price*100), "a cent less on the way to an integer")

	id := b.customer(t, 0)
	deposit := func(amount money.Minor, key string) {
		_, err := account.Deposit(t.Context(), b.db, account.DepositRequest{Account: id, Amount: amount, Key: key})
		require.NoError(t, err)
	}
	deposit(10, "0.1")
	deposit(20, "0.2")
	require.Equal(t, "0.30", b.balance(t, id).String())
	for n := range 70 {
		deposit(1, fmt.Sprint("small ", n))
	}
	require.Equal(t, "1.00", b.balance(t, id).String())
	deposit(115, "1.15")
	require.Equal(t, "2.15", b.balance(t, id).String())
	_, err := account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: id, Amount: 215, Key: "all"})
	require.NoError(t, err)
	require.Zero(t, b.balance(t, id))
}

// Both look without a lock, both find enough, both take.
func TestWithdrawalsDoNotOverdraw(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	first, second := begin(t, naive), begin(t, naive)
	for _, tx := range []pgx.Tx{first, second} {
		var balance int64
		require.NoError(t, tx.QueryRow(t.Context(), "select balance from naive.users where id = 1").Scan(&balance))
		require.GreaterOrEqual(t, balance, int64(700), "enough")
	}
	for _, tx := range []pgx.Tx{first, second} {
		exec(t, tx, "update naive.users set balance = balance - 700 where id = 1")
		require.NoError(t, tx.Commit(t.Context()))
	}
	require.EqualValues(t, -400, b.naiveBalance(t, 1))
	// A transfer that does not look at all needs no second one.
	success, _ := naiveTransfer(t.Context(), naive, 2, 1, 5000)
	require.True(t, success)
	require.EqualValues(t, -4000, b.naiveBalance(t, 2))

	id := b.customer(t, 1000)
	withdraw := func(key string) func() error {
		return func() error {
			_, err := account.Withdraw(t.Context(), b.db, account.WithdrawRequest{Account: id, Amount: 700, Key: key})
			return err
		}
	}
	require.ElementsMatch(t,
		[]error{nil, &account.InsufficientFundsError{AccountID: id, Available: 300, Needed: 700}},
		b.together(t, "accounts", []int64{id}, withdraw("a"), withdraw("b")))
	require.Equal(t, money.Minor(300), b.balance(t, id))

	// Who goes around the service, without lock and look, meets the constraint.
	external := fromTable[int64](t, b, "select id from accounts where code = 'external'")
	around := func(key string) func() error {
		return func() error {
			_, err := db.Autocommit(b.db).RecordTransfer(t.Context(), db.RecordTransferParams{
				Kind: db.TransferKindWithdrawal, IdempotencyKey: &key, FromAccount: id, ToAccount: external, AmountMinor: 200,
			})
			return err
		}
	}
	err := onlyFailure(t, b.together(t, "accounts", []int64{id}, around("c"), around("d")))
	require.Equal(t, "23514", txn.SQLState(err))
	require.Equal(t, "accounts_balance_not_negative", txn.ConstraintName(err))
	require.Equal(t, money.Minor(100), b.balance(t, id))
}

// onlyFailure returns the one error among nils.
func onlyFailure(t *testing.T, errs []error) error {
	t.Helper()
	var failure error
	for _, err := range errs {
		if err != nil {
			require.NoError(t, failure, "a second one: %v", err)
			failure = err
		}
	}
	require.Error(t, failure)
	return failure
}

// Both read 1000, add in the program and write the sum: only the second sum stays. A lock
// would help, if nobody ever forgot it; an increment needs none.
func TestDepositsAreNotLost(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	first, second := begin(t, naive), begin(t, naive)
	var read [2]int64
	for i, tx := range []pgx.Tx{first, second} {
		require.NoError(t, tx.QueryRow(t.Context(), "select balance from naive.users where id = 1").Scan(&read[i]))
	}
	for i, amount := range []int64{500, 200} {
		tx := []pgx.Tx{first, second}[i]
		exec(t, tx, "update naive.users set balance = $1 where id = 1", read[i]+amount)
		require.NoError(t, tx.Commit(t.Context()))
	}
	require.EqualValues(t, 1200, b.naiveBalance(t, 1), "500 are lost")

	id := b.customer(t, 1000)
	deposit := func(amount money.Minor) func() error {
		return func() error {
			_, err := account.Deposit(t.Context(), b.db, account.DepositRequest{Account: id, Amount: amount, Key: amount.String()})
			return err
		}
	}
	for _, err := range b.together(t, "accounts", []int64{id}, deposit(500), deposit(200)) {
		require.NoError(t, err)
	}
	require.Equal(t, money.Minor(1700), b.balance(t, id))
}

// A function that reports failure as a result leaves it to its caller to look, and gives it
// nothing but a text to decide by.
func TestFailureIsNotSwallowed(t *testing.T) {
	b := setup(t, txn.Config{})
	naive := b.naive(t)
	owner, err := pgx.Connect(t.Context(), b.OwnerURL())
	require.NoError(t, err)
	defer owner.Close(context.WithoutCancel(t.Context()))
	exec(t, owner, "alter table naive.users add constraint funds check (balance >= 0)")
	paid := func() bool { return fromTable[bool](t, b, "select paid from naive.orders") }

	naiveTransfer(t.Context(), naive, 1, 2, 5000) // nothing is thrown
	exec(t, naive, "update naive.orders set paid = true")
	require.True(t, paid())
	require.EqualValues(t, 1000, b.naiveBalance(t, 1), "paid with nothing")
	exec(t, naive, "update naive.orders set paid = false")

	from, to := b.customer(t, 1000), b.customer(t, 1000)
	pay := func(ctx context.Context, tx *txn.Tx) error {
		_, err := account.Transfer(ctx, tx, account.TransferRequest{From: from, To: to, Amount: 5000, Key: "order 1"})
		return err
	}
	setPaid := func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Exec(ctx, "update naive.orders set paid = true")
		return err
	}
	for name, order := range map[string]func(context.Context, *txn.Tx) error{
		"looks": func(ctx context.Context, tx *txn.Tx) error {
			if err := pay(ctx, tx); err != nil {
				return fmt.Errorf("pay the order: %w", err)
			}
			return setPaid(ctx, tx)
		},
		"does not look": func(ctx context.Context, tx *txn.Tx) error {
			_ = pay(ctx, tx)
			return setPaid(ctx, tx)
		},
		"looks away": func(ctx context.Context, tx *txn.Tx) error {
			_ = errors.Join(setPaid(ctx, tx), pay(ctx, tx))
			return nil
		},
	} {
		err := txn.WithTx(t.Context(), b.db, txn.Options{Label: "test: pay"}, order)
		poor, ok := errors.AsType[*account.InsufficientFundsError](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, money.Minor(1000), poor.Available, name)
		require.False(t, paid(), name)
	}
	require.Equal(t, money.Minor(1000), b.balance(t, from))
}
