-- name: CopyAudit :copyfrom
INSERT INTO audit (account_id, note) VALUES ($1, $2);

-- name: AppendAudits :batchexec
INSERT INTO audit (account_id, note) VALUES ($1, $2);

-- name: GetAudits :batchmany
SELECT id, note FROM audit WHERE account_id = $1 ORDER BY id;

-- name: AuditAll :one
-- AuditAll calls a function that writes.
SELECT audit_all();
