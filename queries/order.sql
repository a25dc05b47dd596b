-- name: GetOrder :one
-- GetOrder reads an order as it was last committed. To decide by what it says, lock it.
SELECT * FROM orders WHERE id = sqlc.arg(id);

-- name: FindOrderByKey :one
-- FindOrderByKey finds what a request with this key ordered.
SELECT * FROM orders WHERE idempotency_key = sqlc.arg(idempotency_key)::text;

-- name: LockOrder :one
-- LockOrder locks an order in order to change it. Others may go on reading it, and inserting
-- rows that refer to it. Whoever needs products, too, has locked them before.
SELECT * FROM orders WHERE id = sqlc.arg(id) FOR NO KEY UPDATE;

-- name: LockOrdersOfUserForShare :many
-- LockOrdersOfUserForShare keeps the orders of a user as they are until the transaction ends, in
-- the order of their ids. It keeps out no new ones: who orders locks the user, so LockUser does.
SELECT * FROM orders WHERE user_id = sqlc.arg(user_id) ORDER BY id FOR SHARE;

-- name: LockOrdersOfUserForKeyShare :many
-- LockOrdersOfUserForKeyShare keeps the orders of a user from being deleted, and from becoming
-- another user's or costing something else, until the transaction ends; status, address and note
-- may change meanwhile. It keeps out no new ones.
SELECT * FROM orders WHERE user_id = sqlc.arg(user_id) ORDER BY id FOR KEY SHARE;

-- name: NextOrder :one
-- NextOrder returns the number of an order that is about to be made, and the time that it will
-- bear: so everything that refers to it can travel with COMMIT. A number that is not used is
-- missing, as those of transactions that failed are.
SELECT nextval(pg_get_serial_sequence('orders', 'id'))::bigint AS id, now()::timestamptz AS created_at;

-- name: CreateOrder :one
-- CreateOrder fails with orders_idempotency_key_key if another request has taken the key. Its
-- items follow in the same transaction, by CreateOrderItems: COMMIT fails without them.
INSERT INTO orders (id, user_id, idempotency_key, request_digest, status, subtotal_minor, discount_minor, total_minor,
    shipping_address, payment_method, note)
OVERRIDING SYSTEM VALUE
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(idempotency_key), sqlc.arg(request_digest), sqlc.arg(status),
    sqlc.arg(subtotal_minor), sqlc.arg(discount_minor), sqlc.arg(subtotal_minor)::bigint - sqlc.arg(discount_minor)::bigint,
    sqlc.arg(shipping_address), sqlc.arg(payment_method), sqlc.arg(note))
RETURNING *;

-- name: CreateOrderItems :execrows
-- CreateOrderItems puts products into an order, with the names and prices that the caller has
-- read under their locks. The arrays have a place for each product, in the same order.
INSERT INTO order_items (order_id, product_id, product_name, quantity, unit_price_minor)
SELECT sqlc.arg(order_id), unnest(sqlc.arg(product_ids)::bigint[]), unnest(sqlc.arg(product_names)::text[]),
    unnest(sqlc.arg(quantities)::bigint[]), unnest(sqlc.arg(unit_prices)::bigint[]);

-- name: ListOrderItems :many
SELECT * FROM order_items WHERE order_id = sqlc.arg(order_id) ORDER BY product_id;

-- name: SetOrderStatus :one
-- SetOrderStatus moves an order on, and returns it as it is then. The caller holds its lock
-- (LockOrder), and has seen that the status may follow; otherwise orders_status_follows refuses
-- it. For an order that ends, stock_returned says whether the goods are in stock again.
--
-- @affects one
UPDATE orders SET status = sqlc.arg(status), stock_returned = sqlc.arg(stock_returned), version = version + 1
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: UpdateOrder :one
-- UpdateOrder changes address and note, each if it is given. The caller holds the order's lock
-- (LockOrder), and has seen that the status allows it.
--
-- @affects one
UPDATE orders SET shipping_address = coalesce(sqlc.narg(shipping_address), shipping_address),
    note = coalesce(sqlc.narg(note), note), version = version + 1
WHERE id = sqlc.arg(id)
RETURNING *;
