-- name: LockByKey :one
SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE;

-- name: LockByUniqueKey :one
SELECT id FROM users WHERE email = lower($1::text) FOR NO KEY UPDATE;

-- name: LockByNullableKey :one
SELECT id FROM users WHERE code = $1 FOR NO KEY UPDATE;

-- name: LockByWholeKey :one
SELECT number FROM seats WHERE (event_id, number) = ($1, $2) FOR NO KEY UPDATE;

-- name: LockBySubquery :one
SELECT id FROM users WHERE id = (SELECT user_id FROM accounts WHERE accounts.id = $1) FOR NO KEY UPDATE;

-- name: LockOwner :one
SELECT u.id FROM users u JOIN accounts a ON a.user_id = u.id WHERE a.id = $1 FOR NO KEY UPDATE;

-- name: LockOwnerUsing :one
SELECT u.id FROM (SELECT id AS account, user_id AS id FROM accounts) a JOIN users u USING (id)
WHERE a.account = $1 FOR NO KEY UPDATE;

-- name: LockFirst :one
SELECT id FROM jobs WHERE state = 'new' LIMIT 1 FOR NO KEY UPDATE;

-- name: LockMany :many
SELECT * FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: LockManyByPlace :many
SELECT id, balance_minor FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY 1 FOR NO KEY UPDATE;

-- name: LockManyByAlias :many
SELECT id AS account FROM accounts WHERE id = ANY ($1::bigint[]) ORDER BY account FOR NO KEY UPDATE;

-- name: LockItemsOfOrder :many
SELECT line_no FROM order_items WHERE order_id = $1 ORDER BY line_no FOR NO KEY UPDATE;

-- name: LockItemsAndProducts :many
SELECT i.line_no FROM order_items i JOIN products p ON p.id = i.product_id
WHERE i.order_id = $1 ORDER BY p.id, i.line_no FOR NO KEY UPDATE;

-- name: LockDerived :many
SELECT x.id FROM (SELECT a.id FROM accounts a WHERE a.user_id = $1) x ORDER BY x.id FOR SHARE;

-- name: LockOrFail :many
SELECT id FROM accounts WHERE id = ANY ($1::bigint[]) FOR SHARE NOWAIT;

-- name: UpdateByKey :execrows
UPDATE accounts SET balance_minor = 0 WHERE $1 = id;

-- name: UpdateFromOne :execrows
UPDATE users u SET name = $1 FROM accounts a WHERE a.id = $2 AND u.id = a.user_id;

-- name: UpdateAlone :execrows
UPDATE users SET name = $1 WHERE id IN ($2);

-- name: UpdateLocked :execrows
WITH locked AS (SELECT id FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE)
UPDATE products p SET stock = stock - 1 FROM locked WHERE p.id = locked.id;

-- name: UpdateLockedDerived :execrows
UPDATE products p SET stock = stock - 1
FROM (SELECT id FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE) locked
WHERE p.id = locked.id;

-- name: DeleteLocked :execrows
DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE state = 'done' AND run_at < $1 ORDER BY run_at, id LIMIT 100 FOR UPDATE SKIP LOCKED
);

-- name: ClaimJob :one
UPDATE jobs SET state = 'running' WHERE id = (
    SELECT id FROM jobs WHERE state = 'new' AND run_at <= now() ORDER BY run_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
) RETURNING id;

-- name: UpsertOne :exec
INSERT INTO products (id, sku, stock, price_minor) VALUES ($1, $2, 1, 1)
ON CONFLICT (sku) DO UPDATE SET stock = products.stock + 1;

-- name: UpsertOrdered :exec
INSERT INTO products (id, sku, stock, price_minor)
SELECT id, sku, 1, 1 FROM unnest($1::bigint[], $2::text[]) AS new (id, sku) ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET stock = products.stock + 1;

-- name: Charge :one
WITH charged AS (
    INSERT INTO orders (id, user_id, status) VALUES ($1, $2, 'new') RETURNING user_id
)
UPDATE users SET version = users.version + 1 FROM charged WHERE users.id = charged.user_id RETURNING users.id;

-- name: MergeOne :exec
MERGE INTO products p USING (SELECT $1::bigint AS id) AS new ON p.id = new.id
WHEN MATCHED THEN UPDATE SET stock = p.stock + 1;

-- name: LockNewest :one
SELECT id FROM users WHERE id IN (SELECT max(user_id) FROM accounts) FOR NO KEY UPDATE;

-- name: UpdateLockedThrough :execrows
WITH locked AS (SELECT id, stock FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE),
     numbered AS (SELECT id AS product, row_number() OVER (ORDER BY stock) AS place FROM locked)
UPDATE products p SET stock = numbered.place FROM numbered WHERE p.id = numbered.product;
