-- name: GetDoc :one
SELECT * FROM docs WHERE id = $1;

-- name: AddNote :exec
INSERT INTO notes (body) VALUES ($1);

-- name: RenameDoc :exec
-- RenameDoc gives a document of shelf a another title.
--
-- @optimistic version
UPDATE docs SET title = @title, version = version + 1 -- a comment WHERE it hurts
WHERE id = @id AND version = @version AND shelf = 'a' -- RETURNING nothing
;

-- name: RenameDocCounted :execrows
-- @optimistic version
UPDATE ONLY "docs" AS d SET title = @title::text, version = (@version::bigint) + 1
WHERE (@version::bigint = d.version) AND d.id = @id;

-- name: RenameDocReturning :one
-- @optimistic version
UPDATE docs SET title = @title, version = version + 1
WHERE version = @version AND (id = @id AND title BETWEEN '' AND 'zzzz')
RETURNING id, title AS renamed, version, 'a`b' AS tick;

-- name: DropDoc :exec
-- @optimistic version
DELETE FROM docs WHERE id = @id AND version = @version;

-- name: TouchDocs :execrows
-- @affects one
UPDATE docs SET version = version + 1 WHERE id = ANY (@ids::bigint[]);

-- name: TouchDocsReturning :one
-- @affects one
WITH wanted AS (SELECT unnest(@ids::bigint[]) AS id)
UPDATE docs SET version = version + 1 FROM wanted WHERE docs.id = wanted.id
RETURNING docs.id, docs.id, title;

-- name: AddDoc :exec
-- @affects one
INSERT INTO docs (id, title) VALUES (@id, @title) ON CONFLICT DO NOTHING;

-- name: RenameOnShelf :exec
-- @affects one
UPDATE shelf_a SET title = @title WHERE id = @id;

-- name: RenamePart :exec
-- @optimistic version
UPDATE parts SET title = @title, version = version + 1 WHERE region = @region AND id = @id AND version = @version;

-- name: ChangeSecret :exec
-- @optimistic version
UPDATE secrets SET body = @body, version = version + 1 WHERE id = @id AND version = @version;
