package schema_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
)

// The rows of testschema.NewDatabaseWithRows: report 1 of kind "test" with the key "first".
var reportRefusals = []refusal{
	{"reports_pkey", `insert into reports (id, kind, request_key, way, users, active_users, accounts, balances_minor, entries_minor,
		transfers, posts, published_posts, read_at) overriding system value
		values (1, 'test', 'new', 'serializable', 0, 0, 0, 0, 0, 0, 0, 0, now())`, unique},
	{"reports_kind_request_key_key", insertReport("'test', 'first', 'serializable', 0, 0, 0, 0, 0, 0, 0, 0"), unique},
	{"reports_kind_length", insertReport("'', 'new', 'serializable', 0, 0, 0, 0, 0, 0, 0, 0"), check},
	{"reports_kind_length", insertReport("repeat('k', 51), 'new', 'serializable', 0, 0, 0, 0, 0, 0, 0, 0"), check},
	{"reports_request_key_length", insertReport("'test', '', 'serializable', 0, 0, 0, 0, 0, 0, 0, 0"), check},
	{"reports_request_key_length", insertReport("'test', repeat('k', 201), 'serializable', 0, 0, 0, 0, 0, 0, 0, 0"), check},
	{"reports_active_users_are_users", insertReport("'test', 'new', 'serializable', 1, 2, 0, 0, 0, 0, 0, 0"), check},
	{"reports_active_users_are_users", insertReport("'test', 'new', 'serializable', 1, -1, 0, 0, 0, 0, 0, 0"), check},
	{"reports_accounts_not_negative", insertReport("'test', 'new', 'serializable', 0, 0, -1, 0, 0, 0, 0, 0"), check},
	{"reports_balances_not_negative", insertReport("'test', 'new', 'serializable', 0, 0, 0, -1, 0, 0, 0, 0"), check},
	{"reports_transfers_not_negative", insertReport("'test', 'new', 'serializable', 0, 0, 0, 0, 0, -1, 0, 0"), check},
	{"reports_published_posts_are_posts", insertReport("'test', 'new', 'serializable', 0, 0, 0, 0, 0, 0, 1, 2"), check},
	{"reports_published_posts_are_posts", insertReport("'test', 'new', 'serializable', 0, 0, 0, 0, 0, 0, 1, -1"), check},
	{"reports_append_only", "update reports set users = 0", restrict},
	{"reports_append_only", "delete from reports", restrict},
	{"", insertReport("'test', 'new', 'dirty_read', 0, 0, 0, 0, 0, 0, 0, 0"), badValue},
	{"", insertReport("'test', 'new', 'serializable', null, 0, 0, 0, 0, 0, 0, 0"), notNull},
}

func insertReport(values string) string {
	return `insert into reports (kind, request_key, way, users, active_users, accounts, balances_minor, entries_minor,
		transfers, posts, published_posts, read_at) values (` + values + ", now())"
}

func TestTruncateOfReportsIsRefused(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	c, err := pgx.Connect(t.Context(), database.OwnerURL())
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	_, err = c.Exec(t.Context(), "truncate reports")
	require.Equal(t, restrict, txn.SQLState(err), "%v", err)
	require.Equal(t, "reports_append_only", txn.ConstraintName(err))
}
