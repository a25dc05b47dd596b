-- name: TakeAll :one
-- @allow lock-order one process does this
WITH gone AS (DELETE FROM jobs RETURNING id) SELECT count(*) FROM gone;
