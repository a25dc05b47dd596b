-- name: Rename :execrows
-- @optimistic version
UPDATE users AS u SET name = $1, version = u.version + 1 WHERE (id, u.version) = ($2, $3) AND version = $3;
