-- name: CreatePayment :one
-- CreatePayment notes that an order is to be paid, before a provider is asked for it. An order
-- has one payment, of its total.
INSERT INTO payments (order_id, user_id, amount_minor, method, provider_key)
VALUES (sqlc.arg(order_id)::bigint, sqlc.arg(user_id), sqlc.arg(amount_minor), sqlc.arg(method), sqlc.arg(provider_key))
RETURNING *;

-- name: FindPaymentOfOrder :one
SELECT * FROM payments WHERE order_id = sqlc.arg(order_id)::bigint;
