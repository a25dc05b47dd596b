-- name: LockReadings :many
-- @allow lock-scan a small table
SELECT value FROM readings ORDER BY at FOR NO KEY UPDATE;
