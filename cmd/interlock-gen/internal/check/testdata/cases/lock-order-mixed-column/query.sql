-- name: LockJobs :many
SELECT id FROM jobs WHERE id = ANY ($1::bigint[]) ORDER BY id FOR SHARE;

-- name: LockDueJobs :execrows
WITH due AS (SELECT id FROM jobs WHERE state = $1 ORDER BY run_at, id FOR NO KEY UPDATE)
UPDATE jobs SET state = 'due' FROM due WHERE jobs.id = due.id;
