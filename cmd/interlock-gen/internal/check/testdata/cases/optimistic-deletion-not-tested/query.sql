-- name: Remove :execrows
-- @optimistic version
DELETE FROM users WHERE id = $1;
