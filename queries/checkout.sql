-- name: LockProductsOfOrder :many
-- LockProductsOfOrder locks what is in an order, as LockProducts does, before the order itself:
-- what is in it never changes.
SELECT p.id FROM products p
WHERE p.id IN (SELECT i.product_id FROM order_items i WHERE i.order_id = sqlc.arg(order_id))
ORDER BY p.id FOR NO KEY UPDATE OF p;

-- name: GetOrderWithUser :one
-- GetOrderWithUser reads what a letter about an order needs.
SELECT o.id, o.status, o.total_minor, u.email, u.name
FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = sqlc.arg(id);
