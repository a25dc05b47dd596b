-- name: FindPaymentByKey :one
-- FindPaymentByKey finds the payment that a request with this key made.
SELECT * FROM payments WHERE provider_key = sqlc.arg(provider_key);

-- name: FindPaymentOfReservation :one
-- FindPaymentOfReservation finds the payment of a reservation that was not declined or given up.
SELECT * FROM payments
WHERE reservation_id = sqlc.arg(reservation_id)::bigint AND status NOT IN ('failed', 'cancelled');

-- name: GetPayment :one
-- GetPayment reads a payment as it was last committed. To decide by what it says, lock it.
SELECT * FROM payments WHERE id = sqlc.arg(id);

-- name: LockPayment :one
-- LockPayment locks a payment in order to change it. Whoever needs its reservation or order,
-- too, has locked them before.
SELECT * FROM payments WHERE id = sqlc.arg(id) FOR NO KEY UPDATE;

-- name: LockPaymentOfOrder :one
-- LockPaymentOfOrder is LockPayment for the one of an order.
SELECT * FROM payments WHERE order_id = sqlc.arg(order_id)::bigint AND order_id IS NOT NULL FOR NO KEY UPDATE;

-- name: LockOrderOfPayment :one
-- LockOrderOfPayment locks the order that a payment is for, as LockOrder does.
SELECT o.* FROM orders o JOIN payments p ON p.order_id = o.id
WHERE p.id = sqlc.arg(payment_id) FOR NO KEY UPDATE OF o;

-- name: NextPayment :one
-- NextPayment returns the number of a payment that is about to be made, so that what refers to
-- it can travel with it. A number that is not used is missing.
SELECT nextval(pg_get_serial_sequence('payments', 'id'))::bigint AS id;

-- name: CreateReservationPayment :one
-- CreateReservationPayment notes that a reservation is to be paid, before a provider is asked
-- for it. The caller holds the reservation's lock, and has seen that it is active. It fails with
-- payments_provider_key_key if another request has taken the key, and with
-- payments_reservation_id_key if the reservation has a payment.
INSERT INTO payments (id, reservation_id, user_id, amount_minor, method, provider_key)
OVERRIDING SYSTEM VALUE
VALUES (sqlc.arg(id), sqlc.arg(reservation_id)::bigint, sqlc.arg(user_id), sqlc.arg(amount_minor), sqlc.arg(method), sqlc.arg(provider_key))
RETURNING *;

-- name: BeginCharge :one
-- BeginCharge notes that the provider is about to be asked for a payment. No row: it is not to
-- be asked (again). Overdue is whether it was asked first longer ago than max_age_ms, without an
-- answer since.
UPDATE payments SET asked_at = coalesce(asked_at, now())
WHERE id = sqlc.arg(id) AND status = 'pending'
RETURNING *, (asked_at <= now() - sqlc.arg(max_age_ms)::bigint * interval '1 millisecond')::boolean AS overdue;

-- name: ListUnsettledPayments :many
-- ListUnsettledPayments lists payments that the provider was asked for first longer ago than
-- max_age_ms, without an answer since, or that are older and were never asked for.
SELECT * FROM payments
WHERE status = 'pending' AND coalesce(asked_at, created_at) <= now() - sqlc.arg(max_age_ms)::bigint * interval '1 millisecond'
ORDER BY coalesce(asked_at, created_at), id LIMIT sqlc.arg(max_rows);

-- name: CompletePayment :one
-- CompletePayment records what the provider charged. The caller holds the payment's lock, and
-- has seen that it is pending.
--
-- @affects one
UPDATE payments SET status = sqlc.arg(status), charge_reference = sqlc.arg(charge_reference)::text
WHERE id = sqlc.arg(id) AND status = 'pending'
RETURNING *;

-- name: FailPayment :execrows
-- FailPayment records that the provider declined. A payment that is not pending stays as it is.
UPDATE payments SET status = 'failed', decline_code = sqlc.arg(decline_code)::text
WHERE id = sqlc.arg(id) AND status = 'pending';

-- name: CancelPayment :execrows
-- CancelPayment gives a payment up that the provider was not asked for. Others stay as they are.
UPDATE payments SET status = 'cancelled' WHERE id = sqlc.arg(id) AND status = 'pending' AND asked_at IS NULL;

-- name: AttachPayment :one
-- AttachPayment says which order a payment paid. The caller holds the payment's lock, and has
-- seen that it is complete and has no order.
--
-- @affects one
UPDATE payments SET order_id = sqlc.arg(order_id)::bigint
WHERE id = sqlc.arg(id) AND status = 'completed' AND order_id IS NULL
RETURNING *;

-- name: SetPaymentStatus :one
-- SetPaymentStatus moves a payment on: what may follow what, payments_status_follows says.
--
-- @affects one
UPDATE payments SET status = sqlc.arg(status) WHERE id = sqlc.arg(id) RETURNING *;

-- name: LockPaymentsOfReservations :many
-- LockPaymentsOfReservations locks the payments that can still be given up, of those of some
-- reservations that the transaction has released or let expire, before GiveUpPayments. Those of a
-- reservation that it has passed over are whose it is.
SELECT p.id FROM payments p JOIN inventory_reservations r ON r.id = p.reservation_id
WHERE p.reservation_id = ANY (sqlc.arg(reservation_ids)::bigint[]) AND p.status IN ('pending', 'completed')
    AND r.status IN ('released', 'expired')
ORDER BY p.id FOR NO KEY UPDATE OF p;

-- name: GiveUpPayments :many
-- GiveUpPayments ends the payments of reservations that were released or have expired: those
-- that the provider was not asked for are cancelled, and what was charged is to go back. It
-- returns the refunds. A payment without an answer yet stays pending: what becomes of it is
-- decided when the answer is recorded. The caller holds the locks of the payments
-- (LockPaymentsOfReservations).
-- @allow lock-order the caller holds the locks of the payments, and took them in the order of their ids
WITH ended AS (
    UPDATE payments p
    SET status = CASE p.status WHEN 'pending' THEN 'cancelled'::payment_status ELSE 'refunding' END
    FROM inventory_reservations r
    WHERE p.reservation_id = ANY (sqlc.arg(reservation_ids)::bigint[])
        AND (p.status = 'completed' OR p.status = 'pending' AND p.asked_at IS NULL)
        AND r.id = p.reservation_id AND r.status IN ('released', 'expired')
    RETURNING p.*
)
INSERT INTO refunds (payment_id, amount_minor, reason, provider_key)
SELECT ended.id, ended.amount_minor, 'the reservation ended without an order', format('refund %s/1', ended.id) -- what is complete has had none
FROM ended WHERE ended.status = 'refunding'
RETURNING *;
