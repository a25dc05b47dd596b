package schema_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
)

// The rows of testschema.NewDatabaseWithRows: record 1 of user 1, with its first version.
var criticalRecordRefusals = []refusal{
	{"critical_records_pkey", `insert into critical_records (id, request_key, user_id, data, checksum)
		overriding system value values (1, 'new', 1, 'x', sha256('x'))`, unique},
	{"critical_records_request_key_key", insertRecord("'first', 1, 'x', sha256('x')"), unique},
	{"critical_records_user_id_fkey", insertRecord("'new', 99, 'x', sha256('x')"), foreign},
	{"critical_records_request_key_length", insertRecord("'', 1, 'x', sha256('x')"), check},
	{"critical_records_request_key_length", insertRecord("repeat('k', 201), 1, 'x', sha256('x')"), check},
	{"critical_records_version_positive", "update critical_records set version = 0", check},
	{"critical_records_data_length", insertRecord("'new', 1, '', sha256('')"), check},
	{"critical_records_data_length", insertRecord("'new', 1, convert_to(repeat('x', 1048577), 'UTF8'), sha256(convert_to(repeat('x', 1048577), 'UTF8'))"), check},
	{"critical_records_checksum_matches", insertRecord("'new', 1, 'x', sha256('y')"), check},
	{"critical_records_checksum_matches", "update critical_records set data = 'altered'", check},
	{"critical_records_copy_fkey", insertRecord("'new', 1, 'x', sha256('x')"), foreign}, // no copy
	{"critical_records_copy_fkey", "update critical_records set data = 'altered', checksum = sha256('altered')", foreign},
	{"critical_records_copy_fkey", "update critical_records set version = 2", foreign},
	// Of the two constraints that are in the way of a deletion the server names the first.
	{"critical_record_copies_record_id_fkey", "delete from critical_records", foreign},

	{"critical_record_copies_pkey", insertCopy("1, 1, 1, 'x', sha256('x'), null"), unique},
	{"critical_record_copies_record_id_fkey", insertCopy("99, 1, 1, 'x', sha256('x'), null"), foreign},
	{"critical_record_copies_user_id_fkey", insertCopy("1, 2, 99, 'x', sha256('x'), " + firstSeal), foreign},
	{"critical_record_copies_previous_fkey", insertCopy("1, 2, 1, 'x', sha256('x'), sha256('another')"), foreign},
	{"critical_record_copies_previous_fkey", insertCopy("1, 3, 1, 'x', sha256('x'), " + firstSeal), foreign}, // leaves one out
	{"critical_record_copies_version_positive", insertCopy("1, 0, 1, 'x', sha256('x'), " + firstSeal), check},
	{"critical_record_copies_first_has_no_previous", insertCopy("1, 2, 1, 'x', sha256('x'), null"), check},
	{"critical_record_copies_first_has_no_previous", insertCopy("1, 1, 1, 'x', sha256('x'), sha256('')"), check},
	{"critical_record_copies_checksum_matches", insertCopy("1, 2, 1, 'x', sha256('y'), " + firstSeal), check},
	{"critical_record_copies_logged_fkey", insertCopy("1, 2, 1, 'x', sha256('x'), " + firstSeal), foreign}, // no entry
	{"critical_record_copies_append_only", "update critical_record_copies set user_id = 2", restrict},
	{"critical_record_copies_append_only", "delete from critical_record_copies", restrict},

	{"system_log_pkey", `insert into system_log (id, operation, record_id, version, user_id)
		overriding system value values (1, 'critical_record_created', 1, 1, 1)`, unique},
	{"system_log_record_id_version_key", insertSystemLog("'critical_record_created', 1, 1, 1"), unique},
	{"system_log_record_id_version_fkey", insertSystemLog("'critical_record_changed', 1, 2, 1"), foreign},
	{"system_log_user_id_fkey", `with copied as (` + insertCopy("1, 2, 1, 'x', sha256('x'), "+firstSeal) + `)
		` + insertSystemLog("'critical_record_changed', 1, 2, 99"), foreign},
	{"system_log_first_version_is_created", insertSystemLog("'critical_record_changed', 1, 1, 1"), check},
	{"system_log_first_version_is_created", insertSystemLog("'critical_record_created', 1, 2, 1"), check},
	{"system_log_append_only", "update system_log set user_id = 2", restrict},
	{"system_log_append_only", "delete from system_log", restrict},
	{"", insertSystemLog("'critical_record_deleted', 1, 2, 1"), badValue},
}

const firstSeal = "(select seal from critical_record_copies where record_id = 1 and version = 1)"

func insertRecord(values string) string {
	return "insert into critical_records (request_key, user_id, data, checksum) values (" + values + ")"
}

func insertCopy(values string) string {
	return "insert into critical_record_copies (record_id, version, user_id, data, checksum, previous) values (" + values + ")"
}

func insertSystemLog(values string) string {
	return "insert into system_log (operation, record_id, version, user_id) values (" + values + ")"
}

func TestTruncateOfRecordsIsRefused(t *testing.T) {
	t.Parallel()
	database := testschema.NewDatabaseWithRows(t)
	c, err := pgx.Connect(t.Context(), database.OwnerURL())
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	_, err = c.Exec(t.Context(), "truncate critical_records, critical_record_copies, system_log")
	require.Equal(t, restrict, txn.SQLState(err), "%v", err)
	require.Equal(t, "critical_record_copies_append_only", txn.ConstraintName(err))
}
