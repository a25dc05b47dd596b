-- name: GetItem :one
SELECT * FROM items WHERE id = $1;

-- name: ListItems :many
SELECT * FROM items WHERE name = $1 ORDER BY id;

-- name: RenameItem :one
-- RenameItem gives an item another name.
-- @optimistic version
UPDATE items SET name = $1, version = version + 1 WHERE id = $2 AND version = $3 RETURNING *;

-- name: RemoveItem :execrows
-- @affects one
DELETE FROM items WHERE id = $1;

-- name: CopyItems :copyfrom
INSERT INTO items (id, name, version) VALUES ($1, $2, $3);
