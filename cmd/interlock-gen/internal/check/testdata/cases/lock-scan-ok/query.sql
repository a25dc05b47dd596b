-- name: LockAccountsOf :many
SELECT id FROM accounts WHERE user_id = $1 ORDER BY id FOR NO KEY UPDATE;

-- name: LockSome :many
SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT 10 FOR NO KEY UPDATE;

-- name: LockTen :many
SELECT id FROM accounts WHERE balance_minor > 0 ORDER BY id LIMIT 10 FOR NO KEY UPDATE;

-- name: ReadAll :many
SELECT id FROM orders WHERE status = $1;

-- name: CloseOrder :one
UPDATE orders SET status = 'closed' WHERE id = $1 AND status = ANY ($2::text[]) RETURNING (SELECT count(*) FROM readings);

-- name: Copy :exec
INSERT INTO readings SELECT at, value FROM readings;

-- name: LockMine :one
SELECT id FROM accounts WHERE id = $1 AND user_id = current_setting('app.user')::bigint FOR NO KEY UPDATE;

-- name: LockAfter :one
SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE;
