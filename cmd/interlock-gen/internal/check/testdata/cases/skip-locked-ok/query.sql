-- name: ClaimJobs :many
SELECT id FROM jobs WHERE state = 'new' ORDER BY run_at LIMIT 10 FOR NO KEY UPDATE SKIP LOCKED;

-- name: TryJob :one
SELECT id FROM jobs WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED;
