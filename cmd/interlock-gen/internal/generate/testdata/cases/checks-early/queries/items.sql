-- name: LockNames :many
SELECT DISTINCT name FROM items WHERE id = ANY (sqlc.arg(ids)::bigint[]) FOR NO KEY UPDATE;

-- name: GetItem :one
SELECT * FROM items WHERE id = sqlc.arg(id);
