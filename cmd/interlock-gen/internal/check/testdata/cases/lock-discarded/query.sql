-- name: LockAccount :exec
SELECT 1 FROM accounts WHERE id = $1 FOR NO KEY UPDATE;
