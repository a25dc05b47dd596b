-- name: LockAccounts :many
SELECT id FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: LockAccountsOf :many
SELECT id FROM accounts WHERE user_id = $1 ORDER BY id DESC FOR NO KEY UPDATE;
