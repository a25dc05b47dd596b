-- name: AddActivity :one
INSERT INTO activity_log (user_id, action, entity, details)
VALUES (sqlc.arg(user_id), sqlc.arg(action), sqlc.arg(entity), sqlc.arg(details))
RETURNING id;

-- name: ListActivity :many
-- ListActivity returns a page of what a user did, newest first, below an id that an earlier
-- page ended with.
SELECT * FROM activity_log
WHERE user_id = sqlc.arg(user_id) AND id < sqlc.arg(before_id)
ORDER BY id DESC LIMIT sqlc.arg(max_rows);
