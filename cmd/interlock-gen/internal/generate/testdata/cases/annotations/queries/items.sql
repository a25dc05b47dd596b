-- name: RenameItem :exec
-- @optimistc version
UPDATE items SET name = $1, version = version + 1 WHERE id = $2 AND version = $3; -- @affects one

-- name: GetItem :one
-- @reads items
SELECT id FROM items WHERE id = $1;
