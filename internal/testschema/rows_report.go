package testschema

// reportRows are report 1, of kind "test" with the key "first".
const reportRows = `;
	INSERT INTO reports (kind, request_key, way, users, active_users, accounts, balances_minor, entries_minor, transfers, posts, published_posts, read_at)
		VALUES ('test', 'first', 'repeatable_read', 2, 2, 2, 1000, 1000, 2, 2, 1, now())`
