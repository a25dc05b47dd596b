-- name: ClaimJobs :many
SELECT id FROM jobs WHERE state = 'new' ORDER BY run_at, id FOR NO KEY UPDATE SKIP LOCKED;
