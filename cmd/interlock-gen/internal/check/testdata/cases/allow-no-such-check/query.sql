-- name: LockAll :many
-- @allow lock-ordre nobody else locks users
SELECT name FROM users WHERE name = $1 ORDER BY id LIMIT 10 FOR NO KEY UPDATE;
