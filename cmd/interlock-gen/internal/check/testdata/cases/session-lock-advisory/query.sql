-- name: LockKey :exec
SELECT pg_advisory_lock($1);
