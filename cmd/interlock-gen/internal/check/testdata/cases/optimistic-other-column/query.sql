-- name: Rename :execrows
-- @optimistic version
UPDATE users u SET name = $1, version = u.id + 1 WHERE id = $2 AND version = $3;
