-- name: LockByName :many
SELECT id FROM users WHERE name = $1 ORDER BY version, id FOR NO KEY UPDATE;
