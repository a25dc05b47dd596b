-- name: GetItem :one
SELECT id FROM items WHERE id = $1;
