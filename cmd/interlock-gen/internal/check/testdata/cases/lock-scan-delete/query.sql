-- name: DeleteReadings :execrows
-- @allow lock-order one process does this
DELETE FROM readings WHERE at < $1;
