-- name: Debit :exec
-- @affects one
UPDATE accounts SET balance_minor = balance_minor - $1 WHERE id = $2 AND balance_minor >= $1;

-- name: Rename :exec
-- @optimistic version
UPDATE users SET name = $1, version = version + 1 WHERE id = $2 AND version = $3;

-- name: CancelOrder :execrows
UPDATE orders SET status = 'cancelled' WHERE id = $1;

-- name: ClearItems :exec
-- @allow lock-order the caller holds the order
DELETE FROM order_items WHERE order_id = $1;

-- name: AddUser :exec
INSERT INTO users (id, email, name, version) VALUES ($1, $2, $3, 1);
