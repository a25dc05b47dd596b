package schema_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
)

// SQLSTATEs of refusals.
const (
	notNull  = "23502"
	restrict = "23001"
	foreign  = "23503"
	unique   = "23505"
	check    = "23514"
	badValue = "22P02"
)

// A refusal is a statement that a constraint refuses.
type refusal struct{ name, sql, state string }

var refusals = slices.Concat(
	accountRefusals,
	postRefusals,
	orderRefusals,
	bookingRefusals,
	criticalRecordRefusals,
	certificateRefusals,
	checkoutRefusals,
	reportRefusals,
)

// The rows of testschema.NewDatabaseWithRows: users 1 and 2, system accounts 1 and 2,
// customers' accounts 3 and 4, transfer 1 a bonus from 2 to 3, transfer 2 from 3 to 4.
var accountRefusals = []refusal{
	{"users_pkey", "insert into users (id, email, name) overriding system value values (1, 'new@example.com', 'N')", unique},
	{"users_email_key", "insert into users (email, name) values ('ADA@Example.com', 'N')", unique},
	{"users_email_format", "insert into users (email, name) values ('ada', 'N')", check},
	{"users_email_format", "insert into users (email, name) values ('a b@example.com', 'N')", check},
	{"users_email_format", "insert into users (email, name) values ('a@b@example.com', 'N')", check},
	{"users_email_format", "insert into users (email, name) values ('a@' || repeat('b', 253), 'N')", check},
	{"users_name_length", "insert into users (email, name) values ('new@example.com', '')", check},
	{"users_name_length", "insert into users (email, name) values ('new@example.com', repeat('n', 201))", check},

	{"profiles_pkey", "insert into profiles (user_id, display_name) values (1, 'N')", unique},
	{"profiles_user_id_fkey", "insert into profiles (user_id, display_name) values (99, 'N')", foreign},
	{"profiles_display_name_length", "update profiles set display_name = ''", check},
	{"profiles_bio_length", "update profiles set bio = repeat('b', 2001)", check},

	{"settings_pkey", "insert into settings (user_id) values (1)", unique},
	{"settings_user_id_fkey", "insert into settings (user_id) values (99)", foreign},
	{"settings_locale_length", "update settings set locale = 'e'", check},
	{"settings_time_zone_length", "update settings set time_zone = ''", check},

	{"accounts_pkey", "insert into accounts (id, user_id) overriding system value values (1, 1)", unique},
	// A second row with the id breaks the primary key first; the pair is for foreign keys.
	{"accounts_pkey", "insert into accounts (id, user_id, kind) overriding system value values (3, 1, 'customer')", unique},
	{"accounts_code_key", "insert into accounts (kind, code) values ('system', 'external')", unique},
	{"accounts_user_id_fkey", "insert into accounts (user_id) values (99)", foreign},
	{"accounts_user_id_fkey", "delete from users where id = 1", foreign},
	{"accounts_customer_has_user", "insert into accounts (kind) values ('customer')", check},
	{"accounts_customer_has_user", "update accounts set user_id = 1 where code = 'bonus'", check},
	{"accounts_system_has_code", "insert into accounts (kind) values ('system')", check},
	{"accounts_system_has_code", "update accounts set code = 'x' where id = 3", check},
	{"accounts_code_length", "update accounts set code = '' where code = 'bonus'", check},
	{"accounts_balance_not_negative", "update accounts set balance_minor = balance_minor - 100000 where id = 3", check},
	{"accounts_system_has_no_balance", "update accounts set balance_minor = 1 where code = 'external'", check},
	{"accounts_system_is_open", "update accounts set status = 'frozen' where code = 'external'", check},
	{"accounts_closed_is_empty", "update accounts set status = 'closed' where id = 3", check},
	{"accounts_version_positive", "update accounts set version = 0 where id = 3", check},
	{"", "update accounts set status = 'lost' where id = 3", badValue},
	{"", "insert into accounts (kind, user_id) values ('other', 1)", badValue},
	{"", "update accounts set balance_minor = null where id = 3", notNull},

	{"transfers_pkey", `insert into transfers (id, kind, idempotency_key, from_account, to_account, amount_minor)
		overriding system value values (1, 'transfer', 'new', 3, 4, 1)`, unique},
	{"transfers_idempotency_key_key", insertTransfer("'transfer', 'first', 3, 4, 1"), unique},
	{"transfers_idempotency_key_required", insertTransfer("'transfer', null, 3, 4, 1"), check},
	{"transfers_idempotency_key_required", insertTransfer("'welcome_bonus', 'new', 2, 4, 1"), check},
	{"transfers_idempotency_key_length", insertTransfer("'transfer', '', 3, 4, 1"), check},
	{"transfers_idempotency_key_length", insertTransfer("'transfer', repeat('k', 201), 3, 4, 1"), check},
	{"transfers_amount_positive", insertTransfer("'transfer', 'new', 3, 4, 0"), check},
	{"transfers_amount_positive", insertTransfer("'transfer', 'new', 3, 4, -1"), check},
	{"transfers_accounts_differ", insertTransfer("'transfer', 'new', 3, 3, 1"), check},
	{"transfers_from_account_fkey", insertTransfer("'transfer', 'new', 99, 4, 1"), foreign},
	{"transfers_from_account_fkey", insertTransfer("'transfer', 'new', 1, 4, 1"), foreign},
	{"transfers_from_account_fkey", insertTransfer("'deposit', 'new', 3, 4, 1"), foreign},
	{"transfers_from_account_fkey", insertTransfer("'welcome_bonus', null, 3, 4, 1"), foreign},
	{"transfers_to_account_fkey", insertTransfer("'transfer', 'new', 3, 99, 1"), foreign},
	{"transfers_to_account_fkey", insertTransfer("'transfer', 'new', 3, 1, 1"), foreign},
	{"transfers_to_account_fkey", insertTransfer("'withdrawal', 'new', 3, 4, 1"), foreign},
	{"transfers_to_account_fkey", "delete from accounts where id = 4", foreign},
	{"transfers_memo_length", `insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor, memo)
		values ('transfer', 'new', 3, 4, 1, repeat('m', 501))`, check},
	{"transfers_append_only", "update transfers set memo = 'changed'", restrict},
	{"transfers_append_only", "delete from transfers where id = 2", restrict},
	{"transfers_append_only", "delete from transfers where false", restrict},
	{"transfers_entries_match", insertTransfer("'transfer', 'new', 3, 4, 1"), check}, // no entries
	{"transfers_entries_match", `with t as (` + insertTransfer("'transfer', 'new', 3, 4, 5") + ` returning id)
		insert into ledger_entries (transfer_id, account_id, amount_minor) select id, 3, -5 from t`, check}, // one side
	{"transfers_entries_match", `with t as (` + insertTransfer("'transfer', 'new', 3, 4, 5") + ` returning id)
		insert into ledger_entries (transfer_id, account_id, amount_minor)
		select id, 3, -4 from t union all select id, 4, 4 from t`, check}, // zero, but another amount
	{"transfers_entries_match", `with t as (` + insertTransfer("'transfer', 'new', 3, 4, 5") + ` returning id)
		insert into ledger_entries (transfer_id, account_id, amount_minor)
		select id, 3, 5 from t union all select id, 4, -5 from t`, check}, // the wrong way round
	{"transfers_entries_match", `with t as (` + insertTransfer("'transfer', 'new', 3, 4, 5") + ` returning id)
		insert into ledger_entries (transfer_id, account_id, amount_minor)
		select id, 3, -5 from t union all select id, 1, 5 from t`, check}, // to somebody else

	{"ledger_entries_pkey", `insert into ledger_entries (id, transfer_id, account_id, amount_minor)
		overriding system value values (1, 1, 1, 1)`, unique},
	{"ledger_entries_transfer_id_account_id_key", insertEntry("2, 3, -1"), unique},
	{"ledger_entries_transfer_id_fkey", insertEntry("99, 3, 1"), foreign},
	{"ledger_entries_account_id_fkey", insertEntry("2, 99, 1"), foreign},
	{"ledger_entries_amount_not_zero", insertEntry("2, 1, 0"), check},
	{"ledger_entries_match_transfer", insertEntry("2, 1, 1"), check}, // a third entry
	{"ledger_entries_append_only", "update ledger_entries set amount_minor = 2 * amount_minor", restrict},
	{"ledger_entries_append_only", "delete from ledger_entries", restrict},

	{"welcome_bonuses_pkey", "insert into welcome_bonuses (user_id, transfer_id) values (1, 2)", unique},
	{"welcome_bonuses_transfer_id_key", "insert into welcome_bonuses (user_id, transfer_id) values (2, 1)", unique},
	{"welcome_bonuses_user_id_fkey", "insert into welcome_bonuses (user_id, transfer_id) values (99, 2)", foreign},
	{"welcome_bonuses_transfer_id_fkey", "insert into welcome_bonuses (user_id, transfer_id) values (2, 99)", foreign},

	{"activity_log_pkey", "insert into activity_log (id, user_id, action, entity) overriding system value values (1, 1, 'a', 'e')", unique},
	{"activity_log_user_id_fkey", "insert into activity_log (user_id, action, entity) values (99, 'a', 'e')", foreign},
	{"activity_log_action_length", "insert into activity_log (user_id, action, entity) values (1, '', 'e')", check},
	{"activity_log_entity_length", "insert into activity_log (user_id, action, entity) values (1, 'a', '')", check},
	{"activity_log_details_object", "insert into activity_log (user_id, action, entity, details) values (1, 'a', 'e', '[]')", check},
}

