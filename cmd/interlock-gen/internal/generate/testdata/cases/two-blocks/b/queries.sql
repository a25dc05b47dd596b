-- name: GetItem :one
SELECT b FROM items WHERE b = $1 FOR UPDATE;
