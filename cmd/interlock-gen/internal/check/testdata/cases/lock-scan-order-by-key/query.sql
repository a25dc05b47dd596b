-- name: LockByStatus :many
SELECT id FROM orders WHERE status = $1 ORDER BY id FOR NO KEY UPDATE;
