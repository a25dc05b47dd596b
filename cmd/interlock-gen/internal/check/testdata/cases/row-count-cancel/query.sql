-- name: CancelOrder :exec
UPDATE orders SET status = 'cancelled' WHERE id = $1;
