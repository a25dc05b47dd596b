-- name: LockKey :exec
SELECT pg_advisory_xact_lock($1);

-- name: TryKey :one
SELECT pg_try_advisory_xact_lock_shared($1);
