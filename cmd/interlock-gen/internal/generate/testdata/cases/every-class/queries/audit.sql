-- name: CopyAudit :copyfrom
INSERT INTO audit (account_id, note) VALUES ($1, $2);

-- name: AppendAudits :batchexec
INSERT INTO audit (account_id, note) VALUES ($1, $2);

-- name: GetAudits :batchmany
SELECT id, note FROM audit WHERE account_id = $1 ORDER BY id;

-- name: AuditAll :one
-- AuditAll calls a function that writes.
SELECT audit_all();

-- name: AddNote :exec
INSERT INTO audit (account_id, note) VALUES (@account_id, @note);

-- name: ForgetNotes :execresult
DELETE FROM audit WHERE note = $1;
