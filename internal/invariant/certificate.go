package invariant

// Certificate are what must be true of the certificates of balances.
var Certificate = []Invariant{
	{
		"each certificate says what the ledger said at its moment",
		`SELECT format('certificate %s of account %s: balance %s, entries %s, its own last entry: %s',
			c.id, c.account_id, c.balance_minor, coalesce(e.total, 0), e.last)
		FROM balance_certificates c
		LEFT JOIN LATERAL (
			SELECT sum(amount_minor) AS total, max(id) AS last FROM ledger_entries
			WHERE account_id = c.account_id AND id <= c.last_entry_id
		) e ON true
		WHERE c.balance_minor <> coalesce(e.total, 0) OR c.last_entry_id IS DISTINCT FROM e.last`,
	},
}
