-- name: LockAccount :execrows
SELECT 1 FROM accounts WHERE id = $1 FOR NO KEY UPDATE;

-- name: LockTable :exec
LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE;

-- name: LockKey :exec
SELECT pg_advisory_xact_lock($1);
