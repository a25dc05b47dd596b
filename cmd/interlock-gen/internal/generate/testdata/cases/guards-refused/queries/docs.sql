-- name: OfAView :exec
-- @optimistic version
UPDATE shelf_a SET title = @title, version = version + 1 WHERE id = @id AND version = @version;

-- name: WithoutAKey :exec
-- @optimistic version
UPDATE keyless SET version = version + 1 WHERE id = @id AND version = @version;

-- name: NotByAKey :exec
-- @optimistic version
UPDATE docs SET version = version + 1 WHERE title = @title AND place = @place AND version = @version;

-- name: Inherited :exec
-- @optimistic version
UPDATE parents SET version = version + 1 WHERE id = @id AND version = @version;

-- name: FromAnother :exec
-- @optimistic version
UPDATE docs SET version = docs.version + 1 FROM parents WHERE docs.id = @id AND parents.id = docs.place AND docs.version = @version;

-- name: WithAWrite :exec
-- @affects one
WITH gone AS (DELETE FROM parents WHERE id = @parent RETURNING id)
UPDATE docs SET title = 'gone' FROM gone WHERE docs.id = gone.id;

-- name: Merged :exec
-- @affects one
MERGE INTO docs USING parents ON docs.id = parents.id WHEN MATCHED THEN UPDATE SET title = 'merged';

-- name: OfATableWithARule :exec
-- @affects one
UPDATE logged SET version = version + 1 WHERE id = @id;
