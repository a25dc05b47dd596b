-- name: Price :one
-- @reads
SELECT price(id) FROM products WHERE id = $1;
