-- name: Price :one
-- Price is what an item costs.
-- @reads
SELECT price(id)::bigint AS price FROM items WHERE id = $1;
