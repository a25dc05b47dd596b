-- name: LockItems :many
SELECT quantity FROM order_items WHERE order_id = ANY ($1::bigint[]) ORDER BY order_id, line_no, quantity FOR NO KEY UPDATE;

-- name: LockItemsOfOrder :many
SELECT quantity FROM order_items WHERE order_id = $1 ORDER BY line_no FOR NO KEY UPDATE;

-- name: LockItem :many
SELECT quantity FROM order_items WHERE order_id = $1 AND line_no = $2 ORDER BY quantity DESC FOR NO KEY UPDATE;

-- name: LockItemsAgain :many
SELECT i.quantity FROM order_items AS i WHERE i.order_id = $1 ORDER BY i.order_id DESC, i.line_no FOR NO KEY UPDATE;

-- name: KeepUsers :many
SELECT id FROM users WHERE id = ANY ($1::bigint[]) ORDER BY id FOR SHARE;

-- name: KeepUsersByEmail :many
SELECT id FROM users WHERE email = ANY ($1::text[]) ORDER BY email FOR SHARE;

-- name: LockUsersOrFail :many
SELECT id FROM users WHERE email = ANY ($1::text[]) ORDER BY email FOR NO KEY UPDATE NOWAIT;