func insertTransfer(values string) string {
	return "insert into transfers (kind, idempotency_key, from_account, to_account, amount_minor) values (" + values + ")"
}

func insertEntry(values string) string {
	return "insert into ledger_entries (transfer_id, account_id, amount_minor) values (" + values + ")"
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	pool := database.Pool(t) // the ordinary role
	for _, r := range refusals {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), r.sql); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "set constraints all immediate")
			return err
		})
		require.Equal(t, r.state, txn.SQLState(err), "%s: %s: %v", r.name, r.sql, err)
		require.Equal(t, r.name, txn.ConstraintName(err), "%s: %v", r.sql, err)
	}
}

// unreachable are the constraints that another one always comes before.
var unreachable = map[string]string{
	"accounts_id_kind_key":                "id alone is unique; the pair is what foreign keys refer to",
	"posts_id_author_id_key":              "id alone is unique; the pair is what a foreign key refers to",
	"seats_id_event_id_key":               "id alone is unique; the pair is what foreign keys refer to",
	"orders_id_user_id_total_minor_key":   "id alone is unique; all three are what foreign keys refer to",
	"critical_record_copies_checksum_key": "record_id and version alone are unique; the checksum is for foreign keys",
	"critical_record_copies_seal_key":     "record_id and version alone are unique; the seal is for foreign keys",

	"inventory_reservations_id_user_id_total_minor_key": "id alone is unique; all three are what foreign keys refer to",
	"payments_id_amount_minor_key":                      "id alone is unique; the pair is what foreign keys refer to",
}

