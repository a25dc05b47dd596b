-- name: CloseOrders :execrows
-- @allow lock-order one process does this
UPDATE orders SET status = 'closed' WHERE user_id = $1;
