-- name: DeleteAllOf :execrows
-- @allow lock-order one process does this
DELETE FROM jobs WHERE state = $1;

-- name: TakeLocked :execrows
DELETE FROM jobs USING (SELECT id FROM jobs WHERE state = 'done' ORDER BY id FOR UPDATE) old WHERE jobs.id = old.id;
