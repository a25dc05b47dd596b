-- name: LockBoth :many
SELECT id FROM accounts UNION SELECT id FROM users FOR UPDATE;
