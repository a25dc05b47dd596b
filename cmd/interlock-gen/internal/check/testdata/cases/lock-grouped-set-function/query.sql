-- name: LockCopies :many
SELECT id, generate_series(1, 3) FROM accounts WHERE id = $1 FOR UPDATE;
