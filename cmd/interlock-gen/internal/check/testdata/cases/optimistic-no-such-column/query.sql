-- name: Rename :execrows
-- @optimistic versoin
UPDATE users SET name = $1, version = version + 1 WHERE id = $2 AND version = $3;
