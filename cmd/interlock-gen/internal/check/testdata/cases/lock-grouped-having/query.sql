-- name: LockIfAny :one
SELECT 1 FROM accounts HAVING true FOR SHARE;
