-- name: ClaimJob :one
UPDATE jobs SET state = 'running' WHERE id = (
    SELECT id FROM jobs WHERE state = 'new' ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id;

-- name: DeleteJob :execrows
DELETE FROM jobs WHERE id = $1;
