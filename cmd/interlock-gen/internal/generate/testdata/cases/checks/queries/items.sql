-- name: RenameItem :execrows
-- @optimistic version
UPDATE items SET name = sqlc.arg(name), version = version + 1 WHERE id = sqlc.arg(id);

-- name: Take :one
SELECT pg_advisory_lock(sqlc.arg(key));

-- name: LockItems :many
SELECT * FROM items WHERE id = ANY (sqlc.arg(ids)::bigint[]) FOR NO KEY UPDATE;

-- name: DeleteItem :exec
-- @allow row-count it may be gone already
DELETE FROM items WHERE id = sqlc.arg(id);

-- name: GetItem :one
-- @allow offset it is one row
SELECT * FROM items WHERE id = sqlc.arg(id);
