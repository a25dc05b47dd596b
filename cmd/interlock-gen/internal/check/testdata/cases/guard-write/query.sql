-- name: CloseOrder :execrows
-- @affects one
WITH gone AS (DELETE FROM order_items WHERE order_id = $1 AND line_no = 1 RETURNING order_id)
UPDATE orders SET status = 'closed' FROM gone WHERE id = $1;
