-- name: LockAll :many
-- @allow lock-order only one process does this, under an advisory lock
-- @allow lock-scan it is for a small table
SELECT name FROM users WHERE name = $1 FOR NO KEY UPDATE;
