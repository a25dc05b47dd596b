-- name: ClaimJobs :many
SELECT id FROM jobs WHERE state = 'new' LIMIT 10 FOR NO KEY UPDATE SKIP LOCKED;
