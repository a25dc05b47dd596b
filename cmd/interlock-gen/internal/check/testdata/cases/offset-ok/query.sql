-- name: ListUsers :many
SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT 100;

-- name: Fence :many
SELECT id FROM (SELECT id FROM users OFFSET 0) u;
