-- name: LockPrice :one
-- @reads
SELECT price(id) FROM products WHERE id = $1 FOR SHARE;
