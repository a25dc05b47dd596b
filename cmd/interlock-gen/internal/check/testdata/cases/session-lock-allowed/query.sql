-- name: LockKey :exec
-- @allow session-lock one worker at a time
SELECT pg_advisory_lock($1);
