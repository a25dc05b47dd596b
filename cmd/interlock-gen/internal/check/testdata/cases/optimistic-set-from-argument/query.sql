-- name: Rename :execrows
-- @optimistic version
UPDATE users SET name = $1, version = $4 WHERE id = $2 AND version = $3;
