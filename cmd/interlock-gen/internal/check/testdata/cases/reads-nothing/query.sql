-- name: GetProduct :one
-- @reads
SELECT sku FROM products WHERE id = $1;
