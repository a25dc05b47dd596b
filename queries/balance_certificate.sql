-- name: FindCertificateByKey :one
-- FindCertificateByKey finds the certificate that a request with this key got.
SELECT * FROM balance_certificates WHERE idempotency_key = sqlc.arg(idempotency_key)::text;

-- name: CreateCertificate :one
-- CreateCertificate certifies what an account holds, with the newest entry of its ledger. The
-- caller holds a lock on the account, FOR SHARE or stronger, and has looked at it under the
-- lock. No row, and nothing was done: a certificate with this key exists.
INSERT INTO balance_certificates (idempotency_key, account_id, at_least_minor, balance_minor, last_entry_id)
SELECT sqlc.arg(idempotency_key)::text, a.id, sqlc.arg(at_least_minor)::bigint, a.balance_minor,
       (SELECT max(e.id) FROM ledger_entries e WHERE e.account_id = a.id)
FROM accounts a WHERE a.id = sqlc.arg(account_id)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING *;
