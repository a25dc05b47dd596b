-- name: GetReservation :one
-- GetReservation reads a reservation as it was last committed. To decide by what it says, lock
-- it.
SELECT * FROM inventory_reservations WHERE id = sqlc.arg(id);

-- name: FindReservationByKey :one
-- FindReservationByKey finds what a request with this key reserved.
SELECT * FROM inventory_reservations WHERE idempotency_key = sqlc.arg(idempotency_key)::text;

-- name: LockReservation :one
-- LockReservation locks a reservation in order to change it, or to decide by its status.
-- Whoever needs products, too, has locked them before. Overdue is whether its time is over by
-- the server's clock.
SELECT r.*, (r.expires_at <= now())::boolean AS overdue
FROM inventory_reservations r WHERE r.id = sqlc.arg(id) FOR NO KEY UPDATE OF r;

-- name: LockUserOfReservation :one
-- LockUserOfReservation is LockUser for the one who reserved.
SELECT u.* FROM users u JOIN inventory_reservations r ON r.user_id = u.id
WHERE r.id = sqlc.arg(reservation_id) FOR NO KEY UPDATE OF u;

-- name: LockReservationOfPayment :one
-- LockReservationOfPayment is LockReservation for the one that a payment is for.
SELECT r.* FROM inventory_reservations r JOIN payments p ON p.reservation_id = r.id
WHERE p.id = sqlc.arg(payment_id) FOR NO KEY UPDATE OF r;

-- name: ListReservationItems :many
SELECT * FROM reservation_items WHERE reservation_id = sqlc.arg(reservation_id) ORDER BY product_id;

-- name: ListReservationItemsByKey :many
-- ListReservationItemsByKey lists what a request with this key reserved.
SELECT i.* FROM reservation_items i JOIN inventory_reservations r ON r.id = i.reservation_id
WHERE r.idempotency_key = sqlc.arg(idempotency_key)::text ORDER BY i.product_id;

-- name: NextReservation :one
-- NextReservation returns the number of a reservation that is about to be made, and the times
-- that it will bear, by the server's clock: so everything can travel with COMMIT. A number that
-- is not used is missing.
SELECT nextval(pg_get_serial_sequence('inventory_reservations', 'id'))::bigint AS id, now()::timestamptz AS created_at,
    (now() + sqlc.arg(lifetime_ms)::bigint * interval '1 millisecond')::timestamptz AS expires_at;

-- name: CreateReservation :one
-- CreateReservation fails with inventory_reservations_idempotency_key_key if another request
-- has taken the key.
INSERT INTO inventory_reservations (id, user_id, idempotency_key, total_minor, expires_at)
OVERRIDING SYSTEM VALUE
VALUES (sqlc.arg(id), sqlc.arg(user_id), sqlc.arg(idempotency_key), sqlc.arg(total_minor), sqlc.arg(expires_at))
RETURNING *;

-- name: CreateReservationItems :execrows
-- CreateReservationItems puts products into a reservation, with the names and prices that the
-- caller has read under their locks. The arrays have a place for each product, in the same
-- order.
INSERT INTO reservation_items (reservation_id, product_id, product_name, quantity, unit_price_minor)
SELECT sqlc.arg(reservation_id), unnest(sqlc.arg(product_ids)::bigint[]), unnest(sqlc.arg(product_names)::text[]),
    unnest(sqlc.arg(quantities)::bigint[]), unnest(sqlc.arg(unit_prices)::bigint[]);

-- name: ConfirmReservation :one
-- ConfirmReservation hands the goods over to an order. The caller holds the reservation's lock
-- (LockReservation), and has seen that it is active.
--
-- @affects one
UPDATE inventory_reservations SET status = 'confirmed', order_id = sqlc.arg(order_id)::bigint, closed_at = now()
WHERE id = sqlc.arg(id) AND status = 'active'
RETURNING *;

-- name: LockProductsOfReservations :many
-- LockProductsOfReservations locks what is in some reservations, as LockProducts does, before
-- the reservations themselves: what is in them never changes.
SELECT p.id FROM products p
WHERE p.id IN (SELECT i.product_id FROM reservation_items i WHERE i.reservation_id = ANY (sqlc.arg(reservation_ids)::bigint[]))
ORDER BY p.id FOR NO KEY UPDATE OF p;

-- name: ReleaseReservation :one
-- ReleaseReservation ends a reservation that is active, and puts its goods back into stock. No
-- row, and nothing was done: it is not active any more, or there is none. The caller holds the
-- locks of the products (LockProductsOfReservations).
-- @allow lock-order the caller holds the locks of the products, and took them in the order of their ids
WITH released AS (
    UPDATE inventory_reservations SET status = 'released', closed_at = now()
    WHERE id = sqlc.arg(id)::bigint AND status = 'active'
    RETURNING *
), returned AS (
    UPDATE products SET stock = products.stock + i.quantity, version = products.version + 1
    FROM released JOIN reservation_items i ON i.reservation_id = released.id
    WHERE products.id = i.product_id
)
SELECT * FROM released;

-- name: ListExpiredReservations :many
-- ListExpiredReservations finds active reservations whose time is over by the server's clock,
-- those first that have been for longest.
SELECT id FROM inventory_reservations WHERE status = 'active' AND expires_at <= now()
ORDER BY expires_at, id LIMIT sqlc.arg(max_rows);

-- name: ExpireReservations :many
-- ExpireReservations ends those of some reservations that are active and whose time is over,
-- puts their goods back into stock, and returns which they were. It passes over those that
-- somebody holds, who is about to confirm or to release them. The caller holds the locks of the
-- products (LockProductsOfReservations).
-- @allow lock-order the caller holds the locks of the products, and took them in the order of their ids
WITH locked AS (
    SELECT id FROM inventory_reservations
    WHERE id = ANY (sqlc.arg(ids)::bigint[]) AND status = 'active' AND expires_at <= now()
    ORDER BY id LIMIT sqlc.arg(max_rows)
    FOR NO KEY UPDATE SKIP LOCKED
), expired AS (
    UPDATE inventory_reservations r SET status = 'expired', closed_at = now()
    FROM locked WHERE r.id = locked.id
    RETURNING r.id
), asked AS (
    SELECT i.product_id, sum(i.quantity)::bigint AS quantity
    FROM expired JOIN reservation_items i ON i.reservation_id = expired.id
    GROUP BY i.product_id
), returned AS (
    UPDATE products SET stock = products.stock + asked.quantity, version = products.version + 1
    FROM asked WHERE products.id = asked.product_id
)
SELECT id FROM expired ORDER BY id;
