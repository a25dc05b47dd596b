-- name: UnlockKey :exec
SELECT pg_advisory_unlock($1);
