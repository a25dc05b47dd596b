-- name: LockAccount :one
SELECT id FROM accounts WHERE id = $1 FOR UPDATE;

-- name: Debit :exec
UPDATE accounts SET balance_minor = 0 WHERE id = $1;

-- name: Rename :execrows
-- @optimistic version
UPDATE users SET name = $1 WHERE id = $2;
