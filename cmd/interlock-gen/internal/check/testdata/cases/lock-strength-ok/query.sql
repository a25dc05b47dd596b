-- name: LockJob :one
SELECT state FROM jobs WHERE id = $1 FOR UPDATE;

-- name: DeleteJob :execrows
DELETE FROM jobs WHERE id = $1;

-- name: LockProduct :one
SELECT stock FROM products WHERE id = $1 FOR UPDATE;

-- name: RenameProduct :execrows
UPDATE products SET sku = $1 WHERE id = $2;

-- name: LockAccount :one
SELECT balance_minor FROM accounts WHERE id = $1 FOR NO KEY UPDATE;

-- name: TakeJob :one
DELETE FROM jobs WHERE id = (SELECT id FROM jobs WHERE state = 'new' ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id;

-- name: LockSeat :one
SELECT booked_by FROM seats WHERE event_id = $1 AND number = $2 FOR UPDATE;

-- name: BookSeat :execrows
UPDATE seats SET booked_by = $1 WHERE event_id = $2 AND number = $3;
