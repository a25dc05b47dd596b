package account_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/db"
	"github.com/interlock-go/interlock/db/money"
	"github.com/interlock-go/interlock/service/account"
	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
)

func TestSignUp(t *testing.T) {
	b := setup(t, txn.Config{})
	user, err := account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "Ada@Example.com", Name: "Ada"})
	require.NoError(t, err)
	require.Equal(t, account.WelcomeBonus, b.balance(t, user.AccountID))
	require.Equal(t, []money.Minor{account.WelcomeBonus}, b.statement(t, user.AccountID))

	require.NoError(t, txn.WithReadTx(t.Context(), b.db, txn.Options{}, func(ctx context.Context, rx *txn.ReadTx) error {
		q := db.NewRead(rx)
		found, err := q.FindUserByEmail(ctx, "ada@example.COM")
		require.NoError(t, err)
		require.Equal(t, user.UserID, found.ID)
		require.Equal(t, "Ada@Example.com", found.Email, "as it was written")
		require.True(t, found.Active)
		profile, err := q.GetProfile(ctx, user.UserID)
		require.NoError(t, err)
		require.Equal(t, "Ada", profile.DisplayName)
		settings, err := q.GetSettings(ctx, user.UserID)
		require.NoError(t, err)
		require.Equal(t, "UTC", settings.TimeZone)
		accounts, err := q.ListAccountsOfUser(ctx, user.UserID)
		require.NoError(t, err)
		require.Len(t, accounts, 1)
		require.Equal(t, user.AccountID, accounts[0].ID)
		activity, err := q.ListActivity(ctx, db.ListActivityParams{UserID: user.UserID, BeforeID: 1 << 40, MaxRows: 10})
		require.NoError(t, err)
		require.Len(t, activity, 1)
		require.Equal(t, "sign_up", activity[0].Action)
		return nil
	}))
}

func TestSignUpRefusals(t *testing.T) {
	b := setup(t, txn.Config{})
	_, err := account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
	require.NoError(t, err)
	_, err = account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "ADA@example.com", Name: "Another"})
	require.ErrorIs(t, err, account.ErrEmailTaken)
	require.Equal(t, "users_email_key", txn.ConstraintName(err), "the cause is kept")

	for field, r := range map[string]account.SignUpRequest{
		"Email": {Email: "ada", Name: "Ada"},
		"Name":  {Email: "new@example.com", Name: strings.Repeat("n", 201)},
		"":      {Email: "new\x00@example.com", Name: "Ada"},
	} {
		_, err = account.SignUp(t.Context(), b.db, r)
		invalid, ok := errors.AsType[*account.InvalidError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, field, invalid.Field)
	}
	for _, table := range []string{"users", "profiles", "settings", "welcome_bonuses", "transfers", "activity_log", "river.river_job"} {
		require.EqualValues(t, 1, fromTable[int](t, b, "select count(*) from "+table), table)
	}
}

// All or nothing: whichever of its statements fails, nothing of a sign-up stays.
func TestSignUpIsAtomic(t *testing.T) {
	b := setup(t, txn.Config{})
	for _, table := range []string{"users", "profiles", "settings", "accounts", "transfers", "ledger_entries", "welcome_bonuses", "activity_log", "river.river_job"} {
		_, err := b.admin.Exec(t.Context(), `
			create or replace function fail() returns trigger language plpgsql as $$ begin raise exception 'injected'; end $$;
			create trigger fail after insert on `+table+` for each row execute function fail()`)
		require.NoError(t, err)
		_, err = account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
		require.Equal(t, "P0001", txn.SQLState(err), "%s: %v", table, err)
		_, err = b.admin.Exec(t.Context(), "drop trigger fail on "+table)
		require.NoError(t, err)
		require.Zero(t, fromTable[int](t, b, `
			select (select count(*) from users) + (select count(*) from profiles) + (select count(*) from settings)
				+ (select count(*) from accounts where kind = 'customer') + (select count(*) from transfers)
				+ (select count(*) from ledger_entries) + (select count(*) from welcome_bonuses) + (select count(*) from activity_log)
				+ (select count(*) from river.river_job)`),
			"after a failure in %s", table)
	}
}

// The bonus is paid in the round trip of COMMIT, which does not happen if no money moved: it was
// passed by, by a trigger or a policy of row security.
func TestSignUpPaysTheBonus(t *testing.T) {
	b := setup(t, txn.Config{})
	for table, query := range map[string]string{"transfers": "NoteWelcomeBonus", "accounts": "RecordTransfer"} {
		event := map[string]string{"transfers": "insert", "accounts": "update"}[table]
		exec(t, b.admin, fmt.Sprintf(`
			create or replace function pass_by() returns trigger language plpgsql as $$ begin return null; end $$;
			create trigger pass_by before %s on %s for each row execute function pass_by()`, event, table))
		_, err := account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
		passed, ok := errors.AsType[*txn.AffectedError](err)
		require.True(t, ok, "%s: %v", table, err)
		require.Equal(t, query, passed.Query)
		exec(t, b.admin, "drop trigger pass_by on "+table)
		require.Zero(t, fromTable[int](t, b, "select (select count(*) from users) + (select count(*) from river.river_job)"))
	}
}

func TestSignUpOnce(t *testing.T) {
	b := setup(t, txn.Config{})
	const n = 20
	start := txntest.NewBarrier(n)
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			if errs[i] = start.Wait(t.Context()); errs[i] == nil {
				_, errs[i] = account.SignUp(t.Context(), b.db, account.SignUpRequest{Email: "ada@example.com", Name: "Ada"})
			}
		})
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		require.ErrorIs(t, err, account.ErrEmailTaken)
	}
	require.Equal(t, 1, done)
	require.Equal(t, 1, fromTable[int](t, b, "select count(*) from welcome_bonuses"))
}

func TestGrantWelcomeBonus(t *testing.T) {
	b := setup(t, txn.Config{})
	id := b.customer(t, 1000)
	receipt, err := account.GrantWelcomeBonus(t.Context(), b.db, id)
	require.NoError(t, err)
	require.True(t, receipt.Replayed, "sign-up gave it")
	require.Equal(t, money.Minor(1000), b.balance(t, id))

	_, err = account.GrantWelcomeBonus(t.Context(), b.db, 1<<40)
	require.ErrorIs(t, err, account.ErrUnknownAccount)
	_, err = account.GrantWelcomeBonus(t.Context(), b.db, fromTable[int64](t, b, "select id from accounts where code = 'bonus'"))
	require.ErrorIs(t, err, account.ErrUnknownAccount)

	_, first, second := b.unwelcomed(t)
	const n = 16
	start := txntest.NewBarrier(n)
	var wg sync.WaitGroup
	receipts, errs := make([]account.Receipt, n), make([]error, n)
	for i := range n {
		wg.Go(func() {
			if errs[i] = start.Wait(t.Context()); errs[i] == nil {
				receipts[i], errs[i] = account.GrantWelcomeBonus(t.Context(), b.db, []int64{first, second}[i%2])
			}
		})
	}
	wg.Wait()
	fresh := 0
	for i, r := range receipts {
		require.NoError(t, errs[i])
		require.Equal(t, receipts[0].TransferID, r.TransferID)
		if !r.Replayed {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	require.Equal(t, account.WelcomeBonus, b.balance(t, first)+b.balance(t, second))
}
