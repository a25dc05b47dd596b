-- name: ListUsers :many
SELECT id FROM users ORDER BY id LIMIT 100 OFFSET $1;