// Whoever adds a constraint adds a row to refusals.
func TestEveryConstraintIsTested(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	tested := map[string]bool{}
	for _, r := range refusals {
		tested[r.name] = true
	}
	names := query(t, database.OwnerURL(), `
		select conname::text from pg_constraint n join pg_class r on r.oid = n.conrelid
		where n.connamespace = 'public'::regnamespace and n.contype <> 'n' and r.relname <> 'goose_db_version'
		union select tgname::text from pg_trigger where not tgisinternal
		union select i.indexrelid::regclass::text from pg_index i join pg_class r on r.oid = i.indrelid
		where i.indisunique and r.relnamespace = 'public'::regnamespace and r.relkind = 'r' and r.relname <> 'goose_db_version'`)
	for _, name := range names {
		require.True(t, tested[name] || unreachable[name] != "", "no test of %s", name)
	}
	require.Greater(t, len(names), 50)
}

// The owner, whom privileges do not stop, is stopped by the triggers.
func TestTruncateIsRefused(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	c, err := pgx.Connect(t.Context(), database.OwnerURL())
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	for table, sql := range map[string]string{
		"ledger_entries": "truncate ledger_entries",
		"transfers":      "truncate transfers, ledger_entries, welcome_bonuses",
	} {
		_, err := c.Exec(t.Context(), sql)
		require.Equal(t, restrict, txn.SQLState(err), "%v", err)
		require.Equal(t, table+"_append_only", txn.ConstraintName(err))
	}
}

// The three rows of a transfer come in separate statements here: the constraint waits for
// COMMIT, and is asked then.
func TestEntriesAreCheckedAtCommit(t *testing.T) {
	t.Parallel()
	pool := testschema.NewDatabaseWithRows(t).Pool(t)
	transfer := func(entries ...string) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			var id int64
			err := tx.QueryRow(t.Context(), insertTransfer("'transfer', 'new', 3, 4, 5")+" returning id").Scan(&id)
			require.NoError(t, err)
			for _, e := range entries {
				_, err := tx.Exec(t.Context(), "insert into ledger_entries (transfer_id, account_id, amount_minor) values ($1, "+e+")", id)
				require.NoError(t, err)
			}
			_, err = tx.Exec(t.Context(), "update accounts set balance_minor = balance_minor + case id when 3 then -5 else 5 end where id in (3, 4)")
			require.NoError(t, err)
			return nil
		})
	}
	require.Equal(t, "transfers_entries_match", txn.ConstraintName(transfer("3, -5")))
	require.NoError(t, transfer("3, -5", "4, 5"))
}

// A session's own temporary tables must not take the place of the real ones inside the
// constraint's function.
func TestTemporaryTablesDoNotHideTheBooks(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	c, err := pgx.Connect(t.Context(), database.OwnerURL())
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	_, err = c.Exec(t.Context(), `
		create temporary table ledger_entries (transfer_id bigint, account_id bigint, amount_minor bigint);
		insert into pg_temp.ledger_entries select n, a, x from generate_series(1, 20) n, (values (3, -1), (4, 1)) e (a, x)`)
	require.NoError(t, err)
	_, err = c.Exec(t.Context(), insertTransfer("'transfer', 'new', 3, 4, 1"))
	require.Equal(t, "transfers_entries_match", txn.ConstraintName(err), "%v", err)
}
