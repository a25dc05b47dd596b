-- name: DeleteDone :execrows
DELETE FROM jobs WHERE state = 'done' AND run_at < $1;
