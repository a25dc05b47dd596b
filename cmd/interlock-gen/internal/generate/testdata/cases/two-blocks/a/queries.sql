-- name: GetItem :one
SELECT a FROM items WHERE a = $1;
