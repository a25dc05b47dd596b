-- name: LockItems :many
SELECT line_no FROM order_items WHERE order_id = ANY ($1::bigint[]) ORDER BY order_id FOR NO KEY UPDATE;
