-- name: CloseOrder :exec
-- @affects one
MERGE INTO orders USING users ON users.id = orders.user_id AND orders.id = $1 AND users.id = $2
WHEN MATCHED THEN UPDATE SET status = 'closed';
