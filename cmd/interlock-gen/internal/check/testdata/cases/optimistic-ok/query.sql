-- name: Rename :exec
-- @optimistic version
UPDATE users SET name = $1, version = version + 1 WHERE id = $2 AND version = $3;

-- name: RenameByEmail :one
-- @optimistic version
UPDATE users AS u SET name = $1, version = 1 + u.version
WHERE $3::bigint = u.version AND u.email = $2 RETURNING version;

-- name: RenameAgain :execrows
-- @optimistic version
UPDATE users SET name = $1, version = $3 + 1 WHERE (id, name) = ($2, $4) AND version = $3;

-- name: Remove :execrows
-- @optimistic version
DELETE FROM users WHERE id = $1 AND version = $2;
