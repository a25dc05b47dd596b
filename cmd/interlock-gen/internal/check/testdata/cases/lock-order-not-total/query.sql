-- name: LockJobs :many
SELECT id FROM jobs WHERE state = $1 ORDER BY run_at DESC, 1 + 1 FOR NO KEY UPDATE;
