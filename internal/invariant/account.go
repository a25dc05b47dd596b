package invariant

// Account are those of the books. Most of it is held by constraints as well; what is
// not is that balances follow the ledger.
var Account = []Invariant{
	{
		"each balance is the sum of the account's entries",
		`SELECT format('account %s: balance %s, entries %s', a.id, a.balance_minor, coalesce(e.total, 0))
		FROM accounts a
		LEFT JOIN (SELECT account_id, sum(amount_minor) AS total FROM ledger_entries GROUP BY account_id) e ON e.account_id = a.id
		WHERE a.kind = 'customer' AND a.balance_minor <> coalesce(e.total, 0)`,
	},
	{
		"all entries together sum to zero",
		`SELECT format('sum %s', sum(amount_minor)) FROM ledger_entries HAVING sum(amount_minor) <> 0`,
	},
	{
		"each transfer has two entries that sum to zero",
		`SELECT format('transfer %s: %s entries, sum %s', t.id, count(e.id), coalesce(sum(e.amount_minor), 0))
		FROM transfers t LEFT JOIN ledger_entries e ON e.transfer_id = t.id
		GROUP BY t.id HAVING count(e.id) <> 2 OR sum(e.amount_minor) <> 0`,
	},
	{
		"no balance is negative",
		`SELECT format('account %s: balance %s', id, balance_minor) FROM accounts WHERE balance_minor < 0`,
	},
	{
		"each key moved money once",
		`SELECT format('key %s: %s transfers', idempotency_key, count(*)) FROM transfers
		WHERE idempotency_key IS NOT NULL GROUP BY idempotency_key HAVING count(*) > 1`,
	},
	{
		"each welcome bonus is noted, once a user",
		`SELECT format('transfer %s to user %s', t.id, a.user_id)
		FROM transfers t JOIN accounts a ON a.id = t.to_account LEFT JOIN welcome_bonuses b ON b.transfer_id = t.id
		WHERE t.kind = 'welcome_bonus' AND b.user_id IS DISTINCT FROM a.user_id`,
	},
}
