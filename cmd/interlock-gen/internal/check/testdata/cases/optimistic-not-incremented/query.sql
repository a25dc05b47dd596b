-- name: Rename :execrows
-- @optimistic version
UPDATE users SET name = $1 WHERE id = $2 AND version = $3;
