-- name: GetRefund :one
SELECT * FROM refunds WHERE id = sqlc.arg(id);

-- name: ListRefundsOfPayment :many
-- ListRefundsOfPayment lists the attempts to give a payment's money back, oldest first: all but
-- the last one were declined.
SELECT * FROM refunds WHERE payment_id = sqlc.arg(payment_id) ORDER BY id;

-- name: NextRefund :one
-- NextRefund returns the number of a refund that is about to be made, so that what refers to it
-- can travel with it. A number that is not used is missing.
SELECT nextval(pg_get_serial_sequence('refunds', 'id'))::bigint AS id;

-- name: GetOrderOfPayment :one
-- GetOrderOfPayment reads the order that a payment is for, as it was last committed.
SELECT o.* FROM orders o JOIN payments p ON p.order_id = o.id WHERE p.id = sqlc.arg(payment_id);

-- name: CreateRefund :one
-- CreateRefund notes that a payment's money is to go back, before the provider is asked. It
-- fails with refunds_payment_id_key if it is on its way, and with refunds_payment_id_fkey unless
-- the amount is the payment's.
INSERT INTO refunds (id, payment_id, amount_minor, reason, provider_key)
OVERRIDING SYSTEM VALUE
VALUES (sqlc.arg(id), sqlc.arg(payment_id), sqlc.arg(amount_minor), sqlc.arg(reason), sqlc.arg(provider_key))
RETURNING *;

-- name: BeginRefund :one
-- BeginRefund notes that the provider is about to be asked for a refund. No row: it is not to be
-- asked (again). Overdue is whether it was asked first longer ago than max_age_ms, without an
-- answer since.
WITH begun AS (
    UPDATE refunds SET asked_at = coalesce(asked_at, now())
    WHERE id = sqlc.arg(id)::bigint AND status = 'pending'
    RETURNING *
)
SELECT begun.id, begun.payment_id, begun.amount_minor, begun.provider_key, p.user_id, p.charge_reference,
    (begun.asked_at <= now() - sqlc.arg(max_age_ms)::bigint * interval '1 millisecond')::boolean AS overdue
FROM begun JOIN payments p ON p.id = begun.payment_id;

-- name: ListUnsettledRefunds :many
-- ListUnsettledRefunds lists refunds that the provider was asked for first longer ago than
-- max_age_ms, without an answer since, those that are older and were never asked for, and those
-- that it declined and that nobody has asked for anew.
SELECT r.* FROM refunds r
WHERE r.status = 'pending' AND coalesce(r.asked_at, r.created_at) <= now() - sqlc.arg(max_age_ms)::bigint * interval '1 millisecond'
    OR r.status = 'failed' AND NOT EXISTS (SELECT FROM refunds n WHERE n.payment_id = r.payment_id AND n.id > r.id)
ORDER BY r.id LIMIT sqlc.arg(max_rows);

-- name: LockPaymentOfRefund :one
-- LockPaymentOfRefund is LockPayment for the one whose money goes back.
SELECT p.* FROM payments p JOIN refunds r ON r.payment_id = p.id
WHERE r.id = sqlc.arg(refund_id) FOR NO KEY UPDATE OF p;

-- name: CompleteRefund :execrows
-- CompleteRefund records what the provider gave back. A refund that is not pending stays as it
-- is. The caller holds the payment's lock (LockPaymentOfRefund).
WITH completed AS (
    UPDATE refunds SET status = 'completed', refund_reference = sqlc.arg(refund_reference)::text
    WHERE id = sqlc.arg(id)::bigint AND status = 'pending'
    RETURNING payment_id
)
UPDATE payments SET status = 'refunded' FROM completed WHERE payments.id = completed.payment_id;

-- name: FailRefund :execrows
-- FailRefund records that the provider declined. A refund that is not pending stays as it is.
UPDATE refunds SET status = 'failed', decline_code = sqlc.arg(decline_code)::text
WHERE id = sqlc.arg(id) AND status = 'pending';
