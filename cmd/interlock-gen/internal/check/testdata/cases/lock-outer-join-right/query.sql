-- name: LockAuthor :many
SELECT u.id, p.id AS post FROM posts p RIGHT JOIN users u ON u.id = p.author_id
WHERE u.id = $1 ORDER BY p.id FOR SHARE;
