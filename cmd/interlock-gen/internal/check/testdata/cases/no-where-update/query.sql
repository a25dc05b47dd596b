-- name: ResetAll :execrows
-- @allow lock-order one process does this
UPDATE users SET version = 1;
