package schema_test

import "strings"

var certificateRefusals = []refusal{
	{"balance_certificates_pkey", `insert into balance_certificates (id, idempotency_key, account_id, at_least_minor, balance_minor, last_entry_id)
		overriding system value values (1, 'one', 3, 0, 900, 3), (1, 'other', 3, 0, 900, 3)`, unique},
	{"balance_certificates_idempotency_key_key", insertCertificate("'one', 3, 0, 900, 3", "'one', 4, 0, 100, 4"), unique},
	{"balance_certificates_account_id_fkey", insertCertificate("'one', 99, 0, 900, 3"), foreign},
	{"balance_certificates_account_id_fkey", insertCertificate("'one', 1, 0, 900, 3"), foreign}, // the system's
	{"balance_certificates_idempotency_key_length", insertCertificate("'', 3, 0, 900, 3"), check},
	{"balance_certificates_idempotency_key_length", insertCertificate("repeat('k', 201), 3, 0, 900, 3"), check},
	{"balance_certificates_at_least_not_negative", insertCertificate("'one', 3, -1, 900, 3"), check},
	{"balance_certificates_balance_suffices", insertCertificate("'one', 3, 901, 900, 3"), check},
	{"balance_certificates_last_entry_required", insertCertificate("'one', 3, 0, 900, null"), check},
	{"balance_certificates_append_only", "update balance_certificates set balance_minor = 0", restrict},
	{"balance_certificates_append_only", "delete from balance_certificates", restrict},
}

func insertCertificate(rows ...string) string {
	return `insert into balance_certificates (idempotency_key, account_id, at_least_minor, balance_minor, last_entry_id)
		values (` + strings.Join(rows, "), (") + ")"
}
