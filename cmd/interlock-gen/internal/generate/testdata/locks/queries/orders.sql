-- name: GetOrder :one
SELECT id, status FROM shop.orders WHERE id = $1;

-- name: PlaceOrder :exec
INSERT INTO shop.orders (id, user_id, status) VALUES ($1, $2, 'new');

-- name: PlaceOrders :execrows
INSERT INTO shop.orders (id, user_id, status) SELECT unnest(sqlc.arg(ids)::bigint[]), sqlc.arg(user_id), 'new';

-- name: CopyOrders :copyfrom
INSERT INTO shop.orders (id, user_id, status) VALUES ($1, $2, $3);

-- name: LockOrders :many
SELECT id FROM shop.orders WHERE status = $1 ORDER BY status, id DESC FOR NO KEY UPDATE;

-- name: LockOrderOfUser :one
SELECT o.id FROM shop.orders o JOIN users u ON u.id = o.user_id WHERE o.id = $1
FOR NO KEY UPDATE OF o FOR SHARE OF u NOWAIT;

-- name: ClaimOrder :one
UPDATE shop.orders SET status = 'claimed' WHERE id = (
    SELECT id FROM shop.orders WHERE status = 'new' ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
) RETURNING id;

-- name: HandOver :execrows
UPDATE shop.orders SET user_id = $1 WHERE id = $2;

-- name: CloseOrders :execrows
-- @allow lock-order one process does this
UPDATE shop.orders SET status = 'closed' WHERE status = $1;

-- name: DeleteUser :execrows
DELETE FROM users WHERE email = $1;

-- name: SaveUser :exec
INSERT INTO users (id, email) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = excluded.email;

-- name: MergeOrder :exec
MERGE INTO shop.orders o USING (SELECT 7 AS number) AS new ON o.id = new.number
WHEN MATCHED THEN UPDATE SET status = 'again'
WHEN NOT MATCHED THEN INSERT (id, user_id, status) VALUES (new.number, 1, 'new');

-- name: FreezeOrders :exec
LOCK TABLE shop.orders IN SHARE ROW EXCLUSIVE MODE NOWAIT;

-- name: LockKey :exec
SELECT pg_advisory_xact_lock($1);

-- name: TryKey :one
SELECT pg_try_advisory_xact_lock_shared($1);
